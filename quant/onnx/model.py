"""The fake level as an ONNX model: codes are uint8 tensors, everything between them is float32.

A value of the artifact keeps its integers: a code tensor is uint8 with scale 1, a weight is uint8
with its zero points, every other array keeps its integer type and goes through DequantizeLinear
with the power of two that its operator's shift stands for. Real scales are not used before the
logits, so sums of products of codes are whole numbers, exact in float32 up to 2^24.
"""

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from ... import __version__
from ...artifact import Artifact
from ...formats import (
    BASES,
    NORM_FRACTION,
    SCORE_FRACTION,
    SCORE_MIN,
    attention_headroom,
    code_max,
    zero_code,
)
from ...operator_base import Operator, Shape
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
    Requantize,
    ResidualAdd,
    ScoreBias,
    Scores,
    ShiftAttention,
)
from .graph import DOMAIN, IR_VERSION, OPSET, Graph, log_softmax_codes

BATCH = "batch"
"""Name of the number of images, which is open."""
LOGITS = "logits"
FEATURES = "features"


def onnx_model(artifact: Artifact) -> ModelProto:
    """An ONNX model of `FakeModel(artifact)`.

    Input `pixels` uint8 [batch, H, W, C]; output `logits` float32 [batch, classes] of a classifier,
    `<output>/features` float32 [batch, rows, channels], real values, for each output of a feature
    extractor. The tensor of an operator has its name, that of an array of its own
    `<operator>.<field>`. Weights are stored transposed, [depth, channels]; the fill of a gather
    that fills nothing is left out. Equal artifacts give equal models.
    Raises: OutputError where the model is larger than one ONNX file can be.
    """
    builder = _Builder(artifact)
    graph = builder.graph()
    model = helper.make_model(
        graph,
        functions=[log_softmax_codes()],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="rootshift",
        producer_version=__version__,
    )
    metadata = {
        "rootshift.model": str(artifact.source.get("model", "")),
        "rootshift.bits": str(artifact.bits),
        "rootshift.artifact": artifact.digest,
        "rootshift.version": __version__,
    }
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return model


def onnx_bytes(artifact: Artifact) -> bytes:
    """The file of `onnx_model`; equal artifacts give equal bytes. Raises: OutputError."""
    return onnx_model(artifact).SerializeToString(deterministic=True)


class _Builder:
    def __init__(self, artifact: Artifact) -> None:
        self.artifact, self.shapes = artifact, artifact.shapes()
        self.g = Graph()
        # Taken first, so that nothing between operators has the name of one.
        self.values = {PIXELS: self.g.name(PIXELS)}
        self.outputs = {
            output.name: self.g.name(
                LOGITS if artifact.is_classifier else f"{output.name}/{FEATURES}"
            )
            for output in artifact.outputs
        }

    def graph(self) -> onnx.GraphProto:
        g, operators = self.g, self.artifact.operators
        for op in operators:
            self.values[op.name] = self.execute(op, *(self.values[name] for name in op.inputs))
        outputs = [self.output(name, shown) for name, shown in self.outputs.items()]
        return g.proto(
            "rootshift",
            [_info(self.values[PIXELS], TensorProto.UINT8, self.shapes[PIXELS])],
            outputs,
            [
                _info(
                    self.values[op.name],
                    TensorProto.UINT8 if op.output_width <= 8 else TensorProto.FLOAT,
                    self.shapes[op.name],
                )
                for op in operators
            ],
        )

    def output(self, name: str, shown: str) -> onnx.ValueInfoProto:
        """Real values of the tensor `name` as the output `shown`; logits without their one row."""
        g, shape = self.g, self.shapes[name]
        value, step = self.values[name], g.scalar(self.artifact[name].scale)
        if self.artifact.is_classifier:
            shape = shape[1:]
            scaled = g.node("Mul", value, step, name="logits/scaled")
            sizes = g.constant("logits.shape", np.array((0, *shape), np.int64))
            g.nodes.append(helper.make_node("Reshape", [scaled, sizes], [shown], shown))
        else:
            g.nodes.append(helper.make_node("Mul", [value, step], [shown], shown))
        return _info(shown, TensorProto.FLOAT, shape)

    def execute(self, op: Operator, *inputs: str) -> str:
        match op:
            case Patchify():
                return self.patchify(op, *inputs)
            case Gemm():
                return self.gemm(op, *inputs)
            case LayerNorm():
                return self.layernorm(op, *inputs)
            case Scores():
                return self.scores(op, *inputs)
            case ScoreBias():
                return self.score_bias(op, *inputs)
            case Log2Softmax():
                return self.log2_softmax(op, *inputs)
            case ShiftAttention():
                return self.shift_attention(op, *inputs)
            case GeluTable():
                return self.gelu_table(op, *inputs)
            case ResidualAdd():
                return self.residual_add(op, *inputs)
            case Embed():
                return self.embed(op, *inputs)
            case Pool():
                return self.pool(op, *inputs)
            case Requantize():
                return self.requantize(op, *inputs)
            case Gather():
                return self.gather(op, *inputs)
        raise TypeError(f"{op.name}: no ONNX for {op.kind}")

    def patchify(self, op: Patchify, pixels: str) -> str:
        height, width, channels = self.shapes[op.inputs[0]]
        grid = height // op.patch_height, width // op.patch_width
        split = grid[0], op.patch_height, grid[1], op.patch_width, channels
        cut = self.g.reshape(pixels, split, f"{op.name}/cut")
        ordered = self.g.node("Transpose", cut, name=f"{op.name}/ordered", perm=(0, 1, 3, 5, 2, 4))
        return self.g.reshape(ordered, self.shapes[op.name], op.name)

    def gemm(self, op: Gemm, x: str) -> str:
        g, name = self.g, op.name
        total = g.node("MatMul", g.real(x), self.weight(op), name=f"{name}/products")
        total = g.node("Add", total, g.integers(f"{name}.bias", op.bias), name=f"{name}/sum")
        factor = g.integers(f"{name}.multiplier", op.multiplier, 2.0**-op.shift)
        if op.width > 8:
            return g.node("Mul", total, factor, name=name)
        scaled = g.node("Mul", total, factor, name=f"{name}/scaled")
        shifted = g.node("Add", scaled, g.scalar(op.zero), name=f"{name}/shifted")
        return g.codes(shifted, code_max(op.width), name)

    def weight(self, op: Gemm) -> str:
        """Float weights minus their zero points, [depth, channels]."""
        g, name, zero = self.g, f"{op.name}.weight", op.weight_zero
        codes = g.constant(name, op.weight.T)
        one = g.constant(f"{name}/scale", np.ones(len(zero), np.float32))
        if np.array_equal(zero, zero.astype(np.uint8)):
            points = g.constant(f"{op.name}.weight_zero", zero.astype(np.uint8))
            return g.node("DequantizeLinear", codes, one, points, name=f"{op.name}/weight", axis=1)
        # DequantizeLinear takes zero points of the weights' own type only.
        whole = g.node("DequantizeLinear", codes, one, name=f"{op.name}/codes", axis=1)
        points = g.integers(f"{op.name}.weight_zero", zero)
        return g.node("Sub", whole, points, name=f"{op.name}/weight")

    def layernorm(self, op: LayerNorm, x: str) -> str:
        g, name, count = self.g, op.name, op.gain.size
        ones = g.constant(f"{name}/scale", np.ones(count, np.float32))
        x = g.node(
            "LayerNormalization", x, ones,
            name=f"{name}/normalized", axis=-1, epsilon=op.epsilon / count**2,
        )  # fmt: skip
        gain = g.integers(f"{name}.gain", op.gain, 2.0 ** (NORM_FRACTION - op.shift))
        offset = g.integers(f"{name}.offset", op.offset, 2.0**-op.shift)
        # The offset carries the half that turns the shift's floor into rounding.
        offset = g.node("Sub", offset, g.scalar(0.5), name=f"{name}/offset")
        x = g.node("Mul", x, gain, name=f"{name}/scaled")
        if op.width > 8:
            return g.node("Add", x, offset, name=name)
        x = g.node("Add", x, offset, name=f"{name}/shifted")
        return g.codes(x, code_max(op.width), name)

    def heads(
        self, value: str, shape: Shape, windows: int, heads: int, perm: tuple[int, ...], name: str
    ) -> str:
        """Float [batch, *shape], split into [batch, windows, T, heads, width], axes as `perm`."""
        rows, width = shape
        sizes = (windows, rows // windows, heads, width // heads)
        split = self.g.reshape(value, sizes, f"{name}/split")
        return self.g.node("Transpose", split, name=f"{name}/heads", perm=perm)

    def scores(self, op: Scores, query: str, key: str) -> str:
        g, name = self.g, op.name
        query = g.node("Sub", g.real(query), g.scalar(op.query_zero), name=f"{name}/query")
        parts = self.shapes[op.inputs[0]], op.windows, op.heads
        query = self.heads(query, *parts, (0, 1, 3, 2, 4), f"{name}/query")
        key = self.heads(g.real(key), *parts, (0, 1, 3, 4, 2), f"{name}/key")
        total = g.node("MatMul", query, key, name=f"{name}/products")
        total = g.reshape(total, self.shapes[name], f"{name}/sum")
        factor = op.multiplier * 2.0 ** (-op.shift - SCORE_FRACTION)
        return g.node("Mul", total, g.scalar(factor), name=name)

    def score_bias(self, op: ScoreBias, score: str) -> str:
        g, name, tokens = self.g, op.name, op.region.shape[1]
        score = g.reshape(score, (op.windows, op.heads, tokens, tokens), f"{name}/windows")
        bias = g.integers(f"{name}.bias", op.bias, 2.0**-SCORE_FRACTION)
        biased = g.node("Add", score, bias, name=f"{name}/biased")
        region = g.constant(f"{name}.region", op.region)
        region = g.node("Cast", region, name=f"{name}/region", to=TensorProto.INT32)
        queries = g.unsqueeze(region, (1, 3), f"{name}/queries")
        keys = g.unsqueeze(region, (1, 2), f"{name}/keys")
        seen = g.node("Equal", queries, keys, name=f"{name}/seen")
        least = g.scalar(SCORE_MIN * 2.0**-SCORE_FRACTION)
        masked = g.node("Where", seen, biased, least, name=f"{name}/masked")
        return g.reshape(masked, self.shapes[name], name)

    def log2_softmax(self, op: Log2Softmax, score: str) -> str:
        return self.g.node(
            "LogSoftmaxCodes", score, name=op.name, domain=DOMAIN,
            offset=op.offset * 2.0**-SCORE_FRACTION,
            steps=float(BASES[op.base]),
            zero_code=float(zero_code(op.log_width, op.base)),
        )  # fmt: skip

    def shift_attention(self, op: ShiftAttention, code: str, value: str) -> str:
        g, name = self.g, op.name
        matrices, queries, keys = self.shapes[op.inputs[0]]
        windows, heads = op.windows, matrices // op.windows
        zero = zero_code(op.log_width, op.base)
        powers = np.exp2(np.arange(zero + 1) / -BASES[op.base]).astype(np.float32)
        powers[-1] = 0.0
        table = g.constant(f"{name}.powers", powers)
        code = g.node("Cast", code, name=f"{name}/index", to=TensorProto.INT32)
        power = g.node("Gather", table, code, name=f"{name}/powers")
        power = g.reshape(power, (windows, heads, queries, keys), f"{name}/power")
        value = g.node("Sub", g.real(value), g.scalar(op.value_zero), name=f"{name}/value")
        shape = self.shapes[op.inputs[1]]
        value = self.heads(value, shape, windows, heads, (0, 1, 3, 2, 4), f"{name}/value")
        mixed = g.node("MatMul", power, value, name=f"{name}/mixed")
        mixed = g.node("Transpose", mixed, name=f"{name}/merged", perm=(0, 1, 3, 2, 4))
        mixed = g.reshape(mixed, self.shapes[name], f"{name}/rows")
        factor = op.multiplier_even * 2.0 ** (attention_headroom(zero, op.base) - op.shift)
        scaled = g.node("Mul", mixed, g.scalar(factor), name=f"{name}/scaled")
        shifted = g.node("Add", scaled, g.scalar(op.zero), name=f"{name}/shifted")
        return g.codes(shifted, code_max(op.width), name)

    def gelu_table(self, op: GeluTable, x: str) -> str:
        table = self.g.constant(f"{op.name}.table", op.table)
        index = self.g.node("Cast", x, name=f"{op.name}/index", to=TensorProto.INT32)
        return self.g.node("Gather", table, index, name=op.name)

    def residual_add(self, op: ResidualAdd, residual: str, branch: str) -> str:
        step = self.g.scalar(2.0**-op.shift)
        residual = self.g.node("Mul", residual, step, name=f"{op.name}/residual")
        return self.g.node("Add", residual, branch, name=op.name)

    def embed(self, op: Embed, patches: str) -> str:
        g, name = self.g, op.name
        position = g.integers(f"{name}.position", op.position)
        if op.prefix:
            pads = g.constant(f"{name}.pads", np.array((0, op.prefix, 0, 0, 0, 0), np.int64))
            patches = g.node("Pad", patches, pads, name=f"{name}/rows")
        return g.node("Add", patches, position, name=name)

    def pool(self, op: Pool, x: str) -> str:
        g, name = self.g, op.name
        start, end = (0, 1) if op.mode == "token" else (op.prefix, self.shapes[op.inputs[0]][0])
        parts = {"start": start, "end": end, "axis": 1}
        bounds = [g.constant(f"{name}.{k}", np.array([v], np.int64)) for k, v in parts.items()]
        if op.mode == "token":
            return g.node("Slice", x, *bounds, name=name)
        rows = g.node("Slice", x, *bounds, name=f"{name}/rows")
        return g.node("ReduceMean", rows, bounds[2], name=name, keepdims=1)

    def requantize(self, op: Requantize, x: str) -> str:
        g, name = self.g, op.name
        factor = g.scalar(op.multiplier * 2.0**-op.shift)
        scaled = g.node("Mul", x, factor, name=f"{name}/scaled")
        shifted = g.node("Add", scaled, g.scalar(op.zero), name=f"{name}/shifted")
        return g.codes(shifted, code_max(op.width), name)

    def gather(self, op: Gather, x: str) -> str:
        g, name, kind = self.g, op.name, TensorProto.UINT8 if op.width <= 8 else TensorProto.FLOAT
        index = g.constant(f"{name}.index", op.index)
        # Number -1 is the last row, which the fill then replaces.
        rows = g.node("Gather", x, index, name=f"{name}/rows", axis=1)
        if op.index.min() < 0:
            fill = g.constant(f"{name}.fill", op.fill)
            fill = g.node("Cast", fill, name=f"{name}/fill", to=kind)
            filled = g.node("Less", index, g.scalar(0, np.int32), name=f"{name}/filled")
            filled = g.unsqueeze(filled, (2,), f"{name}/places")
            rows = g.node("Where", filled, fill, rows, name=f"{name}/whole")
        return g.reshape(rows, self.shapes[name], name)


def _info(name: str, kind: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, (BATCH, *shape))
