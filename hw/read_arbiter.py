"""One reading port on the memory bus for several readers."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..latency import BURST, BUS_READ_BURSTS, BUS_READ_ROOM
from .axi import (
    BURST_INCR,
    CACHE_NORMAL,
    MAX_BURST,
    RESP_WIDTH,
    Axi4Read,
    check_addr_width,
    check_data_width,
)
from .axi_bursts import offset_width
from .checks import check_integer


class ReadArbiter(wiring.Component):
    """Lets several readers share one port; each has a queue of its own for what memory answers.

    A client's burst goes out only when its queue has room for all of it beside what is still to
    come, so the bus's beats are taken at once and no client that does not read blocks another.
    Clients whose burst may go out are served in turn, in the order of their numbers; so each waits
    for one burst of every other client at most, beside memory itself.

    Parameters
    ----------
    clients : int
        Readers, 1 to 8.
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    depth : int
        Beats of each client's queue, 16 to 1024. A client never asks for a longer burst: it would
        wait for ever.
    outstanding : int
        Most bursts asked for and not yet answered in full, of all clients, 2 to 64.

    Members
    -------
    client_0, client_1, client_2 : In(Axi4Read)
        The ports of the readers, `client_<n>` for each n below `clients`. Identifier, size, kind,
        memory type and protection of their bursts are not looked at.
    m_axi : Out(Axi4Read)
        The bus; identifier 0. `rready` is high while a beat is owed.
    halt : In(1)
        While it is 1 no further burst is asked for; one already offered stays, and is answered.
    idle : Out(1)
        No burst is offered and no beat is owed.

    Latency: 1 cycle from a client's `arvalid` to the bus's; 2 from a beat of R to the client's.
    Throughput: one burst and one beat per cycle. A client that reads at once has one beat per cycle
    while `depth` beats are more than its bursts' round trip and `outstanding` bursts are too.

    Raises
    ------
    TypeError, ValueError
        A parameter is not an integer in its range.
    """

    def __init__(
        self,
        *,
        clients: int,
        addr_width: int,
        data_width: int,
        depth: int = BUS_READ_ROOM,
        outstanding: int = BUS_READ_BURSTS,
    ) -> None:
        self.clients = check_integer("clients", clients, 1, 8)
        self.addr_width = check_addr_width(addr_width)
        self.data_width = check_data_width(data_width)
        self.depth = check_integer("depth", depth, BURST, 1024)
        self.outstanding = check_integer("outstanding", outstanding, 2, 64)
        bus = Axi4Read(addr_width=addr_width, data_width=data_width)
        ports = {f"client_{number}": In(bus) for number in range(clients)}
        super().__init__(ports | {"m_axi": Out(bus), "halt": In(1), "idle": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        owner = Signal(range(max(self.clients, 2)))
        # Whose answer comes next; the last beat of a burst takes its entry away.
        order = SyncFIFOBuffered(width=len(owner), depth=self.outstanding + 1)
        m.submodules.order = order
        rooms = self._answers(m, order)
        self._requests(m, order, owner, rooms)
        m.d.comb += self.idle.eq(~self.m_axi.arvalid & (order.level == 0))
        return m

    def _ports(self) -> list[Any]:
        return [getattr(self, f"client_{number}") for number in range(self.clients)]

    def _requests(
        self, m: Module, order: SyncFIFOBuffered, owner: Signal, rooms: list[Signal]
    ) -> None:
        """AR of the client whose turn it is, through a register."""
        axi, ports = self.m_axi, self._ports()
        asking = Cat(
            port.arvalid & (port.arlen < room) for port, room in zip(ports, rooms, strict=True)
        )
        last = Signal.like(owner, init=self.clients - 1)
        free, put = Signal(), Signal()
        # The lowest number that asks, or where one above the last one served asks, the lowest such.
        m.d.comb += owner.eq(0)
        for beyond in (False, True):
            for number in reversed(range(self.clients)):
                turn = (last < number) if beyond else True
                with m.If(asking[number] & turn):
                    m.d.comb += owner.eq(number)
        m.d.comb += [
            free.eq((~axi.arvalid | axi.arready) & (order.level != self.outstanding) & ~self.halt),
            put.eq(free & asking.any()),
            order.w_data.eq(owner),
            order.w_en.eq(put),
            # An output that nothing drives would become an input of the Verilog module.
            axi.arid.eq(0),
            axi.arprot.eq(0),
            axi.arsize.eq(offset_width(self.data_width)),
            axi.arburst.eq(BURST_INCR),
            axi.arcache.eq(CACHE_NORMAL),
        ]
        for number, (port, room) in enumerate(zip(ports, rooms, strict=True)):
            taken = Signal(name=f"taken_{number}")
            m.d.comb += [taken.eq(put & (owner == number)), port.arready.eq(taken)]
            read = port.rvalid & port.rready
            m.d.sync += room.eq(room - Mux(taken, port.arlen + 1, 0) + read)
            with m.If(taken):
                m.d.sync += [axi.araddr.eq(port.araddr), axi.arlen.eq(port.arlen)]
        with m.If(put):
            m.d.sync += [last.eq(owner), axi.arvalid.eq(1)]
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)

    def _answers(self, m: Module, order: SyncFIFOBuffered) -> list[Signal]:
        """R into the queue of the client that asked; return each queue's beats not promised."""
        axi = self.m_axi
        layout = data.StructLayout({"data": self.data_width, "resp": RESP_WIDTH, "last": 1})
        beat = Signal(layout)
        taken = Signal()
        m.d.comb += [
            beat.data.eq(axi.rdata),
            beat.resp.eq(axi.rresp),
            beat.last.eq(axi.rlast),
            axi.rready.eq(order.r_rdy),
            taken.eq(axi.rvalid & axi.rready),
            order.r_en.eq(taken & axi.rlast),
        ]
        rooms = []
        for number, port in enumerate(self._ports()):
            # One place more than promised: a queue's output register may be empty for a cycle
            # while all its other places are full.
            queue = SyncFIFOBuffered(width=layout.size, depth=self.depth + 1)
            m.submodules[f"queue_{number}"] = queue
            out = data.View(layout, queue.r_data)
            m.d.comb += [
                queue.w_data.eq(beat),
                queue.w_en.eq(taken & (order.r_data == number)),
                port.rid.eq(0),
                port.rdata.eq(out.data),
                port.rresp.eq(out.resp),
                port.rlast.eq(out.last),
                port.rvalid.eq(queue.r_rdy),
                queue.r_en.eq(port.rready),
            ]
            width = max(self.depth, MAX_BURST)
            rooms.append(Signal(range(width + 1), init=self.depth, name=f"room_{number}"))
        return rooms
