"""What every unit owes its users: documented members, clean and reproducible Verilog."""

import inspect
import re
from pathlib import Path

import pytest
from amaranth.lib import wiring

from rootshift.config import AcceleratorConfig
from rootshift.hw import verilog
from rootshift.hw.accumulator_buffer import AccumulatorBuffer
from rootshift.hw.attention_unit import AttentionUnit
from rootshift.hw.axi_bursts import BurstSplitter
from rootshift.hw.block_memory import BlockMemory
from rootshift.hw.bus_access import BusSwitch, MemoryAccess, RegisterAccess
from rootshift.hw.code_store import CodeStore
from rootshift.hw.column_reader import ColumnReader
from rootshift.hw.csr import CsrBank
from rootshift.hw.fetch_unit import FetchUnit
from rootshift.hw.frames import FrameReceiver
from rootshift.hw.gearbox import Gearbox
from rootshift.hw.gelu_table import GeluTable
from rootshift.hw.gemm import Gemm
from rootshift.hw.gemm_unit import GemmUnit
from rootshift.hw.host_link import HostLink
from rootshift.hw.layernorm import LayerNorm
from rootshift.hw.layernorm_unit import LayerNormUnit
from rootshift.hw.log2_softmax import Log2Softmax
from rootshift.hw.log_code_buffer import LogCodeBuffer
from rootshift.hw.logit_writer import LogitWriter
from rootshift.hw.mean_pool import MeanPool
from rootshift.hw.output_steps import OutputSteps
from rootshift.hw.parameter_banks import ParameterBanks
from rootshift.hw.patchify_unit import PatchifyUnit
from rootshift.hw.read_arbiter import ReadArbiter
from rootshift.hw.read_dma import ReadDma
from rootshift.hw.reciprocal_root import ReciprocalRoot
from rootshift.hw.requantizer import Requantizer
from rootshift.hw.residual_add import ResidualAdd
from rootshift.hw.residual_store import ResidualStore
from rootshift.hw.residual_update import ResidualUpdate
from rootshift.hw.run_controller import RunController
from rootshift.hw.saturation import SaturationCounter
from rootshift.hw.score_gather import ScoreGather
from rootshift.hw.sequencer import Sequencer
from rootshift.hw.shift_attention import ShiftAttention
from rootshift.hw.store_unit import StoreUnit
from rootshift.hw.stream_fill import StreamFill
from rootshift.hw.systolic_array import SystolicArray
from rootshift.hw.top import Accelerator
from rootshift.hw.total_queue import TotalQueue
from rootshift.hw.uart import UartReceiver, UartTransmitter
from rootshift.hw.weight_unit import WeightUnit
from rootshift.hw.word_bank import WordBank
from rootshift.hw.word_buffer import WordBuffer
from rootshift.hw.write_dma import WriteDma
from rootshift.testbench.hw.compiled import built, model
from rootshift.testbench.hw.verilate import lint

UNITS = [
    lambda: Accelerator(
        config=AcceleratorConfig(
            rows=2,
            cols=2,
            lanes=1,
            token_depth=8,
            channel_depth=16,
            embedding_depth=8,
            code_depth=32,
            residual_depth=16,
        )
    ),
    lambda: AccumulatorBuffer(
        depth=16,
        cols=4,
        in_width=10,
        acc_width=32,
        sum_in_width=6,
        sum_acc_width=12,
        activation_width=3,
        weight_width=4,
        activation_digits=3,
        weight_digits=2,
    ),
    lambda: AttentionUnit(
        rows=4,
        cols=6,
        log_width=4,
        value_width=4,
        depth=20,
        base="sqrt2",
        lanes=2,
        drains=2,
    ),
    lambda: BlockMemory(init=bytes(500), addr_width=40, data_width=64),
    lambda: BusSwitch(addr_width=40, data_width=64),
    lambda: BurstSplitter(addr_width=32, data_width=64, burst=16, beats_width=20, carry=3),
    lambda: CodeStore(lanes=4, places=2, code_width=4),
    lambda: ColumnReader(word_width=12),
    lambda: CsrBank(config=AcceleratorConfig()),
    lambda: FetchUnit(bus_width=64),
    lambda: FrameReceiver(lengths={1: 0, 2: 5}, timeout=100),
    lambda: Gearbox(in_bytes=8, out_bytes=12),
    lambda: Gemm(
        rows=4,
        cols=6,
        activation_width=4,
        weight_width=6,
        depth=16,
        k_max=64,
        groups=4,
        activation_digits=2,
        weight_digits=2,
        lanes=3,
    ),
    lambda: GemmUnit(rows=4, code_width=4, depth=20, activation_digits=2, weight_digits=2),
    lambda: GeluTable(lanes=4, code_width=4),
    lambda: HostLink(
        program=built(model(), array="2x2"),
        identity=bytes(8),
        addr_width=40,
        data_width=64,
        timeout=100,
    ),
    lambda: LayerNorm(lanes=4, depth=30, code_width=4),
    lambda: LayerNormUnit(rows=8, lanes=4, depth=30, code_width=4, bus_width=64),
    lambda: Log2Softmax(lanes=4, depth=20, code_width=4, base="sqrt2"),
    lambda: LogCodeBuffer(cols=4, code_width=4, depth=20, tag_width=3),
    lambda: LogitWriter(lanes=4, bus_width=64, addr_width=40),
    lambda: MemoryAccess(addr_width=40, data_width=64),
    lambda: MeanPool(lanes=4),
    lambda: OutputSteps(parts=2, places=4),
    lambda: ParameterBanks(cols=6, lanes=3, records=8),
    lambda: PatchifyUnit(rows=8, activation_width=3, lanes=4, bus_width=64),
    lambda: ReadArbiter(clients=3, addr_width=40, data_width=64),
    lambda: ReadDma(addr_width=40, data_width=64),
    lambda: ReciprocalRoot(tag_width=8, digits=2),
    lambda: RegisterAccess(addr_width=12),
    lambda: Requantizer(lanes=4, groups=4),
    lambda: ResidualAdd(lanes=4),
    lambda: ResidualStore(lanes=4, bus_width=64),
    lambda: ResidualUpdate(lanes=4),
    lambda: RunController(parity=True),
    lambda: SaturationCounter(lanes=4),
    lambda: ScoreGather(lanes=4, parts=2),
    lambda: Sequencer(config=AcceleratorConfig()),
    lambda: ShiftAttention(
        rows=4, cols=6, code_width=4, value_width=4, depth=50, base="sqrt2", drains=2
    ),
    lambda: StoreUnit(rows=8, cols=12, lanes=4, code_width=4, bus_width=64, depth=16),
    lambda: StreamFill(bus_bytes=8, piece_bytes=6, count_width=20),
    lambda: SystolicArray(rows=4, cols=5, activation_width=4, weight_width=6),
    lambda: UartReceiver(clock=50_000_000, baud=3_000_000),
    lambda: UartTransmitter(clock=50_000_000, baud=3_000_000),
    lambda: WeightUnit(rows=4, cols=6, lanes=3, weight_width=6, code_width=4, bus_width=128),
    lambda: WordBank(depth=4500, word_width=16, parts=4, stages=3),
    lambda: WordBuffer(
        depth=64, word_width=16, parts=4, banks=4, readers=("x",), writers=("x",), parity=True
    ),
    lambda: WriteDma(addr_width=40, data_width=64),
    lambda: TotalQueue(depth=16, cols=6, lanes=2, acc_width=20, sum_width=12),
]


def documented(unit: wiring.Component) -> dict[str, str]:
    """Members and directions as the class docstring's section Members lists them."""
    text = inspect.getdoc(type(unit))
    section = re.search(r"^Members\n-+\n(.*?)\n\n(?=\S)", text + "\n\nend", re.S | re.M)
    assert section, "the docstring has no section Members"
    lines = re.findall(r"^(\w+(?:, \w+)*) : (In|Out)\b", section[1], re.M)
    return {name: direction for names, direction in lines for name in names.split(", ")}


@pytest.fixture(params=UNITS, ids=lambda make: type(make()).__name__)
def unit(request) -> wiring.Component:
    return request.param()


def test_members_are_documented(unit):
    members = {name: member.flow.name for name, member in unit.signature.members.items()}
    assert documented(unit) == members


@pytest.mark.parametrize("section", ["Parameters\n---", "Latency: ", "Throughput: "])
def test_docstring_has(unit, section):
    assert section in inspect.getdoc(type(unit))


def test_parameters_are_documented(unit):
    text = inspect.getdoc(type(unit))
    names = inspect.signature(type(unit).__init__).parameters
    for name, parameter in names.items():
        if name != "self":
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
            assert re.search(rf"^([\w, ]+, )?{name}(, [\w, ]+)? : ", text, re.M), name
            assert hasattr(unit, name), f"{name} cannot be read back"


def test_verilog_is_clean(unit):
    name = type(unit).__name__
    text = verilog.convert(unit, name)
    assert lint(text, name) == ""
    assert text == verilog.convert(unit, name)
    assert str(Path(__file__).parent) not in text
    assert ".py" not in text
    lines = re.findall(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+);", text, re.M)
    ports = {port: (kind[0], int(top or 0) + 1) for kind, top, port in lines}
    clock = {} if "posedge" in text else dict.fromkeys(("clk", "rst"), ("i", 1))
    assert ports | clock == verilog.ports(unit)


def test_every_signal_has_a_name(unit):
    """Amaranth finds a name where a signal is assigned to one variable, by itself."""
    text = verilog.convert(unit, type(unit).__name__)
    assert re.findall(r"\\\$sign\w+\S*", text) == []
