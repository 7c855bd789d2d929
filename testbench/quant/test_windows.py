"""Windows at every level: indices, regions and scores as timm's Swin has them, fake, ONNX."""

import importlib
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rootshift.artifact import Artifact
from rootshift.artifact_outputs import Output
from rootshift.errors import ArtifactError
from rootshift.formats import RESIDUAL_WIDTH, fixed_point
from rootshift.operators import Gather, ScoreBias
from rootshift.quant.fake import FakeModel
from rootshift.quant.onnx.model import onnx_bytes, onnx_model
from rootshift.sim.golden.gather import gather
from rootshift.sim.golden.gemm import scores
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.golden.score_bias import score_bias

from ..random_model import Size, random_artifact, random_pixels
from ..random_swin import Windows, merging, random_swin
from ..seeds import generator
from .levels import session, within_a_step

swin = importlib.import_module("timm.models.swin_transformer")

GRIDS = [((8, 8), (4, 4)), ((5, 7), (4, 4)), ((9, 4), (4, 4)), ((3, 10), (4, 4)), ((7, 6), (3, 2))]
MODELS = {
    "padded": {},
    "base 2": {"image": (8, 8, 1), "window": (2, 2), "bits": "W8A6", "base": "2"},
    "oblong": {"image": (6, 16, 1), "window": (3, 5), "bits": "W3A5L6", "heads": 1},
}


class Recorder(torch.nn.Module):
    """Stands where a block has its attention: keeps the windows and gives them back."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        self.windows, self.mask = x, mask
        return x


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize(("grid", "window"), GRIDS)
def test_windows_are_those_of_timm(
    grid: tuple[int, int], window: tuple[int, int], shifted: bool
) -> None:
    """Rows of windows, padding, way back, and which keys a query sees."""
    shift = (window[0] // 2, window[1] // 2) if shifted else 0
    block = swin.SwinTransformerBlock(6, grid, 1, window_size=window, shift_size=shift)
    block.attn = Recorder()
    print("timm", grid, block.window_size, block.shift_size)
    windows = Windows(grid, tuple(block.window_size), tuple(block.shift_size))
    x = generator(*grid).normal(0, 1, (2, grid[0] * grid[1], 6)).astype(np.float32)
    back = block._attn(torch.from_numpy(x).reshape(2, *grid, 6)).reshape(2, -1, 6).numpy()
    np.testing.assert_array_equal(back, x)
    cut = gather(x, index=windows.partition, fill=np.zeros(6))
    count, tokens = windows.region.shape
    found = block.attn.windows.numpy().reshape(2, count * tokens, 6)
    np.testing.assert_array_equal(cut, found)
    np.testing.assert_array_equal(gather(cut, index=windows.reverse, fill=np.zeros(6)), x)
    masked = windows.region[:, :, None] != windows.region[:, None, :]
    if block.attn.mask is None:
        assert not masked.any()
    else:
        np.testing.assert_array_equal(masked, block.attn.mask.numpy() != 0)


@pytest.mark.parametrize("grid", [(4, 6), (5, 7), (1, 2), (3, 1)])
def test_merging_is_that_of_timm(grid: tuple[int, int]) -> None:
    merge = swin.PatchMerging(6)
    merge.norm = merge.reduction = torch.nn.Identity()
    x = generator(*grid).normal(0, 1, (2, grid[0] * grid[1], 6)).astype(np.float32)
    want = merge(torch.from_numpy(x).reshape(2, *grid, 6)).reshape(2, -1, 24).numpy()
    np.testing.assert_array_equal(gather(x, index=merging(grid), fill=np.zeros(6)), want)


def test_biased_scores_are_the_logits_of_timm() -> None:
    """Differences along a row, in octaves: rounding of each score and each bias, half a unit."""
    rng = generator()
    heads, width, windows = 3, 8, Windows((5, 7), (4, 4), (2, 2))
    count, tokens = windows.region.shape
    attention = swin.WindowAttention(heads * width, heads, window_size=(4, 4))
    table = attention.relative_position_bias_table
    with torch.no_grad():
        table.copy_(torch.from_numpy(rng.normal(0, 2, table.shape)))
        real_bias = attention._get_rel_pos_bias()[0].double().numpy()
    block = swin.SwinTransformerBlock(heads * width, (5, 7), heads, window_size=4, shift_size=2)
    octave, (sq, sk, zq, zk) = 256 * np.log2(np.e), (0.11, 0.07, 120, 140)
    query, key = rng.integers(0, 256, (2, count * tokens, heads * width)).astype(np.uint8)
    factor = octave * sq * sk / np.sqrt(width)
    multiplier, shift = fixed_point(factor)
    score = scores(
        query, key, heads=heads, windows=count, query_zero=zq, multiplier=int(multiplier),
        shift=shift,
    )  # fmt: skip
    bias = np.rint(octave * real_bias).astype(np.int16)
    got = score_bias(score, bias=bias, region=windows.region)

    q, k = (
        (step * (codes.astype(float) - zero)).reshape(count, tokens, heads, width).swapaxes(1, 2)
        for codes, step, zero in ((query, sq, zq), (key, sk, zk))
    )
    real = q * attention.scale @ k.swapaxes(-1, -2) + real_bias
    hidden = block.attn_mask.numpy()[:, None] != 0
    seen = np.broadcast_to(~hidden, real.shape).reshape(got.shape)
    assert (got[~seen] == -(1 << 23)).all()
    assert 0 < np.count_nonzero(~seen) < seen.size
    error = got - octave * real.reshape(got.shape)
    # The term that is constant along a row is left out; a token always sees itself.
    own = np.broadcast_to(np.eye(tokens, dtype=bool), got.shape)
    error -= error[own].reshape(*got.shape[:2], 1)[..., None].reshape(-1, tokens, 1)
    reach = np.abs(score).max() * 2.0**-16
    assert np.abs(error[seen]).max() <= 2 * (1.0 + reach)


@pytest.mark.parametrize("name", MODELS)
def test_fake_operators_are_within_a_step_of_golden(name: str) -> None:
    rng = generator(len(name))
    artifact = random_swin(rng, **MODELS[name])
    within_a_step(artifact, random_pixels(rng, artifact, 3))


def test_fake_features_are_near_the_integers() -> None:
    rng = generator()
    artifact = random_swin(rng, bits="W8A8", features=True)
    pixels = random_pixels(rng, artifact, 8)
    golden = GoldenModel(artifact).run(pixels).outputs
    model = FakeModel(artifact)
    fake = model.features(torch.from_numpy(pixels))
    assert fake.keys() == golden.keys()
    for output in artifact.outputs:
        want = golden[output.name] * artifact[output.name].scale
        have = output.feature_map(fake[output.name])
        assert have.dtype == torch.float32
        assert have.shape == (8, *output.grid, want.shape[-1])
        assert np.corrcoef(have.numpy().ravel(), want.ravel())[0, 1] > 0.99
    with pytest.raises(ArtifactError, match=r"^the artifact must be a classifier"):
        model.logits(torch.from_numpy(pixels))


def test_a_distilled_head_takes_two_tokens() -> None:
    """Golden, fake and ONNX agree on logits of two tokens side by side."""
    rng = generator()
    artifact = random_artifact(rng, Size(depth=0, prefix=2, pool="distilled"), bits="W8A8")
    within_a_step(artifact, random_pixels(rng, artifact, 4))
    onnx_equals_fake(artifact, random_pixels(rng, artifact, 16))


def onnx_equals_fake(artifact: Artifact, pixels: np.ndarray) -> None:
    """Every output, but for a code here and there that float32's order of sums turns over."""
    fake = FakeModel(artifact).features(torch.from_numpy(pixels))
    run = session(onnx_bytes(artifact))
    for output in artifact.outputs:
        shown = "logits" if artifact.is_classifier else f"{output.name}/features"
        (have,) = run.run([shown], {"pixels": pixels})
        want = fake[output.name].numpy()
        want = want[:, 0] if artifact.is_classifier else want
        assert (have.dtype, have.shape) == (np.float32, want.shape)
        difference = np.abs(have - want).reshape(len(want), -1).max(1) / np.abs(want).max()
        assert np.count_nonzero(difference > 2.0**-18) <= 2, difference
        assert difference.max() < 0.1


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_onnx_equals_fake(name: str, features: bool) -> None:
    rng = generator(len(name), features)
    artifact = random_swin(rng, **MODELS[name], features=features)
    onnx_equals_fake(artifact, random_pixels(rng, artifact, 24))


def test_onnx_of_windows_is_sound() -> None:
    """Checker, shapes of all tensors, standard operators, and every integer in the file."""
    artifact = random_swin(generator(), features=True)
    model = onnx_model(artifact)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert inferred.graph.output[0].name == "stage0.block1.add2/features"
    assert {node.domain for node in model.graph.node} == {"", "rootshift"}
    assert {n.op_type for n in model.graph.node if n.domain} == {"LogSoftmaxCodes"}
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for op in artifact.operators:
        for key, value in op.tensors().items():
            if isinstance(op, Gather) and key == "fill" and op.index.min() >= 0:
                assert f"{op.name}.fill" not in stored
            elif isinstance(op, Gather | ScoreBias):
                np.testing.assert_array_equal(stored[f"{op.name}.{key}"], value, strict=True)


def test_onnx_outputs_of_any_name() -> None:
    """A tensor may have the name that another's output wants."""
    artifact = random_swin(generator(), features=True)
    second = artifact.outputs[1].name
    names = {"patch_embed": f"{second}/features", second: "logits"}

    def rename(op):
        return replace(
            op, name=names.get(op.name, op.name), inputs=tuple(names.get(n, n) for n in op.inputs)
        )

    operators = tuple(map(rename, artifact.operators))
    outputs = (artifact.outputs[0], Output("logits", artifact.outputs[1].grid))
    onnx_equals_fake(
        replace(artifact, operators=operators, outputs=outputs),
        random_pixels(generator(1), artifact, 4),
    )
    assert artifact[second].output_width == RESIDUAL_WIDTH
