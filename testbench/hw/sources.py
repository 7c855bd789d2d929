"""RTLIL of a component in which every cell and process names the source it comes from."""

from amaranth.back import rtlil
from amaranth.hdl import Signal, Value
from amaranth.lib import wiring


def with_sources(component: wiring.Component) -> str:
    """Text of RTLIL; the top module has the component's name, and ports as `hw.verilog`'s."""
    members = [Value.cast(value) for *_, value in component.signature.flatten(component)]
    ports = [value for value in members if isinstance(value, Signal) and len(value)]
    return rtlil.convert(component, name=type(component).__name__, ports=ports)
