"""From steps to commands."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import gcd

import numpy as np

from ...artifact import Artifact
from ...buffers import CodeTensor
from ...config import AcceleratorConfig
from ...formats import code_max
from ...isa import Destination, Mode
from ...operators import Gemm
from ...program import LOGIT_BYTES
from ...views import views
from .attention import lower_attention
from .emitter import Emitter
from .graph import Attention, Mean, Norm, Patches, Product, Step
from .packing import pack_layernorm
from .patches import PatchBands
from .products import Part, Products

BANDS = 4
"""Bands that hide a LayerNorm well; more would stream more weights again."""
ROW_CYCLES, NORM_LATENCY = 10, 128
"""About the fewest cycles between rows of a LAYERNORM, and from the array's outputs to codes."""


def side_by_side(tensor: CodeTensor, channels: int) -> np.ndarray:
    """Places of K where an image's tokens are read as one, word after word; int32, -1 for fill.

    Word after word is token by token within each tile; channel n of token t is `t * channels + n`.
    """
    places = tensor.channels.reshape(tensor.tiles, 1, tensor.rows)
    token = np.arange(tensor.tokens, dtype=np.int32)[:, None]
    return np.where(places < 0, -1, token * channels + places).reshape(-1)


class Lowering(Products):
    """Emits the commands of steps, batch by batch; `image` is the number of a batch's first.

    Parameters: of `Products`, `patches`, the step that begins the model, and `norm_bands`.
    """

    def __init__(
        self,
        artifact: Artifact,
        config: AcceleratorConfig,
        emitter: Emitter,
        batch: int,
        patches: Patches,
        norm_bands: int | None,
    ) -> None:
        super().__init__(artifact, config, emitter, batch)
        self.bands, self.norm_bands = PatchBands(self, patches), norm_bands
        self.stream_tokens, self.views = len(patches.embed.position), views(artifact)
        # Normalizations whose last band may be at work when their first product begins.
        self.late: dict[str, tuple[Norm, range]] = {}

    def row_stride(self, stream: str) -> int:
        """Words between rows of a stream: a pooled row lies where its image's first one lay."""
        tokens, channels = self.artifact.shapes()[self.views.front.get(stream, stream)]
        return self.stream_tokens // tokens * self.chunks(channels)

    def steps(self, steps: Sequence[Step], image: int) -> None:
        """The commands of steps that follow each other."""
        number = 0
        while number < len(steps):
            step, following = steps[number], steps[number + 1 : number + 2]
            norm = following[0] if following and self.overlaps(step, following[0]) else None
            self.step(step, image, norm)
            number += 1 if norm is None else 2

    def overlaps(self, step: Step, following: Step) -> bool:
        """Whether rows can be normalized while `step` still makes others."""
        return (
            isinstance(step, Product)
            and step.add is not None
            and isinstance(following, Norm)
            and not following.pooled
            and self.number_of_bands(following) > 1
        )

    def number_of_bands(self, norm: Norm) -> int:
        """Bands of tokens of a product and the normalization of its rows."""
        tokens = self.plan.tensors[norm.norm.name].tokens
        if self.norm_bands is not None:
            return min(self.norm_bands, tokens)
        # Tiles of fewer vectors would wait for their weights.
        return min(BANDS, tokens // (self.config.rows + self.config.cols))

    def step(self, step: Step, image: int, norm: Norm | None = None) -> None:
        """The commands of one step, and of `norm`, which works beside it."""
        if isinstance(step, Patches):
            self.bands.embed(image)
        elif isinstance(step, Norm):
            for part in range(self.plan.tensors[step.norm.name].parts):
                self.norm(step, image, part=part)
        elif isinstance(step, Product):
            self.layer(step, image, norm)
        elif isinstance(step, Attention):
            lower_attention(self, step, image)
        elif isinstance(step, Mean):
            self.mean(step, image)

    def norm(self, step: Norm, image: int, rows: range | None = None, part: int = 0) -> None:
        """FETCH of parameters and LAYERNORM, of all rows or of some; the first brings them.

        Parameters: `part`, the image of the batch, where each lies on its own.
        """
        norm, tensor = step.norm, self.plan.tensors[step.norm.name]
        rows = range(tensor.tokens) if rows is None else rows
        lanes, beat = self.config.lanes, self.emitter.beat
        stride = self.row_stride(norm.inputs[0])
        first = part * self.stream_tokens * self.chunks(norm.gain.size)
        keep = bool(rows.start or part)
        if not keep:
            self.emitter.fetch(
                f"{norm.name}.parameters",
                lambda: pack_layernorm(norm.gain, norm.offset, lanes, beat),
                Destination.LAYERNORM,
            )
        self.emitter.command(
            "LAYERNORM",
            {
                "keep": int(keep),
                "base": first + rows.start * stride,
                "row_stride": stride,
                "rows": len(rows),
                "channels": norm.gain.size,
                "epsilon": norm.epsilon,
                "shift": norm.shift,
                "high": code_max(norm.width),
                "out": self.base[norm.name] + part * tensor.tokens * tensor.tiles + rows.start,
                "stride": tensor.tokens,
            },
            operators=(norm.name,),
            image=image + part,
            channels=tensor.channels,
            token=rows.start,
        )

    def banded(
        self, step: Product, norm: Norm, image: int
    ) -> tuple[list[Part], Callable[[int], None]]:
        """A product whose last groups go band after band of tokens, normalized one behind.

        Only the last groups stream their weights once per band: as many as the array needs to be
        as long at a band as the normalization, one chunk per cycle.
        """
        tensor = self.plan.tensors[norm.norm.name]
        source = self.plan.tensors[step.gemm.inputs[0]]
        digits = -(-step.gemm.weight_width // self.stationary_width)
        channels = len(step.gemm.weight)
        groups = -(-channels // self.config.cols)
        number = self.number_of_bands(norm)
        ends = [tensor.tokens * band // number for band in range(number + 1)]
        bands = [range(*pair) for pair in pairwise(ends)]
        tokens = len(bands[-1])
        last = min(groups, -(-self.norm_cycles(norm, tokens) // (source.tiles * digits * tokens)))
        self.late[norm.norm.name] = norm, bands[-1]
        parts = [Part(groups - last, last, band.start, len(band)) for band in bands]
        whole = [Part(0, groups - last, 0, tensor.tokens)] if last < groups else []

        def then(part: int) -> None:
            band = part - len(whole)
            if band > 0:
                self.norm(norm, image, bands[band - 1])
            if band == number - 1:
                self.norm(norm, image, bands[band])

        return [*whole, *parts], then

    def norm_cycles(self, norm: Norm, rows: int) -> int:
        """About the cycles of a LAYERNORM of so many rows."""
        return rows * max(self.chunks(norm.norm.gain.size), ROW_CYCLES) + NORM_LATENCY

    def following(self, step: Product, outputs: np.ndarray, norm: Norm, late: range) -> list[Part]:
        """A product behind a banded normalization, whose last band may still be at work.

        Its first groups go over the earlier tokens, then over those of the last band: as many
        groups as the array needs to be as long at the former as the normalization at the latter.
        """
        source = self.plan.tensors[norm.norm.name]
        groups = self.groups(outputs)
        passes = source.tiles * -(-step.gemm.weight_width // self.stationary_width)
        first = -(-self.norm_cycles(norm, len(late)) // (passes * late.start))
        # Groups that begin with a whole word.
        whole = self.config.rows // gcd(self.config.rows, self.config.cols)
        first = min(groups, -(-first // whole) * whole)
        parts = [Part(0, first, 0, late.start), Part(0, first, late.start, len(late))]
        rest = Part(first, groups - first, 0, source.tokens)
        return [*parts, rest] if rest.groups else parts

    def mean(self, step: Mean, image: int) -> None:
        """POOL of each image, into its first row."""
        pool = step.pool
        tokens, channels = self.artifact.shapes()[pool.inputs[0]]
        chunks = self.chunks(channels)
        for place in range(self.batch):
            first = place * tokens * chunks
            self.emitter.command(
                "POOL",
                {
                    "base": first + pool.prefix * chunks,
                    "stride": chunks,
                    "rows": tokens - pool.prefix,
                    "chunks": chunks,
                    "multiplier": pool.multiplier,
                    "shift": pool.shift,
                    "out": first,
                },
                operators=(pool.name,),
                image=image + place,
            )

    def layer(self, step: Product, image: int, norm: Norm | None) -> None:
        """A product of code tensors, through its table where it has one."""
        gemm, emitter = step.gemm, self.emitter
        outputs, shift = np.arange(len(gemm.weight), dtype=np.int32), 0
        if gemm is self.artifact.operators[-1]:
            self.logits(gemm, outputs, image)
            return
        source = self.plan.tensors[gemm.inputs[0]]
        if step.gelu is not None:
            table = step.gelu.table
            emitter.fetch(f"{step.gelu.name}.table", table.tobytes, Destination.GELU_TABLE)
            emitter.command("TABLE", {})
        if step.add is not None:
            shift = step.add.shift
            stride = self.row_stride(step.add.name)
            target = {"mode": Mode.RESIDUAL, "base": 0, "stride": stride, "shift": shift}
        else:
            name = gemm.name if step.gelu is None else step.gelu.name
            tensor = self.plan.tensors[name]
            outputs = tensor.channels
            target = {
                "mode": Mode.CODES if step.gelu is None else Mode.GELU,
                "base": self.base[name],
                "stride": tensor.tokens,
            }
        parts, then = ([], None) if norm is None else self.banded(step, norm, image)
        if gemm.inputs[0] in self.late:
            parts = self.following(step, outputs, *self.late.pop(gemm.inputs[0]))
        self.product(
            gemm,
            {
                "base": self.base[source.name],
                "stride": source.tokens,
                "tokens": source.tokens,
                "tiles": source.tiles,
            },
            source.channels,
            target,
            outputs,
            self.surplus(source),
            parts,
            then,
            operators=tuple(operator.name for operator in step.operators()),
            image=image,
        )

    def logits(self, gemm: Gemm, outputs: np.ndarray, image: int) -> None:
        """The last product, image by image: a STORE takes the logits of one token."""
        emitter, name = self.emitter, self.views.stored(gemm.inputs[0])
        source = self.plan.tensors[name]
        if name == gemm.inputs[0]:
            tokens = apart = source.tokens // self.batch
            shape = {"stride": source.tokens, "tokens": tokens, "tiles": source.tiles}
            inputs = source.channels
        else:
            inputs = side_by_side(source, self.artifact.shapes()[name][1])
            apart = source.tokens * source.tiles
            shape = {"stride": 1, "tokens": 1, "tiles": apart}
        for place in range(self.batch):
            self.product(
                gemm,
                {"base": self.base[name] + place * apart} | shape,
                inputs,
                {
                    "mode": Mode.LOGITS,
                    "offset": (image + place) * emitter.output_stride,
                    "bytes": LOGIT_BYTES * emitter.classes,
                },
                outputs,
                self.surplus(source),
                operators=(gemm.name,),
                image=image + place,
            )
