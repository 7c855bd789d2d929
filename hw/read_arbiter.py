"""One reading port on the memory bus for several readers."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..latency import BURST, BUS_READ_BURSTS, BUS_READ_ROOM
from .axi import (
    BURST_INCR,
    CACHE_NORMAL,
    RESP_WIDTH,
    Axi4Read,
    check_addr_width,
    check_data_width,
)
from .axi_bursts import offset_width
from .checks import check_integer
from .credit_queue import credits


class ReadArbiter(wiring.Component):
    """Lets several readers share one port; each has a queue of its own for what memory answers.

    A client asks for no more than its queue holds, so the bus's beats are taken at once and no
    client that does not read blocks another. Clients that ask are served in turn, in the order of
    their numbers; so each waits for one burst of every other client at most, beside memory itself.

    Parameters
    ----------
    clients : int
        Readers, 1 to 8.
    addr_width : int
        Bits of a byte address, 32 to 64.
    data_width : int
        Bits of a beat: 32, 64 or 128.
    depth : int
        Beats of each client's queue, 16 to 1024: the most that a client may have asked for and not
        taken. What comes beyond is lost.
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
        self._requests(m, order, owner)
        self._answers(m, order)
        # An entry is at the queue's end from its second cycle on; in its first `arvalid` is up.
        m.d.comb += self.idle.eq(~self.m_axi.arvalid & ~order.r_rdy)
        return m

    def _ports(self) -> list[Any]:
        return [getattr(self, f"client_{number}") for number in range(self.clients)]

    def _requests(self, m: Module, order: SyncFIFOBuffered, owner: Signal) -> None:
        """AR of the client whose turn it is, through a register."""
        axi, ports = self.m_axi, self._ports()
        asking = Cat(port.arvalid for port in ports)
        last = Signal.like(owner, init=self.clients - 1)
        free = Signal()
        put = Signal()
        room = credits(m, put, order.r_en, self.outstanding)
        # The lowest number that asks, or where one above the last one served asks, the lowest such.
        m.d.comb += owner.eq(0)
        for beyond in (False, True):
            # The first client is above none.
            for number in reversed(range(1 if beyond else 0, self.clients)):
                turn = (last < number) if beyond else True
                with m.If(asking[number] & turn):
                    m.d.comb += owner.eq(number)
        m.d.comb += [
            free.eq((~axi.arvalid | axi.arready) & room & ~self.halt),
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
        for number, port in enumerate(ports):
            m.d.comb += port.arready.eq(put & (owner == number))
        with m.If(free):
            # Of the first client where none asks: without `arvalid` it means nothing.
            m.d.sync += [
                axi.araddr.eq(Array(port.araddr for port in ports)[owner]),
                axi.arlen.eq(Array(port.arlen for port in ports)[owner]),
            ]
        with m.If(put):
            m.d.sync += [last.eq(owner), axi.arvalid.eq(1)]
        with m.Elif(axi.arready):
            m.d.sync += axi.arvalid.eq(0)

    def _answers(self, m: Module, order: SyncFIFOBuffered) -> None:
        """R into the queue of the client that asked."""
        axi = self.m_axi
        # Apart from the data, since what readers decide upon must not wait for a large memory.
        layout = data.StructLayout({"resp": RESP_WIDTH, "last": 1})
        ending = Signal(layout)
        taken = Signal()
        m.d.comb += [
            ending.resp.eq(axi.rresp),
            ending.last.eq(axi.rlast),
            axi.rready.eq(order.r_rdy),
            taken.eq(axi.rvalid & axi.rready),
            order.r_en.eq(taken & axi.rlast),
        ]
        for number, port in enumerate(self._ports()):
            # One place more than asked for: a queue's output register may be empty for a cycle
            # while all its other places are full.
            beats = SyncFIFOBuffered(width=self.data_width, depth=self.depth + 1)
            endings = SyncFIFOBuffered(width=layout.size, depth=self.depth + 1)
            m.submodules[f"beats_{number}"] = beats
            m.submodules[f"endings_{number}"] = endings
            out = data.View(layout, endings.r_data)
            for queue, word in ((beats, axi.rdata), (endings, ending)):
                m.d.comb += [
                    queue.w_data.eq(word),
                    queue.w_en.eq(taken & (order.r_data == number)),
                    queue.r_en.eq(port.rready),
                ]
            m.d.comb += [
                port.rid.eq(0),
                port.rdata.eq(beats.r_data),
                port.rresp.eq(out.resp),
                port.rlast.eq(out.last),
                # Both move together.
                port.rvalid.eq(endings.r_rdy),
            ]
