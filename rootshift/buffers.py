"""What a model needs of the on-chip buffers: layouts of code tensors, their lifetimes and places.

`docs/accelerator.md`, sections Buffers and Heads. Positions are those of the artifact's operators.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .artifact import Artifact
from .errors import ProgramError
from .formats import GELU_INDEX_WIDTH, PIXEL_WIDTH
from .memo import per_artifact
from .operator_base import Shape
from .operators import (
    Gather,
    GeluTable,
    Gemm,
    LayerNorm,
    Log2Softmax,
    Patchify,
    Pool,
    ResidualAdd,
    Scores,
    ShiftAttention,
)
from .views import users, views


@dataclass(frozen=True, eq=False)
class CodeTensor:
    """A tensor in the code buffer.

    Fields: `name` of its operator; `tokens` of all images of a batch, image after image, words of a
    tile; `channels`, int32 [tiles * rows], the channel at each place or -1; it is written from
    operator `begin` on and last read by `end`; `parts`, images that lie one behind the other
    instead, each with all its tiles, so that `tokens` are those of one.
    """

    name: str
    tokens: int
    channels: np.ndarray
    begin: int
    end: int
    rows: int
    parts: int = 1

    @property
    def tiles(self) -> int:
        """Words of a token."""
        return self.channels.size // self.rows

    @property
    def words(self) -> int:
        """Words of the tensor."""
        return self.parts * self.tokens * self.tiles


def tiled(channels: int, heads: int, rows: int) -> np.ndarray:
    """Channel at each place of `heads` runs of whole words, or -1; int32 [places]."""
    width = channels // heads
    places = np.full((heads, -(-width // rows) * rows), -1, np.int32)
    places[:, :width] = np.arange(channels, dtype=np.int32).reshape(heads, width)
    return places.reshape(-1)


def head_counts(artifact: Artifact) -> dict[str, int]:
    """Tensors that lie by heads -> how many.

    Raises: ProgramError where two operators need different heads of one tensor.
    """
    heads: dict[str, int] = {}
    shapes = artifact.shapes()
    for operator in artifact.operators:
        if isinstance(operator, Scores):
            found, names = operator.heads, operator.inputs
        elif isinstance(operator, ShiftAttention):
            found, names = shapes[operator.inputs[0]][0], (operator.inputs[1], operator.name)
        else:
            continue
        for name in names:
            if heads.setdefault(name, found) != found:
                raise ProgramError(
                    f"{operator.name}: input {name} must have {heads[name]} heads as elsewhere, "
                    f"not {found}"
                )
    return heads


def code_tensors(artifact: Artifact, rows: int, batch: int = 1) -> list[CodeTensor]:
    """Every tensor that the code buffer holds, but for patches, in the order of their making.

    Parameters: `rows` of the array; `batch`, images whose tokens are stacked.
    """
    position = {operator.name: at for at, operator in enumerate(artifact.operators)}
    makers = {operator.name: operator for operator in artifact.operators}
    shapes, heads, readers = artifact.shapes(), head_counts(artifact), users(artifact)
    # Rows that are read side by side lie together, image by image.
    together = set(views(artifact).joined.values())

    def last_read(name: str) -> int:
        # Scores are never stored: their operands are read until the attention has its codes.
        through = Scores | Log2Softmax | Gather
        return max(
            (
                last_read(op.name) if isinstance(op, through) else position[op.name]
                for op in readers[name]
            ),
            default=position[name],
        )

    found = []
    for operator in artifact.operators:
        name, begin = operator.name, position[operator.name]
        if isinstance(operator, GeluTable):
            begin = position.get(operator.inputs[0], begin)
        elif isinstance(operator, Gemm):
            fused = any(isinstance(op, GeluTable) for op in readers[name])
            if operator.width > GELU_INDEX_WIDTH or fused:
                continue
        elif isinstance(operator, LayerNorm):
            # Rows may be normalized while the product before still makes others.
            maker = makers.get(operator.inputs[0])
            if isinstance(maker, ResidualAdd):
                begin = position.get(maker.inputs[1], begin)
        elif not isinstance(operator, ShiftAttention):
            continue
        tokens, channels = shapes[name]
        places = tiled(channels, heads.get(name, 1), rows)
        stacked, parts = (1, batch) if name in together else (batch, 1)
        end = last_read(name)
        found.append(CodeTensor(name, stacked * tokens, places, begin, end, rows, parts))
    return found


def pooling(artifact: Artifact) -> int:
    """Position of the operator from which on a stream is no longer added to, or their number."""
    front = views(artifact).front
    found = (
        at for at, op in enumerate(artifact.operators) if isinstance(op, Pool) or op.name in front
    )
    return min(found, default=len(artifact.operators))


def place(tensors: Sequence[CodeTensor]) -> dict[str, int]:
    """First word of every tensor, of the better of two orders: by time and by size."""
    orders = (
        sorted(tensors, key=lambda tensor: tensor.begin),
        sorted(tensors, key=lambda tensor: (-tensor.words, tensor.begin)),
    )
    return min((_first_fit(order) for order in orders), key=lambda found: words_of(tensors, found))


def words_of(tensors: Sequence[CodeTensor], places: Mapping[str, int]) -> int:
    """Words up to the end of the last tensor."""
    return max((places[tensor.name] + tensor.words for tensor in tensors), default=0)


def _first_fit(tensors: Sequence[CodeTensor]) -> dict[str, int]:
    """Each in turn in the lowest gap between those alive at the same time."""
    placed: list[tuple[int, CodeTensor]] = []
    for tensor in tensors:
        taken = sorted(
            (at, at + other.words)
            for at, other in placed
            if other.begin <= tensor.end and tensor.begin <= other.end
        )
        free = 0
        for low, high in taken:
            if low - free >= tensor.words:
                break
            free = max(free, high)
        placed.append((free, tensor))
    return {tensor.name: at for at, tensor in placed}


@dataclass(frozen=True, eq=False)
class CodePlan:
    """Places in the code buffer.

    Fields: `tensors` by name; `body`, first words of those that live before the pool, from word 0
    on; `tail`, of those behind it, from the end of the buffer's other words on, so that the next
    images' patches can be loaded beside them; words of each part.
    """

    tensors: dict[str, CodeTensor]
    body: dict[str, int]
    tail: dict[str, int]
    body_words: int
    tail_words: int


@per_artifact
def plan_codes(artifact: Artifact, rows: int, batch: int = 1) -> CodePlan:
    """Places of all code tensors but the patches; parameters of `code_tensors`."""
    tensors = code_tensors(artifact, rows, batch)
    split = pooling(artifact)
    parts = [[t for t in tensors if t.begin < split], [t for t in tensors if t.begin >= split]]
    places = [place(part) for part in parts]
    words = [words_of(part, at) for part, at in zip(parts, places, strict=True)]
    return CodePlan({t.name: t for t in tensors}, *places, *words)


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """How an image is cut.

    Fields: `down` rows of `across` patches, each `height` pixel rows of `run` bytes; `digits` of a
    pixel; `tiles` words of a patch and digit; `channels`, int32 [tiles * rows], the place in the
    golden order (channel, row, column) of each code, or -1.
    """

    down: int
    across: int
    height: int
    run: int
    digits: int
    tiles: int
    channels: np.ndarray

    @property
    def row_words(self) -> int:
        """Words of one row of patches."""
        return self.digits * self.tiles * self.across


def patch_grid(operator: Patchify, image: Shape, rows: int, activation_width: int) -> PatchGrid:
    """The words that `operator` makes of an image [H, W, C]."""
    height, width, channels = image
    patch_height, patch_width = operator.patch_height, operator.patch_width
    run = patch_width * channels
    line = -(-run // rows)
    byte = np.arange(line * rows)
    column, channel = byte // channels, byte % channels
    order = (channel * patch_height + np.arange(patch_height)[:, None]) * patch_width + column
    return PatchGrid(
        down=height // patch_height,
        across=width // patch_width,
        height=patch_height,
        run=run,
        digits=-(-PIXEL_WIDTH // activation_width),
        tiles=patch_height * line,
        channels=np.where(byte < run, order, -1).astype(np.int32).reshape(-1),
    )


@per_artifact
def code_words(
    artifact: Artifact, rows: int, activation_width: int, buffers: int = 2, batch: int = 1
) -> int:
    """Words of the code buffer with `buffers` of the smallest bands of patches side by side.

    Parameters: `batch`, images whose tokens are stacked; patches are of one or two of them.
    """
    plan = plan_codes(artifact, rows, batch)
    shape = artifact.preprocessing.shape
    bands = [0]
    for operator in artifact.operators:
        if isinstance(operator, Patchify):
            grid = patch_grid(operator, shape, rows, activation_width)
            bands.append(min(buffers, grid.down) * grid.row_words)
    return max(plan.body_words, *bands) + plan.tail_words


@per_artifact
def residual_words(artifact: Artifact, lanes: int, batch: int = 1) -> int:
    """Words of the residual buffer: the longest stream that a LayerNorm or pool reads, of `batch`
    images."""
    shapes, front = artifact.shapes(), views(artifact).front
    streams = [
        shapes[operator.inputs[0]]
        for operator in artifact.operators
        if isinstance(operator, LayerNorm | Pool) or operator.name in front
    ]
    return max((batch * tokens * -(-width // lanes) for tokens, width in streams), default=1)
