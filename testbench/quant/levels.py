"""How the levels are held against each other: fake beside golden, and ONNX Runtime."""

import numpy as np
import onnxruntime
import torch

from rootshift.artifact import Artifact
from rootshift.formats import SCORE_FRACTION, output_range
from rootshift.operator_base import Operator
from rootshift.operators import Gemm, LayerNorm, Log2Softmax, ScoreBias, Scores
from rootshift.quant.fake import FakeModel
from rootshift.sim.golden.model import GoldenModel


def fake_output(model: FakeModel, op: Operator, *inputs: np.ndarray) -> np.ndarray:
    """One operator on golden's integers, in the unit of golden's output."""
    operands = [torch.from_numpy(x.astype(np.float32)) for x in inputs]
    octave = 1 << SCORE_FRACTION
    if isinstance(op, ScoreBias | Log2Softmax):
        operands = [x / octave for x in operands]
    with torch.inference_mode():
        output = model._execute(op, *operands).numpy()
    return output * octave if isinstance(op, Scores | ScoreBias) else output


def half_a_step(op: Operator) -> float:
    """Largest difference of an output of more than 8 bits.

    A LayerNorm into the stream has the error of its normalized value, `docs/numerics.md`.
    """
    if not isinstance(op, LayerNorm):
        return 0.51
    unit = float(np.abs(op.gain.astype(float)).max()) * 2.0**-op.shift
    return 0.51 + unit * (0.5 + np.sqrt(op.gain.size) / 8)


def within_a_step(artifact: Artifact, pixels: np.ndarray) -> None:
    """Every operator on golden's inputs: half a step where golden rounds, rarely a code."""
    fake = FakeModel(artifact)
    tensors = GoldenModel(artifact).run(pixels, list(artifact.shapes())).tensors
    for op in artifact.operators:
        want = tensors[op.name]
        got = fake_output(fake, op, *(tensors[name] for name in op.inputs))
        assert got.shape == want.shape, op.name
        width = op.output_width
        if width > 8:
            # Only codes saturate at fake level.
            got = np.clip(got, *output_range(width))
        difference = np.abs(got.astype(np.float64) - want)
        if width > 16 and isinstance(op, Gemm):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=64, err_msg=op.name)
        elif width > 8:
            assert difference.max() <= half_a_step(op), op.name
        else:
            assert difference.max() <= 1, op.name
            assert difference.sum() <= 4 + 0.01 * difference.size, op.name


def session(content: bytes) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread of the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
