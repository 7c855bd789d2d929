"""Export: each integer operator computes its layer of the calibrated network.

Log codes make a network chaotic: one code more or less is a factor of √2 in a probability, so whole
runs of two levels part after the first softmax. What is exact is compared operator by operator on
the same inputs; whole runs by their logits.
"""

import numpy as np
import pytest
import torch

from rootshift.artifact import Artifact
from rootshift.bits import Bits
from rootshift.errors import CalibrationError
from rootshift.formats import RESIDUAL_WIDTH
from rootshift.operators import Embed, Pool, ResidualAdd
from rootshift.quant.calibrate import calibrate
from rootshift.quant.export import export
from rootshift.quant.fake import FakeModel
from rootshift.sim.golden.model import GoldenModel

from .exported import VARIANTS, exported_variant, preprocessing_for, traced
from .exported import shaded_pixels as shaded
from .operator_check import check_operators
from .small_vit import MEAN, STD, random_pixels, small_vit

BITS = (("W8A8", "sqrt2"), ("W4A4", "sqrt2"), ("W3A3L8", "2"), ("W8A3L5", "2"), ("W3A8L3", "sqrt2"))

CASES = [
    *((name, "W8A8", "sqrt2", "repq+gptq") for name in VARIANTS),
    *((name, "W4A4", "2", "repq") for name in VARIANTS),
    *(("plain", bits, base, "repq+gptq") for bits, base in BITS[1:]),
    *(("deep", bits, base, "repq") for bits, base in BITS[1:]),
]


@pytest.mark.parametrize(("variant", "bits", "base", "method"), CASES)
def test_every_operator_computes_its_layer(variant: str, bits: str, base: str, method: str) -> None:
    made = exported_variant(variant, bits, base, method)
    pixels = shaded(made.model, 1, 3)[0]
    depth = len(made.model.blocks)
    # All but patchify and scores.
    assert check_operators(made, pixels) == 2 + 13 * depth + 3
    assert len(made.artifact.operators) == 3 + 14 * depth + 3


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fake_level_is_the_calibrated_network(variant: str) -> None:
    """Nearly equal on images where no log code turns over: constants are rounded, codes are not."""
    made = exported_variant(variant, "W8A8", images=32)
    pixels = torch.from_numpy(shaded(made.model, 24, 9))
    found = FakeModel(made.artifact).logits(pixels).numpy()
    want = made.quantized.logits(pixels).numpy()
    assert found.shape == want.shape
    assert np.square(found - want).mean() <= 3e-3 * want.var()
    if len(made.model.blocks) == 1:
        assert np.abs(found - want).max(1).min() <= 1e-4 * want.std()


@pytest.mark.parametrize("variant", VARIANTS)
def test_integer_logits_follow_float(variant: str) -> None:
    made = exported_variant(variant, "W8A8", images=32)
    pixels = shaded(made.model, 24, 4)
    inference = GoldenModel(made.artifact).run(pixels)
    found = inference.logits * made.artifact.operators[-1].scale
    expected = made.float_logits(pixels)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.985


@pytest.mark.parametrize("bits", ["W4A4", "W6A6L4", "W8A8"])
def test_whole_runs_agree_until_the_first_softmax(bits: str) -> None:
    """Golden and the calibrated network, each on its own: within one code before any log code."""
    made = exported_variant("plain", bits)
    pixels = shaded(made.model, 8, 5)
    trace = traced(made.quantized, pixels)
    sites = {
        "norm1": "attn.qkv.input",
        "attn.q": "attn.matmul1.A",
        "attn.k": "attn.matmul1.B",
        "attn.v": "attn.matmul2.B",
    }
    inference = GoldenModel(made.artifact).run(pixels, [f"blocks.0.{name}" for name in sites])
    for name, site in sites.items():
        want = trace.codes[f"blocks.0.{site}"]
        difference = np.abs(inference.tensors[f"blocks.0.{name}"] - want)
        assert difference.max() <= 1, name
        assert difference.mean() < 0.05, name
    found = inference.logits * made.artifact.operators[-1].scale
    assert np.corrcoef(found.ravel(), trace.values["head"].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("variant", ["plain", "odd widths", "average"])
def test_the_artifact_comes_back_from_disk(variant: str, tmp_path) -> None:
    made = exported_variant(variant, "W5A4L6")
    made.artifact.save(tmp_path / "a")
    pixels = shaded(made.model, 3, 6)
    np.testing.assert_array_equal(
        GoldenModel(Artifact.load(tmp_path / "a")).run(pixels).logits,
        GoldenModel(made.artifact).run(pixels).logits,
    )


def test_equal_calibrations_give_equal_bytes(tmp_path) -> None:
    for name in "ab":
        exported_variant("plain", "W4A4").artifact.save(tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_residual_steps_are_powers_of_two_that_never_shrink() -> None:
    artifact = exported_variant("deep", "W4A4").artifact
    steps = [op.scale for op in artifact.operators if isinstance(op, Embed | ResidualAdd | Pool)]
    assert [np.frexp(step)[0] for step in steps] == [0.5] * len(steps)
    assert steps == sorted(steps)
    for op in artifact.operators:
        if isinstance(op, ResidualAdd):
            residual, branch = (artifact[name] for name in op.inputs)
            assert op.scale == residual.scale * 2**op.shift == branch.scale


def test_the_residual_stream_has_room() -> None:
    """On the calibration images nothing saturates, and most of the 16 bits are used."""
    made = exported_variant("plain", "W8A8")
    names = [op.name for op in made.artifact.operators if op.output_width == RESIDUAL_WIDTH]
    inference = GoldenModel(made.artifact).run(shaded(made.model, 16, 2), names)
    assert not set(names) & inference.saturated.keys()
    for name in ("embed", "blocks.0.mlp.residual"):
        assert np.abs(inference.tensors[name]).max() > 2**12, name


def test_reference_mode_is_no_integer_program() -> None:
    model = small_vit()
    preprocessing = preprocessing_for(model)
    quantized = calibrate(model, random_pixels(2), MEAN, STD, Bits(6, 6), mode="reference")
    with pytest.raises(CalibrationError, match="mode must be 'integer' to export, not 'reference'"):
        export(quantized, preprocessing, {})
