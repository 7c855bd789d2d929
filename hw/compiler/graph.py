"""The artifact's operators as what the accelerator executes: steps of fused operators."""

from dataclasses import dataclass, fields

from ...accelerated import check_accelerated
from ...artifact import Artifact
from ...errors import ProgramError
from ...formats import GELU_INDEX_WIDTH, LOGIT_WIDTH, RESIDUAL_WIDTH
from ...operator_base import Operator
from ...operators import (
    PIXELS,
    Embed,
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
from ...views import users, views


@dataclass(frozen=True)
class Step:
    """Operators that one run of commands executes."""

    def operators(self) -> list[Operator]:
        """Those that are there, in the order of the fields."""
        found = (getattr(self, field.name) for field in fields(self))
        return [value for value in found if isinstance(value, Operator)]


@dataclass(frozen=True)
class Patches(Step):
    """Pixels to the first residual stream."""

    patchify: Patchify
    gemm: Gemm
    embed: Embed


@dataclass(frozen=True)
class Norm(Step):
    """Rows of the stream to codes; after a `pool` it is row 0 alone, or those in front."""

    norm: LayerNorm
    pooled: bool


@dataclass(frozen=True)
class Product(Step):
    """A gemm to codes, through a table, into the stream, or to logits."""

    gemm: Gemm
    gelu: GeluTable | None = None
    add: ResidualAdd | None = None


@dataclass(frozen=True)
class Attention(Step):
    """Scores, softmax and the mixing of values, head by head."""

    scores: Scores
    softmax: Log2Softmax
    attention: ShiftAttention


@dataclass(frozen=True)
class Mean(Step):
    """Rows of the stream averaged into row 0."""

    pool: Pool


class _Matcher:
    """Walks the operators and keeps the name of the tensor that the residual buffer holds."""

    def __init__(self, artifact: Artifact) -> None:
        self.operators = artifact.operators
        self.readers, self.views = users(artifact), views(artifact)
        self.makers = {operator.name: operator for operator in artifact.operators}
        self.stream: str | None = None
        self.pooled: str | None = None
        self.fused: set[str] = set()

    def only(self, operator: Operator, *kinds: type[Operator]) -> Operator:
        """The one reader of `operator`, which must be of one of `kinds`."""
        readers = self.readers[operator.name]
        if len(readers) != 1 or not isinstance(readers[0], kinds):
            want = " or ".join(kind.kind for kind in kinds)
            have = ", ".join(f"{op.kind} {op.name}" for op in readers) or "nothing"
            raise ProgramError(f"{operator.name}: {operator.kind} must feed one {want}, not {have}")
        return readers[0]

    def reads_stream(self, operator: Operator, name: str) -> None:
        """Refuse `name` where it is not what the residual buffer holds at this step."""
        if name != self.stream:
            raise ProgramError(
                f"{operator.name}: input {name} must be the residual stream, "
                f"{self.stream or 'not yet made'}, at this step"
            )

    def fuse(self, step: Step) -> Step:
        self.fused.update(operator.name for operator in step.operators())
        return step

    def steps(self) -> list[Step]:
        found = [step for op in self.operators if (step := self.step(op)) is not None]
        for operator in self.operators:
            still = isinstance(operator, Pool) or operator.name in self.views
            if operator.name not in self.fused and not still:
                raise ProgramError(
                    f"{operator.name}: no command of the accelerator makes this {operator.kind} "
                    f"of {', '.join(operator.inputs)}"
                )
        return found

    def step(self, operator: Operator) -> Step | None:
        """The step that begins with `operator`, or None where it belongs to another."""
        if isinstance(operator, Patchify):
            return self.patches(operator)
        if isinstance(operator, Gemm) and operator.name not in self.fused:
            return self.product(operator)
        if isinstance(operator, LayerNorm):
            return self.norm(operator)
        if isinstance(operator, ShiftAttention):
            return self.attention(operator)
        if isinstance(operator, Pool):
            return self.pool(operator)
        if operator.name in self.views.front:
            self.front(operator)
        return None

    def patches(self, patchify: Patchify) -> Step:
        if self.stream is not None:
            raise ProgramError(f"{patchify.name}: a model must have one patchify, not two")
        if patchify.inputs[0] != PIXELS:
            raise ProgramError(f"{patchify.name}: input must be {PIXELS}")
        gemm = self.only(patchify, Gemm)
        embed = self.only(gemm, Embed)
        self.stream = embed.name
        return self.fuse(Patches(patchify, gemm, embed))

    def product(self, gemm: Gemm) -> Step:
        readers = self.readers[gemm.name]
        if gemm.width == LOGIT_WIDTH:
            if gemm is not self.operators[-1]:
                raise ProgramError(f"{gemm.name}: logits must be the last operator's")
            return self.fuse(Product(gemm))
        if gemm.width == RESIDUAL_WIDTH:
            add = self.only(gemm, ResidualAdd)
            if add.inputs[1] != gemm.name:
                raise ProgramError(f"{add.name}: branch must be {gemm.name}, not {add.inputs[1]}")
            self.reads_stream(add, add.inputs[0])
            self.stream, self.pooled = add.name, None
            return self.fuse(Product(gemm, add=add))
        if any(isinstance(op, GeluTable) for op in readers):
            return self.fuse(Product(gemm, gelu=self.only(gemm, GeluTable)))
        if gemm.width > GELU_INDEX_WIDTH:
            raise ProgramError(f"{gemm.name}: width must be at most {GELU_INDEX_WIDTH}")
        return self.fuse(Product(gemm))

    def norm(self, norm: LayerNorm) -> Step:
        pooled = self.pooled is not None and norm.inputs[0] == self.pooled
        if not pooled:
            self.reads_stream(norm, norm.inputs[0])
        return self.fuse(Norm(norm, pooled))

    def attention(self, attention: ShiftAttention) -> Step:
        softmax = self.makers[attention.inputs[0]]
        scores = self.makers.get(softmax.inputs[0])
        if not isinstance(scores, Scores):
            raise ProgramError(f"{softmax.name}: input {softmax.inputs[0]} must be scores")
        self.only(scores, Log2Softmax)
        self.only(softmax, ShiftAttention)
        return self.fuse(Attention(scores, softmax, attention))

    def front(self, gather: Gather) -> None:
        self.reads_stream(gather, gather.inputs[0])
        self.pooled = gather.name

    def pool(self, pool: Pool) -> Step | None:
        self.reads_stream(pool, pool.inputs[0])
        self.pooled = pool.name
        if pool.mode == "token":
            return None
        # The mean takes the place of row 0.
        self.stream = pool.name
        return self.fuse(Mean(pool))


def steps_of(artifact: Artifact) -> list[Step]:
    """The steps, in an order in which each finds its operands made.

    Raises: ProgramError naming an operator that fits no step, and what would fit; ArtifactError
    where the model is not a classifier.
    """
    check_accelerated(artifact)
    return _Matcher(artifact).steps()
