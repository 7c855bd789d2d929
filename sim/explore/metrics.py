"""What is measured of a point of the space, and in which stage of its evaluation."""

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """How far a point has come; each stage costs more than the one before."""

    QUANTIZED = 0
    AREA = 1
    CYCLES = 2
    FEW_IMAGES = 3
    ALL_IMAGES = 4


@dataclass(frozen=True)
class Metric:
    """One figure of a point.

    Fields: `name`, as in results, constraints and objectives; `unit`, "" where it is a count or a
    ratio; `higher`, whether more of it is better; `stage` from which on it is known; `meaning`;
    `of_target`, whether it needs a target.
    """

    name: str
    unit: str
    higher: bool
    stage: Stage
    meaning: str
    of_target: bool = False


METRICS = {
    metric.name: metric
    for metric in (
        Metric("top1", "%", True, Stage.FEW_IMAGES, "images whose label is first, integers"),
        Metric("top5", "%", True, Stage.FEW_IMAGES, "images whose label is among the first five"),
        Metric("images", "", True, Stage.FEW_IMAGES, "that top1 and top5 were counted on"),
        Metric("weight_bytes", "B", False, Stage.QUANTIZED, "all weight codes, bit after bit"),
        Metric("cycles", "", False, Stage.CYCLES, "from start to interrupt, of a batch"),
        Metric("mac_utilization", "", True, Stage.CYCLES, "the model's MACs per place for one"),
        Metric("latency_ms", "ms", False, Stage.CYCLES, "of a batch, at `clock_mhz`"),
        Metric("images_per_second", "1/s", True, Stage.CYCLES, "batch after batch"),
        Metric("energy_uj", "uJ", False, Stage.CYCLES, "of an image; an estimate"),
        Metric("read_bytes", "B", False, Stage.CYCLES, "read from memory, of a batch"),
        Metric("write_bytes", "B", False, Stage.CYCLES, "written to memory, of a batch"),
        Metric("bandwidth_mb_s", "MB/s", False, Stage.CYCLES, "of memory, mean of a run"),
        Metric("clock_mhz", "MHz", True, Stage.AREA, "that the latency counts with"),
        Metric("fmax_mhz", "MHz", True, Stage.AREA, "of the slowest unit; an estimate", True),
        Metric("lut", "", False, Stage.AREA, "look-up tables, by the area model", True),
        Metric("ff", "", False, Stage.AREA, "flip-flops, by the area model", True),
        Metric("dsp", "", False, Stage.AREA, "DSP blocks, by the area model", True),
        Metric("block_ram", "", False, Stage.AREA, "block RAMs, by the area model", True),
    )
}
"""By name."""
