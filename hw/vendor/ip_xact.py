"""The IP as `component.xml`: IEEE 1685-2009 (IP-XACT), with the extensions that Vivado reads."""

from collections.abc import Iterable
from xml.etree import ElementTree

from ...config import AcceleratorConfig
from ...csr import ADDRESS_WIDTH, REGISTERS, WORD, Access, Field, Register, pack_config
from .wrapper import CONTROL, MEMORY, MODULE, Interface, Port, interfaces, vector

VENDOR, LIBRARY, VERSION = "rootshift", "accelerator", "1.0"
VLNV = f"{VENDOR}:{LIBRARY}:{MODULE}:{VERSION}"
BLOCK = "registers"
"""Name of the registers' address block."""
FAMILIES = ("artix7", "kintex7", "virtex7", "zynq", "kintexuplus", "virtexuplus", "zynquplus")
XGUI = f"xgui/{MODULE}_v{VERSION.replace('.', '_')}.tcl"

_SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
_XILINX = "http://www.xilinx.com"
_VIEWS = {
    "xilinx_anylanguagesynthesis": ("Synthesis", ":vivado.xilinx.com:synthesis"),
    "xilinx_anylanguagebehavioralsimulation": ("Simulation", ":vivado.xilinx.com:simulation"),
}
_ACCESS = {
    Access.CONSTANT: "read-only",
    Access.STATUS: "read-only",
    Access.COUNTER: "read-only",
    Access.READ_WRITE: "read-write",
    Access.CLEAR: "read-write",
    Access.STROBE: "write-only",
}

Node = ElementTree.Element


def component(config: AcceleratorConfig, address_width: int, sources: Iterable[str]) -> str:
    """The text of `component.xml`.

    Parameters: `address_width` of the memory bus; `sources`, paths of the Verilog files below the
    IP's folder.
    """
    found = interfaces(config, address_width)
    root = Node(
        "spirit:component",
        {
            "xmlns:spirit": _SPIRIT,
            "xmlns:xilinx": _XILINX,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
        },
    )
    _identify(root, VENDOR, LIBRARY, MODULE, VERSION)
    buses = _add(root, "busInterfaces")
    for interface in found:
        _bus_interface(buses, interface)
    _address_space(_add(root, "addressSpaces"), address_width, config.bus_width)
    _memory_map(_add(root, "memoryMaps"), config)
    model = _add(root, "model")
    _views(_add(model, "views"))
    ports = _add(model, "ports")
    for interface in found:
        for port in interface.ports:
            _port(ports, port)
    _file_sets(_add(root, "fileSets"), list(sources))
    _add(root, "description", "Vision transformers quantized with RepQ-ViT, integer for integer")
    parameter = _add(_add(root, "parameters"), "parameter")
    _add(parameter, "name", "Component_Name")
    value = _add(parameter, "value", f"{MODULE}_v{VERSION.replace('.', '_')}")
    value.attrib |= {
        "spirit:resolve": "user",
        "spirit:id": "PARAM_VALUE.Component_Name",
        "spirit:order": "1",
    }
    _extensions(root)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{_text(root)}\n'


def xgui() -> str:
    """The Tcl file of the IP's dialog, which has nothing to choose."""
    return 'proc init_gui {IPINST} {\n    ipgui::add_param $IPINST -name "Component_Name"\n}\n'


def _text(root: Node) -> str:
    return ElementTree.tostring(root, encoding="unicode")


def _add(parent: Node, name: str, text: object = None) -> Node:
    node = ElementTree.SubElement(parent, f"spirit:{name}")
    if text is not None:
        node.text = str(text)
    return node


def _identify(parent: Node, vendor: str, library: str, name: str, version: str) -> None:
    for tag, text in zip(
        ("vendor", "library", "name", "version"), (vendor, library, name, version), strict=True
    ):
        _add(parent, tag, text)


def _reference(parent: Node, tag: str, *vlnv: str) -> None:
    names = ("vendor", "library", "name", "version")
    pairs = zip(names, vlnv, strict=True)
    _add(parent, tag).attrib.update({f"spirit:{name}": value for name, value in pairs})


def _bus_interface(parent: Node, interface: Interface) -> None:
    node = _add(parent, "busInterface")
    _add(node, "name", interface.name)
    kind, library = interface.kind, interface.library
    _reference(node, "busType", "xilinx.com", library, kind, "1.0")
    _reference(node, "abstractionType", "xilinx.com", library, f"{kind}_rtl", "1.0")
    if interface.name == MEMORY:
        space = _add(_add(node, "master"), "addressSpaceRef")
        space.set("spirit:addressSpaceRef", MEMORY)
    elif interface.name == CONTROL:
        _add(_add(node, "slave"), "memoryMapRef").set("spirit:memoryMapRef", CONTROL)
    else:
        _add(node, "master" if interface.kind == "interrupt" else "slave")
    maps = _add(node, "portMaps")
    for port in interface.ports:
        pair = _add(maps, "portMap")
        _add(_add(pair, "logicalPort"), "name", port.logical)
        _add(_add(pair, "physicalPort"), "name", port.name)
    parameters = _add(node, "parameters")
    for name, value in interface.parameters.items():
        parameter = _add(parameters, "parameter")
        _add(parameter, "name", name)
        identity = f"BUSIFPARAM_VALUE.{interface.name.upper()}.{name}"
        _add(parameter, "value", value).set("spirit:id", identity)


def _long(parent: Node, name: str, value: int) -> None:
    _add(parent, name, value).set("spirit:format", "long")


def _address_space(parent: Node, address_width: int, data_width: int) -> None:
    node = _add(parent, "addressSpace")
    _add(node, "name", MEMORY)
    _long(node, "range", 1 << address_width)
    _long(node, "width", data_width)


def _memory_map(parent: Node, config: AcceleratorConfig) -> None:
    node = _add(parent, "memoryMap")
    _add(node, "name", CONTROL)
    block = _add(node, "addressBlock")
    _add(block, "name", BLOCK)
    _long(block, "baseAddress", 0)
    _long(block, "range", 1 << ADDRESS_WIDTH)
    _long(block, "width", WORD)
    _add(block, "usage", "register")
    built = pack_config(config)
    for register in REGISTERS:
        for word in range(len(register.offsets)):
            _register(block, register, word, built)


def _register(parent: Node, register: Register, word: int, built: tuple[int, ...]) -> None:
    """One word of a register: IP-XACT's registers are one word each."""
    count, access = len(register.offsets), register.access
    node = _add(parent, "register")
    _add(node, "name", register.name if count == 1 else f"{register.name}_{word}")
    _add(node, "description", register.meaning)
    _add(node, "addressOffset", f"0x{register.offsets[word]:x}")
    _add(node, "size", WORD)
    _add(node, "volatile", str(access not in (Access.CONSTANT, Access.READ_WRITE)).lower())
    _add(node, "access", _ACCESS[access])
    parts = [
        (field, low, part, width)
        for field in register.fields
        for place, low, part, width in field.slices
        if place == word
    ]
    if access is not Access.STATUS:
        value = sum(
            (built[word] >> low & (1 << width) - 1 if field.reset is None else field.reset >> part)
            % (1 << width)
            << low
            for field, low, part, width in parts
        )
        reset = _add(node, "reset")
        _add(reset, "value", f"0x{value:08x}")
    for field, low, part, width in parts:
        _field(node, field, low, part, width, access)


def _field(parent: Node, field: Field, low: int, part: int, width: int, access: Access) -> None:
    node = _add(parent, "field")
    half = "" if width == field.width else "_high" if part else "_low"
    _add(node, "name", field.name + half)
    _add(node, "description", field.meaning)
    _add(node, "bitOffset", low)
    _add(node, "bitWidth", width)
    _add(node, "access", _ACCESS[access])
    if field.values:
        values = _add(node, "enumeratedValues")
        for name, value in field.values:
            item = _add(values, "enumeratedValue")
            _add(item, "name", name)
            _add(item, "value", value)
    if access is Access.CLEAR:
        _add(node, "modifiedWriteValue", "oneToClear")


def _views(parent: Node) -> None:
    for name, (title, environment) in _VIEWS.items():
        view = _add(parent, "view")
        _add(view, "name", name)
        _add(view, "displayName", title)
        _add(view, "envIdentifier", environment)
        _add(view, "language", "Verilog")
        _add(view, "modelName", MODULE)
        _add(_add(view, "fileSetRef"), "localName", f"{name}_view_fileset")
    view = _add(parent, "view")
    _add(view, "name", "xilinx_xpgui")
    _add(view, "displayName", "UI Layout")
    _add(view, "envIdentifier", ":vivado.xilinx.com:xgui.ui")
    _add(_add(view, "fileSetRef"), "localName", "xilinx_xpgui_view_fileset")


def _port(parent: Node, port: Port) -> None:
    node = _add(parent, "port")
    _add(node, "name", port.name)
    wire = _add(node, "wire")
    _add(wire, "direction", "out" if port.output else "in")
    if vector(port):
        bits = _add(wire, "vector")
        _long(bits, "left", port.width - 1)
        _long(bits, "right", 0)
    definition = _add(_add(wire, "wireTypeDefs"), "wireTypeDef")
    _add(definition, "typeName", "wire")
    for view in _VIEWS:
        _add(definition, "viewNameRef", view)


def _file_sets(parent: Node, sources: list[str]) -> None:
    sets = {f"{view}_view_fileset": ("verilogSource", sources) for view in _VIEWS}
    sets["xilinx_xpgui_view_fileset"] = ("tclSource", [XGUI])
    for name, (kind, paths) in sets.items():
        node = _add(parent, "fileSet")
        _add(node, "name", name)
        for path in paths:
            file = _add(node, "file")
            _add(file, "name", path)
            _add(file, "fileType", kind)


def _extensions(root: Node) -> None:
    extensions = ElementTree.SubElement(_add(root, "vendorExtensions"), "xilinx:coreExtensions")
    families = ElementTree.SubElement(extensions, "xilinx:supportedFamilies")
    for name in FAMILIES:
        family = ElementTree.SubElement(families, "xilinx:family")
        family.text = name
        family.set("xilinx:lifeCycle", "Beta")
    taxonomies = ElementTree.SubElement(extensions, "xilinx:taxonomies")
    texts = {
        "displayName": "Rootshift accelerator",
        "definitionSource": "package_project",
        "coreRevision": "1",
    }
    ElementTree.SubElement(taxonomies, "xilinx:taxonomy").text = "/UserIP"
    for name, text in texts.items():
        ElementTree.SubElement(extensions, f"xilinx:{name}").text = text
