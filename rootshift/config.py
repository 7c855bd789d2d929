"""The configuration of one accelerator: the object that RTL, golden model and tools share."""

import json
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .accelerated import check_accelerated
from .artifact import Artifact
from .buffers import code_tensors, code_words, residual_words
from .errors import ConfigError
from .formats import BASES, CODE_WIDTHS, EMBEDDING_MAX, zero_code
from .memo import per_artifact
from .operators import Gemm, LayerNorm, Log2Softmax
from .toml_fields import load_fields
from .views import views

ARRAY_MAX = 256
CHANNELS_MAX = 1 << 14
CHANNEL_GROUPS_MAX = 4096
"""Groups of `cols` output channels whose requantizer parameters a unit can hold."""
CODE_BANKS = 4
"""Banks of the code buffer; word a lies in bank a mod 4."""
WORDS_MAX = 1 << 20
BUS_WIDTHS = (32, 64, 128)
PIPELINE_STAGES = range(1, 4)
ARRAY_MULTIPLIERS = ("lut", "dsp")
HEAD_CHANNELS = 64
"""Channels of an attention head in all DeiT, ViT and most other transformers."""
_ARRAY = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class AcceleratorConfig:
    """Sizes and widths of the generated hardware.

    Parameters:
        rows, cols: size of the systolic array and of shift attention, 1..256.
        activation_width, weight_width, log_width: widths of the codes, 3..8 bits each.
        base: softmax base, "sqrt2" or "2".
        lanes: values per cycle of requantizer, GELU table, LayerNorm and residual adder; divides
            rows and cols.
        token_depth: tokens (and keys) that accumulator and score buffers hold, 1..4096; tokens of
            a batch are those of all its images.
        channel_depth: inputs and outputs that one matrix product may have, 1..16384, and at most
            4096 times `cols`.
        embedding_depth: channels of a LayerNorm row, 1..4096.
        code_depth: words of `rows` codes in the code buffer, 4..2^20, a multiple of 4 (its banks).
        residual_depth: words of `lanes` 16-bit values in the residual buffer, 1..2^20.
        bus_width: bits of a beat of the memory bus, 32, 64 or 128.
        pipeline_stages: registers of each long path, 1..3: between a scratchpad's memory and its
            readers, and in each wide multiplication. One is smaller and slower.
        array_multiplier: what the array's products are made of, "lut" or "dsp": DSP blocks, with
            two products in each where the widths allow.
        program_crc: whether the check of each command is looked at before it is carried out.
        buffer_parity: whether code buffer and residual buffer have a bit of parity for each part
            of a word that is written by itself. Either stops the run at the first error.
    Raises: ConfigError naming the field whose value is not legal.
    """

    rows: int = 16
    cols: int = 16
    activation_width: int = 4
    weight_width: int = 4
    log_width: int = 4
    base: str = "sqrt2"
    lanes: int = 8
    token_depth: int = 256
    channel_depth: int = 1024
    embedding_depth: int = 256
    code_depth: int = 16384
    residual_depth: int = 8192
    bus_width: int = 64
    pipeline_stages: int = 2
    array_multiplier: str = "lut"
    program_crc: bool = False
    buffer_parity: bool = False

    def __post_init__(self) -> None:
        limits = {
            "rows": range(1, ARRAY_MAX + 1),
            "cols": range(1, ARRAY_MAX + 1),
            "activation_width": CODE_WIDTHS,
            "weight_width": CODE_WIDTHS,
            "log_width": CODE_WIDTHS,
            "lanes": range(1, ARRAY_MAX + 1),
            "token_depth": range(1, EMBEDDING_MAX + 1),
            "channel_depth": range(1, CHANNELS_MAX + 1),
            "embedding_depth": range(1, EMBEDDING_MAX + 1),
            "code_depth": range(CODE_BANKS, WORDS_MAX + 1),
            "residual_depth": range(1, WORDS_MAX + 1),
            "pipeline_stages": PIPELINE_STAGES,
        }
        for name, legal in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value not in legal:
                raise ConfigError(f"{name} must be in {legal[0]}..{legal[-1]}, not {value!r}")
        for name, names in (("base", BASES), ("array_multiplier", ARRAY_MULTIPLIERS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in names:
                raise ConfigError(f"{name} must be one of {', '.join(names)}, not {value!r}")
        for name in ("program_crc", "buffer_parity"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(f"{name} must be true or false, not {value!r}")
        if self.bus_width not in BUS_WIDTHS or isinstance(self.bus_width, bool):
            widths = ", ".join(map(str, BUS_WIDTHS))
            raise ConfigError(f"bus_width must be one of {widths}, not {self.bus_width!r}")
        if self.code_depth % CODE_BANKS:
            raise ConfigError(
                f"code_depth must be a multiple of {CODE_BANKS}, not {self.code_depth}"
            )
        if self.rows % self.lanes or self.cols % self.lanes:
            raise ConfigError(
                f"lanes must divide {self.rows} rows and {self.cols} cols, not {self.lanes}"
            )
        most = CHANNEL_GROUPS_MAX * self.cols
        if self.channel_depth > most:
            raise ConfigError(
                f"channel_depth must be at most {most} with {self.cols} cols, "
                f"not {self.channel_depth}"
            )

    @property
    def stationary_width(self) -> int:
        """Bits of a stationary code of the array: keys' queries are such codes, too."""
        return max(self.activation_width, self.weight_width)

    @property
    def log_zero(self) -> int:
        """Log code of probability zero."""
        return zero_code(self.log_width, self.base)

    @classmethod
    def for_artifact(
        cls, artifact: Artifact, array: str, batch: int = 1, **given: Any
    ) -> "AcceleratorConfig":
        """The smallest widths and depths that run `artifact` on an array such as "16x16".

        Of codes the widest sets `activation_width`, because a code is one place of a word. Weights
        that are wider than most, and the pixels, go through the array by digits.

        Parameters: `batch`, images that share each pass of weights, whose tokens lie side by side;
        `given`, fields that are to be so, as far as the artifact allows: `check_fits` tells.
        Raises: ConfigError where `array` is not written ROWSxCOLS or is out of range, `batch` is
        less than 1, a batch needs more than a field may be, or two layers have other log codes.
        """
        if batch < 1:
            raise ConfigError(f"batch must be at least 1, not {batch}")
        config = replace(_least(artifact, *parse_array(array), batch), **given)
        depths = {
            "code_depth": _code_depth(artifact, config, batch),
            "residual_depth": residual_words(artifact, config.lanes, batch),
        }
        return replace(config, **(depths | given))

    def check_fits(self, artifact: Artifact, batch: int = 1) -> None:
        """Refuse an artifact that this hardware cannot run, `batch` images side by side.

        Raises: ConfigError naming field, need and have.
        """
        need = AcceleratorConfig.for_artifact(artifact, f"{self.rows}x{self.cols}", batch)
        # Another log code of zero computes another model.
        same = {
            "base": self.base == need.base,
            "log_width": self.log_zero == need.log_zero,
        }
        for name, equal in same.items():
            if not equal:
                raise ConfigError(
                    f"{name} must be the artifact's, {getattr(need, name)}, "
                    f"not {getattr(self, name)}"
                )
        least = {
            name: getattr(need, name)
            for name in (
                "activation_width",
                "token_depth",
                "channel_depth",
                "embedding_depth",
            )
        }
        width, lanes = self.activation_width, self.lanes
        least["code_depth"] = code_words(artifact, self.rows, width, buffers=1, batch=batch)
        least["residual_depth"] = residual_words(artifact, lanes, batch)
        what = "the artifact" if batch == 1 else f"{batch} images of the artifact"
        for name, words in least.items():
            if getattr(self, name) < words:
                raise ConfigError(
                    f"{name} must be at least {words} for {what}, not {getattr(self, name)}"
                )

    @classmethod
    def load(cls, path: str | Path) -> "AcceleratorConfig":
        """Read a TOML file whose keys are the fields; fields left out take their defaults.

        Raises: ConfigError naming the file, and the key where one is wrong.
        """
        return load_fields(cls, path)

    def to_toml(self) -> str:
        """The TOML text that `load` reads back to an equal object."""
        lines = (
            # Names as TOML has them, which JSON has, too.
            f"{key} = {json.dumps(value)}"
            for key, value in asdict(self).items()
        )
        return "\n".join(lines) + "\n"


@per_artifact
def _least(artifact: Artifact, rows: int, cols: int, batch: int) -> AcceleratorConfig:
    """`for_artifact`, with buffers of any depth."""
    check_accelerated(artifact)
    shapes = artifact.shapes()
    softmax = log_codes(artifact)
    products = [op for op in artifact.operators if isinstance(op, Gemm)]
    stored, seen = {tensor.name for tensor in code_tensors(artifact, rows=1)}, views(artifact)
    weights = max(op.weight_width for op in products if seen.stored(op.inputs[0]) in stored)
    norms = [op for op in artifact.operators if isinstance(op, LayerNorm)]
    tokens = max(shapes[op.name][0] for op in products)
    return AcceleratorConfig(
        rows=rows,
        cols=cols,
        lanes=default_lanes(rows, cols),
        activation_width=max(op.output_width for op in artifact.operators if op.name in stored),
        # Wider weights go by digits.
        weight_width=min(artifact.bits.default.weights, weights),
        log_width=softmax.log_width if softmax else artifact.bits.default.log,
        base=softmax.base if softmax else "sqrt2",
        token_depth=batch * tokens,
        # In scores every query of an image is an output channel.
        channel_depth=max(tokens, *(max(op.weight.shape) for op in products)),
        embedding_depth=max((op.gain.size for op in norms), default=1),
    )


def _code_depth(artifact: Artifact, config: AcceleratorConfig, batch: int) -> int:
    """The fewest words that keep patches coming: two bands of them."""
    words = code_words(artifact, config.rows, config.activation_width, batch=batch)
    return -(-words // CODE_BANKS) * CODE_BANKS


def log_codes(artifact: Artifact) -> Log2Softmax | None:
    """A softmax that stands for all those of `artifact`, or None where there is none.

    The unit of an accelerator makes one kind of log codes: widths may differ only where zero has
    the same code in all of them.
    Raises: ConfigError naming a layer of another kind.
    """
    found: Log2Softmax | None = None
    for op in artifact.operators:
        if not isinstance(op, Log2Softmax):
            continue
        found = found or op
        kinds = [(zero_code(each.log_width, each.base), each.base) for each in (op, found)]
        if kinds[0] != kinds[1]:
            raise ConfigError(
                f"{op.name}: log codes must be of {found.log_width} bits and base {found.base} as "
                f"in {found.name}, not of {op.log_width} and base {op.base}: an accelerator has "
                "one kind"
            )
    return found


def default_lanes(rows: int, cols: int) -> int:
    """The most lanes that divide rows and cols, with which the array does not wait for outputs.

    A vector's outputs, `cols`, leave in 4 beats; in 2, where fewer tiles hold the 64 channels of a
    head, after each of which the array has a new output.
    """
    limit = max(1, cols // max(2, min(4, HEAD_CHANNELS // max(1, rows))))
    return max(n for n in range(1, limit + 1) if rows % n == 0 and cols % n == 0)


def parse_array(text: str) -> tuple[int, int]:
    """Rows and columns of "16x16"; raises ConfigError for any other spelling."""
    match = _ARRAY.fullmatch(text)
    if match is None:
        raise ConfigError(f"array must be written ROWSxCOLS, not {text!r}")
    rows, cols = match.groups()
    return int(rows), int(cols)
