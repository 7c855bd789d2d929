"""The buses' own port names: AXI4 and AXI4-Lite as interface signatures.

A member `m_axi` with one of these signatures becomes the Verilog ports `m_axi__awaddr`,
`m_axi__awvalid` and so on. All are written as the manager (the master) sees them: `Out(Axi4(...))`
is a manager's port, `In(Axi4Lite(...))` a subordinate's (a slave's).

Source: AMBA AXI and ACE Protocol Specification, ARM IHI 0022.
"""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .checks import check_integer

DATA_WIDTHS = (32, 64, 128)
PAGE = 4096
"""Bytes; no burst may cross a multiple of it."""

BURST_INCR = 0b01
CACHE_NORMAL = 0b0011
"""Normal memory, non-cacheable, bufferable."""

LEN_WIDTH, SIZE_WIDTH, RESP_WIDTH = 8, 3, 2
MAX_BURST = 1 << LEN_WIDTH


class Resp(IntEnum):
    """Responses; EXOKAY never answers what these masters ask."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def check_data_width(width: Any) -> int:
    """Return `width` if it is one of `DATA_WIDTHS`; raise TypeError or ValueError if not."""
    check_integer("data_width", width, DATA_WIDTHS[0], DATA_WIDTHS[-1])
    if width not in DATA_WIDTHS:
        raise ValueError(f"data_width must be 32, 64 or 128, not {width}")
    return int(width)


def check_addr_width(width: Any) -> int:
    """Return `width` if it is 32 to 64; raise TypeError or ValueError if not."""
    return check_integer("addr_width", width, 32, 64)


def _address(channel: str, addr_width: int, id_width: int) -> dict[str, wiring.Member]:
    return {
        f"{channel}id": Out(id_width),
        f"{channel}addr": Out(addr_width),
        f"{channel}len": Out(LEN_WIDTH),
        f"{channel}size": Out(SIZE_WIDTH),
        f"{channel}burst": Out(2),
        f"{channel}cache": Out(4),
        f"{channel}prot": Out(3),
        f"{channel}valid": Out(1),
        f"{channel}ready": In(1),
    }


class _Bus(wiring.Signature):
    """Signatures of one class are equal when their parameters are."""

    def __init__(self, channels: dict[str, wiring.Member], **parameters: int) -> None:
        self._parameters = parameters
        super().__init__(channels)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._parameters == other._parameters


class Axi4Read(_Bus):
    """The read channels of AXI4, AR and R.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    id_width : int
        Bits of an identifier, 1 to 16.

    Members
    -------
    arid : Out(id_width)
        Identifier; answers to one identifier come in the order asked.
    araddr : Out(addr_width)
        Byte address of the first beat.
    arlen : Out(8)
        Beats in the burst, less one.
    arsize : Out(3)
        Bytes in a beat, as a power of two.
    arburst : Out(2)
        Kind of burst; `BURST_INCR` for growing addresses.
    arcache : Out(4)
        Memory type.
    arprot : Out(3)
        Protection: privileged, non-secure, instruction.
    arvalid : Out(1)
        A burst is asked for; holds, with all above, until `arready`.
    arready : In(1)
        The subordinate takes it.
    rid : In(id_width)
        Identifier of the burst that this beat answers.
    rdata : In(data_width)
        The beat; the lowest byte has the lowest address.
    rresp : In(2)
        A `Resp` for this beat.
    rlast : In(1)
        Last beat of its burst.
    rvalid : In(1)
        A beat is there; holds, with all above, until `rready`.
    rready : Out(1)
        The manager takes it.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(self, *, addr_width: int, data_width: int, id_width: int = 1) -> None:
        check_addr_width(addr_width)
        check_data_width(data_width)
        check_integer("id_width", id_width, 1, 16)
        channels = _address("ar", addr_width, id_width) | {
            "rid": In(id_width),
            "rdata": In(data_width),
            "rresp": In(RESP_WIDTH),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
        super().__init__(channels, addr_width=addr_width, data_width=data_width, id_width=id_width)


class Axi4Write(_Bus):
    """The write channels of AXI4, AW, W and B.

    Parameters
    ----------
    addr_width, data_width, id_width : int
        As in `Axi4Read`.

    Members
    -------
    awid, awaddr, awlen, awsize, awburst, awcache, awprot, awvalid : Out
        As their namesakes of AR in `Axi4Read`.
    awready : In(1)
        The subordinate takes the burst.
    wdata : Out(data_width)
        The beat; the lowest byte has the lowest address.
    wstrb : Out(data_width / 8)
        One bit per byte of `wdata`: whether it is written.
    wlast : Out(1)
        Last beat of its burst.
    wvalid : Out(1)
        A beat is there; holds, with all above, until `wready`.
    wready : In(1)
        The subordinate takes it.
    bid : In(id_width)
        Identifier of the burst that is answered.
    bresp : In(2)
        A `Resp` for the whole burst.
    bvalid : In(1)
        An answer is there; holds, with both above, until `bready`.
    bready : Out(1)
        The manager takes it.

    Raises: as `Axi4Read`.
    """

    def __init__(self, *, addr_width: int, data_width: int, id_width: int = 1) -> None:
        check_addr_width(addr_width)
        check_data_width(data_width)
        check_integer("id_width", id_width, 1, 16)
        channels = _address("aw", addr_width, id_width) | {
            "wdata": Out(data_width),
            "wstrb": Out(data_width // 8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(id_width),
            "bresp": In(RESP_WIDTH),
            "bvalid": In(1),
            "bready": Out(1),
        }
        super().__init__(channels, addr_width=addr_width, data_width=data_width, id_width=id_width)


class Axi4(_Bus):
    """All five channels of AXI4: the members of `Axi4Write` and `Axi4Read` side by side.

    Parameters
    ----------
    addr_width, data_width, id_width : int
        As in `Axi4Read`.

    Raises: as `Axi4Read`.
    """

    def __init__(self, *, addr_width: int, data_width: int, id_width: int = 1) -> None:
        widths = {"addr_width": addr_width, "data_width": data_width, "id_width": id_width}
        channels = {**Axi4Write(**widths).members, **Axi4Read(**widths).members}
        super().__init__(channels, **widths)


class Axi4Lite(_Bus):
    """AXI4-Lite: single beats, no identifiers.

    Parameters
    ----------
    addr_width : int
        Bits of a byte address, 1 to 64.
    data_width : int
        Bits of a beat: 32 or 64.

    Members
    -------
    awaddr, awprot, awvalid : Out
        Byte address to write, its protection bits, and that they are there; hold until `awready`.
    awready : In(1)
        The subordinate takes the address.
    wdata, wstrb, wvalid : Out
        What to write, a bit per byte that is written, and that they are there; hold until
        `wready`. They may come before, with or after the address.
    wready : In(1)
        The subordinate takes the data.
    bresp, bvalid : In
        A `Resp` for the write, and that it is there; hold until `bready`.
    bready : Out(1)
        The manager takes the answer.
    araddr, arprot, arvalid : Out
        As `awaddr` and so on, for a read.
    arready : In(1)
        The subordinate takes the address.
    rdata, rresp, rvalid : In
        What was read, a `Resp`, and that they are there; hold until `rready`.
    rready : Out(1)
        The manager takes the answer.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(self, *, addr_width: int, data_width: int = 32) -> None:
        check_integer("addr_width", addr_width, 1, 64)
        check_integer("data_width", data_width, 32, 64)
        if data_width not in (32, 64):
            raise ValueError(f"data_width must be 32 or 64, not {data_width}")
        super().__init__(
            {
                "awaddr": Out(addr_width),
                "awprot": Out(3),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_width),
                "wstrb": Out(data_width // 8),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(RESP_WIDTH),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(addr_width),
                "arprot": Out(3),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(data_width),
                "rresp": In(RESP_WIDTH),
                "rvalid": In(1),
                "rready": Out(1),
            },
            addr_width=addr_width,
            data_width=data_width,
        )


def forward(m: Module, bus: Any, part: Any) -> None:
    """Wire a manager's channels to their namesakes of an outward port.

    Parameters
    ----------
    m : Module
        Where the wires go.
    bus : interface
        Member `Out(Axi4(...))` of the component that `m` is of.
    part : interface
        Member `Out(Axi4Read(...))` or `Out(Axi4Write(...))` of a component inside.
    """
    for name, member in part.signature.members.items():
        inner, outer = getattr(part, name), getattr(bus, name)
        m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
