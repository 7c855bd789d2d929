"""Designs, models, programs and memories as Hypothesis draws them, from the smallest on."""

from dataclasses import dataclass, replace
from math import gcd

import numpy as np
from hypothesis import event, reject
from hypothesis import strategies as st

from rootshift.artifact import Artifact
from rootshift.buffers import residual_words
from rootshift.config import BUS_WIDTHS, CODE_BANKS, PIPELINE_STAGES, AcceleratorConfig
from rootshift.errors import ConfigError, ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.program import Program
from rootshift.sim.native.memory import CHANNELS, MemoryTiming

from ..random_model import Size, random_artifact, random_pixels
from .timm_models import integers

CODES = (3, 8)


@dataclass(frozen=True)
class Pair:
    """What a run needs but its memory: a model, a design for it, and how it is compiled.

    Parameters: `seed` of the model's numbers and the images; `room`, words, tokens and channels of
    each depth beyond those needed; `spare`, bits of activations and weights beyond.
    """

    size: Size
    bits: tuple[int, int, int]
    base: str
    array: tuple[int, int]
    lanes: int
    bus_width: int
    stages: int
    spare: tuple[int, int]
    room: tuple[int, ...]
    images: int
    batch: int
    norm_bands: int | None
    seed: int

    @property
    def artifact(self) -> Artifact:
        """Random integers of that size."""
        weights, activations, log = self.bits
        bits = f"W{weights}A{activations}L{log}"
        rng = np.random.default_rng(self.seed)
        return random_artifact(rng, self.size, bits=bits, base=self.base)

    def config(self, artifact: Artifact) -> AcceleratorConfig:
        """The design. Raises: ConfigError where a depth is more than one can be."""
        rows, cols = self.array
        found = AcceleratorConfig.for_artifact(artifact, f"{rows}x{cols}", self.batch)
        depths = ("token_depth", "channel_depth", "embedding_depth", "code_depth", "residual_depth")
        found = replace(found, residual_depth=residual_words(artifact, self.lanes, self.batch))
        more = {
            name: getattr(found, name) + room * (CODE_BANKS if name == "code_depth" else 1)
            for name, room in zip(depths, self.room, strict=True)
        }
        return replace(
            found,
            **more,
            lanes=self.lanes,
            bus_width=self.bus_width,
            pipeline_stages=self.stages,
            activation_width=min(CODES[1], found.activation_width + self.spare[0]),
            weight_width=min(CODES[1], found.weight_width + self.spare[1]),
        )

    @property
    def options(self) -> dict[str, int | None]:
        """As `compile_program` takes them."""
        return {"batch": self.batch, "norm_bands": self.norm_bands}

    def pixels(self, artifact: Artifact) -> np.ndarray:
        """uint8 [images, H, W, C]."""
        return random_pixels(np.random.default_rng(self.seed), artifact, self.images)

    def program(self) -> Program:
        """The program, without the design; what the compiler refuses is drawn anew."""
        artifact = self.artifact
        try:
            return compile_program(artifact, self.config(artifact), self.images, **self.options)
        except (ConfigError, ProgramError):
            event("refused by the compiler")
        reject()


@st.composite
def sizes(draw: st.DrawFn) -> Size:
    """Models of up to 65 tokens and three blocks, of widths that fill no array."""
    patch, heads = draw(integers(1, 4)), draw(integers(1, 4))
    prefix = draw(integers(0, 3))
    pools = ["avg"] + ["token"] * (prefix > 0) + ["distilled"] * (prefix > 1)
    return Size(
        image=(
            patch * draw(integers(1, 8)),
            patch * draw(integers(1, 8)),
            draw(st.sampled_from([1, 3])),
        ),
        patch=patch,
        width=heads * draw(integers(-(-3 // heads), 40 // heads)),
        heads=heads,
        hidden=draw(integers(1, 60)),
        depth=draw(integers(1, 3)),
        prefix=prefix,
        pool=draw(st.sampled_from(pools)),
        # Many of them fill the queues of writes.
        classes=draw(st.one_of(integers(1, 24), integers(150, 300))),
    )


@st.composite
def pairs(draw: st.DrawFn, most_side: int = 12) -> Pair:
    """Every field of a design, of up to so many rows and columns, and every compiler option."""
    rows, cols = draw(integers(2, most_side)), draw(integers(2, most_side))
    most = gcd(rows, cols)
    batch = draw(integers(1, 3))
    return Pair(
        size=draw(sizes()),
        bits=tuple(draw(integers(*CODES)) for _ in range(3)),
        base=draw(st.sampled_from(["sqrt2", "2"])),
        array=(rows, cols),
        lanes=draw(st.sampled_from([n for n in range(1, most + 1) if most % n == 0])),
        bus_width=draw(st.sampled_from(BUS_WIDTHS)),
        stages=draw(st.sampled_from(PIPELINE_STAGES)),
        spare=(draw(integers(0, 3)), draw(integers(0, 3))),
        room=tuple(draw(st.one_of(st.just(0), integers(1, 70))) for _ in range(5)),
        images=batch * draw(integers(1, 2)),
        batch=batch,
        norm_bands=draw(st.one_of(st.none(), integers(1, 4))),
        seed=draw(integers(0, 1 << 16)),
    )


def memories() -> st.SearchStrategy[MemoryTiming]:
    """Memories of every kind, from the ideal one to those that hold each channel at times."""
    holds = st.floats(0, 0.9)
    return st.builds(
        MemoryTiming,
        read_latency=integers(1, 200),
        write_latency=integers(1, 900),
        extra_latency=st.one_of(st.just(0), integers(1, 150)),
        hold=st.one_of(st.just({}), holds, st.fixed_dictionaries(dict.fromkeys(CHANNELS, holds))),
        bandwidth=st.one_of(st.just(1.0), st.floats(0.05, 1)),
        seed=integers(0, (1 << 64) - 1),
    )
