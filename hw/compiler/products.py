"""Matrix products: the commands that every one of them takes, and the places of their tensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...buffers import CodeTensor, plan_codes
from ...config import AcceleratorConfig
from ...errors import ProgramError
from ...isa import Destination, Mode
from ...operators import GeluTable, Gemm
from .emitter import OUTPUT, Emitter
from .packing import Columns, at_places, pack_parameters, pack_tiles


@dataclass(frozen=True)
class Part:
    """Some groups of columns of a product, of some of its tokens."""

    group: int
    groups: int
    token: int
    tokens: int


def last_used(places: np.ndarray) -> int:
    """Places up to the last that holds a channel."""
    return int(np.flatnonzero(places >= 0)[-1]) + 1


class Products:
    """Emits the commands of products, and knows where code tensors lie.

    Parameters: `artifact`, `config`, the `emitter` that takes the commands, and `batch`, images
    whose tokens are stacked: token t of image k of a batch of T each is token k * T + t.
    Members: `plan` and `base`, first word of every code tensor; `free`, words from 0 on that are
    the patches' while no tensor needs them.
    Raises: ProgramError where the code buffer is too small: the tensor, need and have.
    """

    def __init__(
        self, artifact: Artifact, config: AcceleratorConfig, emitter: Emitter, batch: int
    ) -> None:
        self.artifact, self.config, self.emitter, self.batch = artifact, config, emitter, batch
        self.stationary_width = config.stationary_width
        self.plan = plan_codes(artifact, config.rows, batch)
        self.free = config.code_depth - self.plan.tail_words
        self.base = {name: self.free + at for name, at in self.plan.tail.items()}
        self.base |= self.plan.body
        # The tail's words lie behind the body's.
        words = self.plan.body_words + self.plan.tail_words
        if words > config.code_depth:
            lowest = self.plan.body or self.plan.tail
            highest = max(lowest, key=lambda name: lowest[name] + self.plan.tensors[name].words)
            raise ProgramError(
                f"code buffer must hold {words} words for {highest}, not {config.code_depth}"
            )

    def chunks(self, channels: int) -> int:
        """Chunks of `lanes` that hold `channels`."""
        return -(-channels // self.config.lanes)

    def groups(self, outputs: np.ndarray) -> int:
        """Groups of columns that outputs, channels at their places or -1, take."""
        return -(-last_used(outputs) // self.config.cols)

    def product(
        self,
        gemm: Gemm,
        source: dict[str, int],
        inputs: np.ndarray,
        target: dict[str, int],
        outputs: np.ndarray,
        surplus: int = 0,
        parts: Sequence[Part] = (),
        then: Callable[[int], None] | None = None,
        **placed: Any,
    ) -> None:
        """FETCH, WEIGHTS, GEMM and STORE, of the whole product or of one part after the other.

        Parameters: operands of GEMM (`source`); `inputs` and `outputs`, channels at the places of
        K and of the output, or -1; operands of STORE (`target`); `surplus`, sum of a token's codes
        in fill places; `then` is called after each of `parts`, with its number.
        """
        config, emitter = self.config, self.emitter
        groups, used = self.groups(outputs), last_used(outputs)
        digits = -(-gemm.weight_width // self.stationary_width)
        token = placed.pop("token", 0)
        for number, part in enumerate(parts or [Part(0, groups, 0, source["tokens"])]):
            first = part.group * config.cols // config.lanes
            chunks = min(part.groups * config.cols // config.lanes, self.chunks(used) - first)
            emitter.fetch(
                f"{gemm.name}.weight",
                lambda: self.weights(gemm, inputs, outputs, groups * config.cols, digits, surplus),
                Destination.WEIGHTS,
                part=(part.group, part.groups, groups),
            )
            shape = {"groups": part.groups, "tiles": source["tiles"] * digits}
            event = emitter.command("WEIGHTS", shape)
            moving = source | {
                "base": source["base"] + part.token,
                "tokens": part.tokens,
                "groups": part.groups,
                "weight_digits": digits,
            }
            event = emitter.command("GEMM", moving, fed_by=event)
            taken = target | {"tokens": part.tokens, "groups": part.groups, "chunks": chunks}
            if target["mode"] == Mode.RESIDUAL:
                taken["base"] += part.token * target["stride"] + first
            elif "base" in target:
                words = first * config.lanes // config.rows
                taken["base"] += part.token + words * target["stride"]
            emitter.command(
                "STORE",
                taken,
                fed_by=event,
                segment=OUTPUT if target["mode"] == Mode.LOGITS else None,
                channels=outputs[part.group * config.cols :],
                token=token + part.token,
                **placed,
            )
            if then is not None:
                then(number)

    def weights(
        self,
        gemm: Gemm,
        inputs: np.ndarray,
        outputs: np.ndarray,
        size: int,
        digits: int,
        surplus: int,
    ) -> bytes:
        """The weight stream of a gemm whose outputs take `size` columns."""
        config, beat = self.config, self.emitter.beat
        # Fill codes meet weights of 0, but the array's sum of codes counts them.
        bias = gemm.bias + surplus * gemm.weight_zero.astype(np.int64)
        columns = Columns(
            weight_zero=at_places(gemm.weight_zero.astype(np.int64), outputs, size),
            bias=at_places(bias, outputs, size),
            multiplier=at_places(gemm.multiplier.astype(np.int64), outputs, size),
            shift=gemm.shift,
            width=gemm.width,
            zero=gemm.zero,
        )
        weight = at_places(gemm.weight, outputs, size)
        weight = at_places(weight.T, inputs, inputs.size).T
        parameters = pack_parameters(columns, config.cols, beat)
        tiles = pack_tiles(weight, config.rows, config.cols, self.stationary_width, digits, beat)
        return np.concatenate([parameters, tiles], axis=1).tobytes()

    def surplus(self, tensor: CodeTensor) -> int:
        """Sum of a token's codes in fill places: not 0 where a table has mapped zeros to a code."""
        maker = self.artifact[tensor.name]
        if not isinstance(maker, GeluTable):
            return 0
        written = tensor.channels[: self.chunks(last_used(tensor.channels)) * self.config.lanes]
        return int(maker.table[0]) * int(np.count_nonzero(written < 0))
