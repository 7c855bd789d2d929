"""What `write_vivado` makes for a board, around a core with nothing inside."""

from dataclasses import dataclass
from functools import cache
from xml.etree import ElementTree

from rootshift.config import AcceleratorConfig
from rootshift.hw import verilog
from rootshift.hw.top import Accelerator
from rootshift.hw.vendor.vivado import write_vivado

QUIET = ("DECLFILENAME", "UNDRIVEN", "UNUSEDSIGNAL")
SPIRIT = "{http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009}"
CLOCK_MHZ = 75.0
CONFIG = AcceleratorConfig(rows=4, cols=6, lanes=2, bus_width=64, array_multiplier="dsp")


@dataclass(frozen=True)
class Written:
    """What `write_vivado` makes for one board."""

    target: str
    files: dict[str, bytes]

    @property
    def xml(self) -> ElementTree.Element:
        """component.xml."""
        return ElementTree.fromstring(self.files["ip/component.xml"])

    @property
    def wrapper(self) -> str:
        """The wrapper's Verilog."""
        return self.files["ip/hdl/rootshift_axi.v"].decode()

    def interfaces(self) -> dict[str, dict[str, str]]:
        """Bus interface -> logical -> physical port."""
        return {
            text(bus, "name"): {
                text(pair, "logicalPort/name"): text(pair, "physicalPort/name")
                for pair in all_of(bus, "portMaps/portMap")
            }
            for bus in all_of(self.xml, "busInterfaces/busInterface")
        }


def path_of(path: str) -> str:
    return "/".join(SPIRIT + part for part in path.split("/"))


def all_of(node: ElementTree.Element, path: str) -> list[ElementTree.Element]:
    """Elements below a node, by names without their namespace."""
    return node.findall(path_of(path))


def text(node: ElementTree.Element, path: str) -> str:
    """The text of the one element there."""
    (found,) = all_of(node, path)
    assert found.text
    return found.text


@cache
def core_ports() -> dict[str, tuple[str, int]]:
    """Ports of the accelerator."""
    return verilog.ports(Accelerator(config=CONFIG))


def core_stub() -> str:
    """A module with the accelerator's ports and nothing inside."""
    ports = ",\n".join(
        f"{'output' if way == 'o' else 'input'} wire [{width - 1}:0] {name}"
        for name, (way, width) in core_ports().items()
    )
    quiet = "".join(f"/* verilator lint_off {what} */\n" for what in QUIET)
    return f"{quiet}module rootshift (\n{ports}\n);\nendmodule\n"


def write(target: str) -> Written:
    """All files for a board."""
    return Written(target, write_vivado(CONFIG, target, CLOCK_MHZ, verilog=core_stub()))
