"""The accelerator: units, buffers, control and buses wired together."""

from typing import Any

from amaranth.hdl import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from .. import latency
from ..config import CODE_BANKS, AcceleratorConfig
from ..csr import ADDRESS_WIDTH as CSR_ADDRESS_WIDTH
from ..formats import RESIDUAL_WIDTH, code_digits
from ..isa import ADDRESS_WIDTH, Unit
from .attention_unit import AttentionUnit
from .axi import Axi4, Axi4Lite, forward
from .axi_bursts import Cause
from .csr import CsrBank
from .fetch_unit import FetchUnit
from .gemm import Gemm
from .gemm_unit import GemmUnit
from .layernorm_unit import LayerNormUnit
from .log2_softmax import Log2Softmax
from .patchify_unit import PatchifyUnit
from .read_arbiter import ReadArbiter
from .run_controller import RunController
from .sequencer import Sequencer
from .store_unit import StoreUnit
from .weight_unit import WeightUnit
from .word_buffer import WordBuffer
from .write_dma import WriteDma


class Accelerator(wiring.Component):
    """A whole inference from start bit to interrupt.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes and widths.
    probes : bool
        Whether there is a member more, the output `probe`, which shows what the units give to a
        simulation: see `docs/accelerator.md`, Probes.

    Members
    -------
    s_axil : In(Axi4Lite)
        Control and status registers: 32 bits of data, 12 bits of address.
    m_axi : Out(Axi4)
        Memory: program, constants, images and logits; `bus_width` bits of data, 40 of address.
    irq : Out(1)
        High while an enabled event waits for its acknowledgement.

    Latency: that of the program; the register CYCLES counts it.
    Throughput: `rows * cols` multiplications per cycle. Units work side by side, as far as the
    program's waits allow.

    Raises
    ------
    TypeError
        `config` is not an `AcceleratorConfig`.

    Source: `docs/accelerator.md`.
    """

    def __init__(self, *, config: AcceleratorConfig, probes: bool = False) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config, self.probes = config, probes
        rows, cols, lanes = config.rows, config.cols, config.lanes
        codes, width = config.activation_width, config.bus_width
        weights = config.stationary_width
        array = {"rows": rows, "cols": cols, "lanes": lanes}
        digits = {
            "activation_digits": code_digits(codes),
            "weight_digits": code_digits(weights),
        }
        depth, stages = config.token_depth, config.pipeline_stages
        # Two sets of parameters, used in turn.
        self.gemm = Gemm(
            **array,
            **digits,
            activation_width=codes,
            weight_width=weights,
            depth=depth,
            k_max=config.channel_depth,
            groups=2,
            array_multiplier=config.array_multiplier,
            tag_width=1,
            stages=stages,
        )
        self.log2_softmax = Log2Softmax(
            lanes=cols, depth=depth, code_width=config.log_width, base=config.base
        )
        self.fetch_unit = FetchUnit(bus_width=width)
        self.patchify_unit = PatchifyUnit(
            rows=rows, lanes=lanes, activation_width=codes, bus_width=width
        )
        self.weight_unit = WeightUnit(
            **array, weight_width=weights, code_width=codes, bus_width=width, stages=stages
        )
        self.gemm_unit = GemmUnit(rows=rows, code_width=codes, depth=depth, stages=stages, **digits)
        self.store_unit = StoreUnit(**array, code_width=codes, bus_width=width, depth=depth)
        self.layernorm_unit = LayerNormUnit(
            rows=rows,
            lanes=lanes,
            depth=config.embedding_depth,
            code_width=codes,
            bus_width=width,
            stages=stages,
        )
        self.attention_unit = AttentionUnit(
            **array,
            log_width=config.log_width,
            value_width=codes,
            depth=depth,
            base=config.base,
            drains=latency.drains(cols),
            stages=stages,
        )
        self.code_buffer = WordBuffer(
            depth=config.code_depth,
            word_width=rows * codes,
            parts=rows // lanes,
            banks=CODE_BANKS,
            readers=("gemm", "attention", "weights"),
            writers=("store", "layernorm", "attention", "patchify"),
            stages=stages,
            parity=config.buffer_parity,
        )
        self.residual_buffer = WordBuffer(
            depth=config.residual_depth,
            word_width=lanes * RESIDUAL_WIDTH,
            parts=1,
            banks=1,
            readers=("store", "layernorm"),
            writers=("store",),
            stages=stages,
            parity=config.buffer_parity,
        )
        bus = Axi4(addr_width=ADDRESS_WIDTH, data_width=width)
        members = {
            "s_axil": In(Axi4Lite(addr_width=CSR_ADDRESS_WIDTH)),
            "m_axi": Out(bus),
            "irq": Out(1),
        }
        if probes:
            members["probe"] = Out(wiring.Signature(self._probe_members()))
        super().__init__(members)

    def elaborate(self, platform: Any) -> Module:
        m, core = Module(), Module()
        m.submodules.csr = csr = CsrBank(config=self.config)
        m.submodules.controller = controller = RunController(parity=self.config.buffer_parity)
        # A run begins from reset, so that no unit has a way back from a run that was stopped. Of
        # one register: its way to all of them is long enough without a gate.
        m.domains.core = domain = ClockDomain(local=True)
        m.d.comb += [domain.clk.eq(ClockSignal()), domain.rst.eq(controller.core_reset)]
        m.submodules.core = DomainRenamer("core")(core)
        connect(m, flipped(self.s_axil), csr.s_axil)
        m.d.comb += self.irq.eq(csr.irq)
        self._core(core, csr, controller)
        self._control(m, csr, controller)
        if self.probes:
            self._probe(core)
        return m

    @property
    def _command_units(self) -> dict[Unit, Any]:
        return {
            Unit.FETCH: self.fetch_unit,
            Unit.PATCHIFY: self.patchify_unit,
            Unit.WEIGHTS: self.weight_unit,
            Unit.GEMM: self.gemm_unit,
            Unit.STORE: self.store_unit,
            Unit.LAYERNORM: self.layernorm_unit,
            Unit.ATTENTION: self.attention_unit,
        }

    def _core(self, m: Module, csr: CsrBank, controller: RunController) -> None:
        """All that begins anew with each run."""
        units = self._command_units
        for unit, component in units.items():
            m.submodules[f"{unit.name.lower()}_unit"] = component
        m.submodules.gemm, m.submodules.log2_softmax = gemm, softmax = self.gemm, self.log2_softmax
        m.submodules.code_buffer, m.submodules.residual_buffer = (
            self.code_buffer,
            self.residual_buffer,
        )
        m.submodules.sequencer = self.sequencer = sequencer = Sequencer(config=self.config)
        for unit, component in units.items():
            connect(m, getattr(sequencer, unit.name.lower()), component.command)
        m.d.comb += [
            sequencer.run.eq(controller.run),
            sequencer.base.eq(controller.base),
            sequencer.unit_busy.eq(Cat(unit.busy for unit in units.values())),
        ]
        # Late by a cycle: what ends a command comes from beyond its unit.
        m.d.sync += sequencer.done_stb.eq(Cat(unit.done_stb for unit in units.values()))
        self._memory(m, controller)
        self._array(m)
        self._buffers(m)
        fetch, store = self.fetch_unit, self.store_unit
        connect(m, fetch.weights, self.weight_unit.stream)
        connect(m, fetch.layernorm, self.layernorm_unit.parameters)
        connect(m, fetch.gelu_table, store.gelu_table)
        connect(m, fetch.embed, store.embed)
        connect(m, store.scores, softmax.i)
        connect(m, softmax.o, self.attention_unit.log_codes)
        m.d.comb += [
            softmax.offset.eq(store.log2_scale),
            store.softmax_idle.eq(softmax.idle),
        ]
        for saturating in (gemm, store, self.layernorm_unit, self.attention_unit):
            m.d.comb += saturating.clear_stb.eq(csr.control_stb.clear_counters)

    def _memory(self, m: Module, controller: RunController) -> None:
        """The memory bus, and who reads and writes there."""
        sequencer, store = self.sequencer, self.store_unit
        readers = (sequencer, self.fetch_unit, self.patchify_unit)
        sizes = {"addr_width": ADDRESS_WIDTH, "data_width": self.config.bus_width}
        m.submodules.arbiter = self.arbiter = arbiter = ReadArbiter(clients=len(readers), **sizes)
        m.submodules.write_dma = self.write_dma = write_dma = WriteDma(**sizes)
        for number, reader in enumerate(readers):
            connect(m, reader.m_axi, getattr(arbiter, f"client_{number}"))
        forward(m, self.m_axi, arbiter.m_axi)
        forward(m, self.m_axi, write_dma.m_axi)
        connect(m, store.write_command, write_dma.command)
        m.d.comb += [
            arbiter.halt.eq(controller.halt),
            write_dma.halt_stb.eq(controller.halt),
            # A run that is stopped leaves bursts that have to be ended, with bytes nobody writes.
            write_dma.i.valid.eq(store.write_data.valid | (write_dma.cause != Cause.NONE)),
            write_dma.i.payload.eq(store.write_data.payload),
            store.write_data.ready.eq(write_dma.i.ready),
            store.write_done.valid.eq(write_dma.done.valid),
            store.write_done.payload.eq(write_dma.done.payload),
            write_dma.done.ready.eq(store.write_done.ready | controller.halt),
        ]
        for unit in (self.fetch_unit, self.patchify_unit, store):
            m.d.comb += unit.base.eq(controller.base)

    def _array(self, m: Module) -> None:
        """Weights and vectors in, outputs to the store."""
        gemm, weights, vectors = self.gemm, self.weight_unit, self.gemm_unit
        connect(m, weights.weights, gemm.weights)
        connect(m, weights.parameters, gemm.parameters)
        connect(m, vectors.vectors, gemm.i)
        outputs = self.store_unit.outputs
        m.d.comb += [
            outputs.valid.eq(gemm.o.valid),
            outputs.p.y.eq(gemm.o.p.y),
            gemm.o.ready.eq(outputs.ready),
        ]
        # The groups of `lanes` channels of both sets, the last of each.
        last_part = (gemm.o.p.group == gemm.parts - 1) | (gemm.o.p.group == 2 * gemm.parts - 1)
        m.d.comb += [
            weights.group.eq(gemm.next_group),
            gemm.shift.eq(weights.shift),
            gemm.zero.eq(weights.zero),
            gemm.low.eq(weights.low),
            gemm.high.eq(weights.high),
            vectors.weights_ready.eq(gemm.weights_ready),
            weights.retired_stb.eq(gemm.o.valid & gemm.o.ready & gemm.o.p.tag[0] & last_part),
        ]

    def _buffers(self, m: Module) -> None:
        codes, residuals = self.code_buffer, self.residual_buffer
        connect(m, self.gemm_unit.read, codes.read_gemm)
        connect(m, self.attention_unit.values, codes.read_attention)
        connect(m, self.weight_unit.read, codes.read_weights)
        connect(m, self.store_unit.codes, codes.write_store)
        connect(m, self.layernorm_unit.write, codes.write_layernorm)
        connect(m, self.attention_unit.write, codes.write_attention)
        connect(m, self.patchify_unit.write, codes.write_patchify)
        connect(m, self.store_unit.residual_read, residuals.read_store)
        connect(m, self.layernorm_unit.read, residuals.read_layernorm)
        connect(m, self.store_unit.residual_write, residuals.write_store)

    def _control(self, m: Module, csr: CsrBank, controller: RunController) -> None:
        """Registers, counters and faults."""
        sequencer, write_dma = self.sequencer, self.write_dma
        m.d.comb += [
            controller.start_stb.eq(csr.control_stb.start),
            controller.entry.eq(csr.entry),
            controller.watchdog.eq(csr.watchdog),
            controller.finished.eq(sequencer.finished),
            controller.bus_idle.eq(self.arbiter.idle & ~write_dma.busy),
            controller.fault.valid.eq(sequencer.fault_stb),
            controller.fault.cause.eq(sequencer.cause),
            controller.fault.address.eq(sequencer.address),
            controller.read_faults[0].cause.eq(sequencer.dma_cause),
            controller.read_faults[0].address.eq(sequencer.dma_address),
            csr.status.eq(controller.status),
            csr.error.eq(controller.error),
            csr.interrupt_stb.eq(controller.interrupt_stb),
            csr.cycles.eq(controller.counting),
        ]
        movers = [(self.fetch_unit, controller.read_faults[1])]
        movers += [(self.patchify_unit, controller.read_faults[2])]
        movers += [(write_dma, controller.write_faults[0])]
        for mover, fault in movers:
            m.d.comb += [fault.cause.eq(mover.cause), fault.address.eq(mover.address)]
        for number, buffer in enumerate((self.code_buffer, self.residual_buffer)):
            fault = controller.buffer_faults[number]
            m.d.comb += [fault.valid.eq(buffer.fault_stb), fault.address.eq(buffer.fault_address)]
            if buffer.parity:
                odd = controller.parity_faults[number]
                m.d.comb += [odd.valid.eq(buffer.parity_stb), odd.address.eq(buffer.parity_address)]
        self._count(m, csr)
        moves = [unit.busy & ~unit.stall for unit in self._command_units.values()]
        bus = self.m_axi
        moves += [bus.rvalid & bus.rready, bus.wvalid & bus.wready, bus.bvalid & bus.bready]
        # Late by two cycles: each unit's path ends in a register, and their way here in another.
        moved = Signal(len(moves))
        m.d.sync += [moved.eq(Cat(moves)), controller.progress.eq(moved.any())]

    def _count(self, m: Module, csr: CsrBank) -> None:
        """What the registers say of each unit: whether it worked or waited in the cycle before."""
        store, softmax = self.store_unit, self.log2_softmax
        m.d.comb += [
            csr.saturated.gemm.eq(self.gemm.saturated),
            csr.saturated.layernorm.eq(self.layernorm_unit.saturated),
            csr.saturated.shift_attention.eq(self.attention_unit.saturated),
            csr.saturated.residual_add.eq(store.saturated),
        ]
        m.d.sync += [
            csr.gemm_stall.weights.eq(self.gemm_unit.waits_weights),
            csr.gemm_stall.activations.eq(self.gemm_unit.waits_activations),
            csr.gemm_stall.output.eq(self.gemm_unit.waits_output),
            csr.busy.read_dma.eq(self.m_axi.rvalid & self.m_axi.rready),
            csr.stall.read_dma.eq(~self.arbiter.idle & ~self.m_axi.rvalid),
            csr.busy.write_dma.eq(self.m_axi.wvalid & self.m_axi.wready),
            csr.stall.write_dma.eq(self.write_dma.busy & ~(self.m_axi.wvalid & self.m_axi.wready)),
            csr.busy.log2_softmax.eq(softmax.i.valid & softmax.i.ready),
            csr.stall.log2_softmax.eq(softmax.i.valid & ~softmax.i.ready),
            csr.busy.gelu_table.eq(store.gelu.valid),
            csr.busy.residual_add.eq(store.residual_write.valid & store.residual_write.ready),
            csr.stall.residual_add.eq(store.residual_write.valid & ~store.residual_write.ready),
        ]
        units = {
            "gemm": self.gemm_unit,
            "layernorm": self.layernorm_unit,
            "shift_attention": self.attention_unit,
        }
        for name, unit in units.items():
            m.d.sync += [
                csr.busy[name].eq(unit.busy & ~unit.stall),
                csr.stall[name].eq(unit.busy & unit.stall),
            ]

    def _probe_members(self) -> dict[str, wiring.Member]:
        def beats(shape: Any) -> wiring.Member:
            return Out(wiring.Signature({"valid": Out(1), "payload": Out(shape)}))

        attention, norm = self.attention_unit, self.layernorm_unit
        return {
            "gemm": beats(self.gemm.o.p.y.shape()),
            "layernorm": beats(norm.normalized.codes.shape()),
            "log2_softmax": beats(self.log2_softmax.o.p.codes.shape()),
            "shift_attention": beats(attention.mixed.codes.shape()),
            "gelu_table": beats(self.store_unit.gelu.codes.shape()),
            "residual": beats(len(self.store_unit.residual_write.p.data)),
            "patchify": beats(len(self.patchify_unit.write.p.data)),
            "start": Out(len(Unit)),
            "done": Out(len(Unit)),
            "array": Out(3),
        }

    def _probe(self, m: Module) -> None:
        probe, vectors = self.probe, self.gemm_unit
        units = self._command_units.values()
        for name, beats in {"gemm": self.gemm.o, "log2_softmax": self.log2_softmax.o}.items():
            m.d.comb += getattr(probe, name).valid.eq(beats.valid & beats.ready)
        m.d.comb += [
            probe.gemm.payload.eq(self.gemm.o.p.y),
            probe.log2_softmax.payload.eq(self.log2_softmax.o.p.codes),
            probe.start.eq(Cat(unit.command.valid & unit.command.ready for unit in units)),
            probe.done.eq(Cat(unit.done_stb for unit in units)),
        ]
        copies = {
            "layernorm": self.layernorm_unit.normalized,
            "shift_attention": self.attention_unit.mixed,
            "gelu_table": self.store_unit.gelu,
        }
        for name, copy in copies.items():
            port = getattr(probe, name)
            m.d.comb += [port.valid.eq(copy.valid), port.payload.eq(copy.codes)]
        writes = {
            "residual": self.store_unit.residual_write,
            "patchify": self.patchify_unit.write,
        }
        for name, write in writes.items():
            port = getattr(probe, name)
            m.d.comb += [port.valid.eq(write.valid & write.ready), port.payload.eq(write.p.data)]
        states = (
            vectors.takes,
            vectors.waits_weights,
            vectors.waits_activations,
            vectors.waits_output,
        )
        for state, holds in enumerate(states, 1):
            with m.If(holds):
                m.d.comb += probe.array.eq(state)
