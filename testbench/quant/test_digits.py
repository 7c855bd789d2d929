"""The embedded model: good enough, small enough, and by the same path as any other."""

import numpy as np
import pytest
import torch

from rootshift.quant.digits import CHECKPOINT, digits_images, split_indices
from rootshift.quant.models import check_supported, load_model, preprocessing_of
from rootshift.quant.train_digits import accuracy, train


@pytest.fixture(scope="module")
def model():
    return load_model("digits", "timm")


def all_pixels(images) -> np.ndarray:
    return np.concatenate(list(images.batches(len(images))))


def test_packaged_checkpoint_reaches_97_percent_on_the_test_split(model):
    images = digits_images("test", preprocessing_of(model))
    assert accuracy(model, all_pixels(images), images.labels) >= 97.0


def test_checkpoint_is_below_1_megabyte():
    assert CHECKPOINT.stat().st_size < 1_000_000


def test_model_is_a_plain_small_vit_from_its_own_file(model):
    check_supported(model)
    packaged = load_model("digits", CHECKPOINT)
    for key, value in packaged.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
    assert len(model.blocks) == 4
    assert model.blocks[0].attn.num_heads == 3
    assert model.pos_embed.shape == (1, 17, 48)


def test_preprocessing_leaves_the_digits_as_they_are(model):
    from sklearn.datasets import load_digits

    expected = preprocessing_of(model)
    assert expected.shape == (8, 8, 1)
    bundle = load_digits()
    images = digits_images("test", expected)
    positions = split_indices("test")
    rounded = np.floor(bundle.images[positions] * 255 / 16 + 0.5)
    np.testing.assert_array_equal(all_pixels(images)[..., 0], rounded)
    np.testing.assert_array_equal(images.labels, bundle.target[positions])


def test_no_test_image_is_trained_or_calibrated_on(model):
    expected = preprocessing_of(model)
    names = {
        split: set(digits_images(split, expected).names)
        for split in ("test", "train", "calibration")
    }
    assert len(names["test"]) == 449
    assert len(names["test"] | names["train"]) == 1797
    assert not names["test"] & names["train"]
    assert len(names["calibration"]) == 32
    assert names["calibration"] < names["train"]


def test_calibration_shows_every_digit(model):
    images = digits_images("calibration", preprocessing_of(model))
    assert set(images.labels.tolist()) == set(range(10))


def test_unknown_split_is_refused(model):
    with pytest.raises(ValueError, match="split must be one of calibration, test, train, not 'va"):
        digits_images("validation", preprocessing_of(model))


def test_training_repeats_and_learns(model):
    images = digits_images("train", preprocessing_of(model))
    pixels, labels = all_pixels(images)[:256], images.labels[:256]
    first, second = (train(pixels, labels, seed=3, epochs=12) for _ in range(2))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key
    assert accuracy(first, pixels, labels) > 20.0
