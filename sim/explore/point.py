"""One point of a space: a quantization, a piece of hardware, its memory and its target."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ...artifact import Artifact
from ...bit_table import BitTable, PartialBits, read_bits
from ...bits import Bits
from ...config import AcceleratorConfig
from ...errors import ConfigError
from ...methods import DEFAULT_METHOD
from ..native.memory import MemoryTiming

Value = int | float | str
WIDTHS = ("weights", "activations", "log")
"""Knobs that are widths; `weights@PATTERN` is that of the layers that the pattern matches."""
CONFIG = (
    "rows", "cols", "lanes", "activation_width", "weight_width", "token_depth", "channel_depth",
    "embedding_depth", "code_depth", "residual_depth", "bus_width",
    "pipeline_stages", "array_multiplier",
)  # fmt: skip
"""Knobs that are fields of `AcceleratorConfig`."""
MEMORY = ("read_latency", "write_latency", "extra_latency", "bandwidth", "hold", "seed")
"""Knobs that are fields of `MemoryTiming`."""
LEAST = "least"
"""Value of a field: the smallest that runs the model."""
FMAX = "fmax"
"""Value of `clock_mhz`: what the area model estimates."""


@dataclass(frozen=True)
class Quantization:
    """How a model is quantized; points that share it share the artifact and its accuracy."""

    bits: Bits | BitTable
    method: str
    base: str

    def __str__(self) -> str:
        return f"{self.bits} {self.method}" + (f" base {self.base}" if self.base != "sqrt2" else "")


@dataclass(frozen=True)
class Hardware:
    """What runs an artifact.

    Fields: `fields` of `AcceleratorConfig` that are given, in the order of `CONFIG`, the others are
    the smallest that run the model; `batch`, images side by side; `memory` behind the bus; `target`
    by name, or None; `clock_mhz`, None for the estimate of the area model.
    """

    fields: tuple[tuple[str, Value], ...]
    batch: int
    memory: MemoryTiming
    target: str | None
    clock_mhz: float | None

    def config(self, artifact: Artifact) -> AcceleratorConfig:
        """The configuration that runs `artifact`.

        Raises: ConfigError where a field is out of range or less than the artifact needs.
        """
        given = {name: value for name, value in self.fields if value != LEAST}
        array = f"{given['rows']}x{given['cols']}"
        config = AcceleratorConfig.for_artifact(artifact, array, self.batch, **given)
        config.check_fits(artifact, self.batch)
        return config


@dataclass(frozen=True)
class Point:
    """A value for each knob of a space, in the space's order.

    Knobs are `bits` or `WIDTHS` (also `weights@PATTERN` and so on), `method`, `base`; `array` such
    as "16x16", or rows and cols, and the other `CONFIG`; `batch`; `MEMORY`; `target`; `clock_mhz`.
    """

    values: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> "Point":
        """From knob -> value."""
        return cls(tuple(values.items()))

    def get(self, knob: str, default: Value | None = None) -> Value | None:
        """The value of a knob, or `default` where the space has no such knob."""
        return self._by_knob.get(knob, default)

    @cached_property
    def _by_knob(self) -> dict[str, Value]:
        return dict(self.values)

    @cached_property
    def quantization(self) -> Quantization:
        """Its part that makes the artifact.

        Raises: ConfigError where widths are out of range, or missing.
        """
        values = dict(self.values)
        if "bits" in values:
            bits = read_bits(values["bits"])
        else:
            weights, activations = values["weights"], values["activations"]
            bits = Bits(weights, activations, values.get("log", activations))
        groups: dict[str, dict[str, Value]] = {}
        for name, value in values.items():
            width, at, pattern = name.partition("@")
            if at:
                groups.setdefault(pattern, {})[width] = value
        if groups:
            lines = tuple((pattern, PartialBits(**widths)) for pattern, widths in groups.items())
            bits = BitTable(bits.default, (*getattr(bits, "layers", ()), *lines))
        return Quantization(bits, values.get("method", DEFAULT_METHOD), values.get("base", "sqrt2"))

    @cached_property
    def hardware(self) -> Hardware:
        """Its part that runs the artifact.

        Raises: ConfigError naming the knob whose value is not legal.
        """
        values = dict(self.values)
        if "array" in values:
            rows, _, cols = str(values["array"]).partition("x")
            values |= {"rows": int(rows), "cols": int(cols)}
        clock = values.get("clock_mhz", FMAX)
        try:
            memory = MemoryTiming(**{name: values[name] for name in MEMORY if name in values})
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return Hardware(
            fields=tuple((name, values[name]) for name in CONFIG if name in values),
            batch=values.get("batch", 1),
            memory=memory,
            target=values.get("target"),
            clock_mhz=None if clock == FMAX else float(clock),
        )
