"""Pixels must be what the model was trained to see: timm's evaluation transform is the judge."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rootshift.errors import ImageError
from rootshift.preprocessing import INTERPOLATIONS, Preprocessing, load_pixels

DEIT = Preprocessing(
    height=224,
    width=224,
    channels=3,
    resize_height=248,
    resize_width=248,
    interpolation="bicubic",
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
SIZES = [(248, 248), (500, 375), (375, 500), (31, 37), (1, 1), (640, 97), (224, 1000), (333, 334)]


def preprocessing(size=(32, 32), channels=3, crop_pct=0.9, **fields) -> Preprocessing:
    return Preprocessing(
        height=size[0],
        width=size[1],
        channels=channels,
        resize_height=math.floor(size[0] / crop_pct),
        resize_width=math.floor(size[1] / crop_pct),
        **{"interpolation": "bicubic", "mean": (0.5,) * channels, "std": (0.5,) * channels}
        | fields,
    )


def timm_pixels(path: Path, expected: Preprocessing, crop_pct: float) -> np.ndarray:
    """What timm's evaluation transform gives before ToTensor: uint8 [H, W, C]."""
    from rootshift.quant.torchvision_guard import ensure_torchvision_imports

    ensure_torchvision_imports()
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(
        {
            "input_size": (expected.channels, expected.height, expected.width),
            "interpolation": expected.interpolation,
            "mean": expected.mean,
            "std": expected.std,
            "crop_pct": crop_pct,
            "crop_mode": expected.crop_mode,
        }
    )
    transform = create_transform(**config)
    image = Image.open(path).convert("RGB" if expected.channels == 3 else "L")
    for step in transform.transforms:
        if type(step).__name__ == "MaybeToTensor":
            break
        image = step(image)
    else:
        raise AssertionError(f"timm's transform has no MaybeToTensor: {transform}")
    return np.asarray(image).reshape(expected.shape)


def write_noise(path: Path, size: tuple[int, int], channels: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    shape = size if channels == 1 else (*size, 3)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("crop_mode", "crop_pct", "target"),
    [
        ("center", 0.9, (32, 32)),
        ("center", 0.875, (33, 33)),
        ("center", 1.0, (32, 32)),
        ("center", 0.95, (24, 48)),
        ("squash", 1.0, (32, 32)),
        ("squash", 0.9, (48, 24)),
    ],
)
def test_pixels_equal_timm(tmp_path, channels, interpolation, crop_mode, crop_pct, target):
    expected = preprocessing(
        target, channels, crop_pct, interpolation=interpolation, crop_mode=crop_mode
    )
    for seed, size in enumerate(SIZES):
        path = write_noise(tmp_path / f"{seed}.png", size, channels, seed)
        ours = load_pixels(path, expected)
        assert ours.dtype == np.uint8
        assert ours.shape == (*target, channels)
        np.testing.assert_array_equal(
            ours, timm_pixels(path, expected, crop_pct), err_msg=f"seed {seed}, size {size}"
        )


def test_real_photographs_equal_timm(shared):
    folder = shared / "data" / "imagenet_samples"
    for path in sorted(folder.glob("*.JPEG"))[::60]:
        np.testing.assert_array_equal(
            load_pixels(path, DEIT), timm_pixels(path, DEIT, 0.9), err_msg=path.name
        )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_any_8_bit_mode_becomes_rgb(tmp_path, mode):
    suffix = "tiff" if mode == "CMYK" else "png"
    path = tmp_path / f"image.{suffix}"
    Image.new("RGB", (40, 50), (10, 200, 30)).convert(mode).save(path)
    assert load_pixels(path, preprocessing()).shape == (32, 32, 3)


def test_16_bit_image_is_refused_by_name(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((40, 40), 40_000, dtype=np.uint16)).save(path)
    with pytest.raises(ImageError, match=r"deep\.png: must have 8 bits per channel, not .*I;16"):
        load_pixels(path, preprocessing())


def test_float_image_with_nan_is_refused_by_name(tmp_path):
    path = tmp_path / "nan.tiff"
    Image.fromarray(np.full((40, 40), np.nan, dtype=np.float32)).save(path)
    with pytest.raises(ImageError, match=r"nan\.tiff: must have 8 bits per channel"):
        load_pixels(path, preprocessing())


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's, before its error
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
def test_truncated_file_is_refused_by_name(tmp_path, suffix):
    whole = write_noise(tmp_path / f"whole.{suffix}", (64, 64), 3, seed=0)
    content = whole.read_bytes()
    for size in (0, 1, 20, len(content) // 2, len(content) - 40):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(content[:size])
        with pytest.raises(ImageError, match=rf"cut\.{suffix}: cannot be decoded"):
            load_pixels(path, preprocessing())


def test_damaged_png_is_refused_by_name(tmp_path):
    path = write_noise(tmp_path / "damaged.png", (64, 64), 3, seed=0)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"damaged\.png: cannot be decoded"):
        load_pixels(path, preprocessing())


def test_missing_file_text_file_and_folder_are_refused_by_name(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        load_pixels(tmp_path / "absent.png", preprocessing())
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.png: cannot be decoded"):
        load_pixels(tmp_path / "text.png", preprocessing())
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match=r"folder\.png: cannot be decoded"):
        load_pixels(tmp_path / "folder.png", preprocessing())


def test_zero_size_image_is_refused_by_name(tmp_path):
    # Pillow writes no such file: this is a netpbm header that says 0 x 5.
    path = tmp_path / "empty.pgm"
    path.write_bytes(b"P5 0 5 255\n")
    with pytest.raises(ImageError, match=r"empty\.pgm: "):
        load_pixels(path, preprocessing())


def test_elongated_image_is_refused_before_it_fills_the_memory(tmp_path):
    path = tmp_path / "line.png"
    Image.new("L", (1, 60_000)).save(path)
    with pytest.raises(ImageError, match=r"line\.png: is too elongated to resize: 1 x 60000"):
        load_pixels(path, DEIT)


def test_json_round_trip_is_exact():
    for original in (DEIT, preprocessing((8, 8), 1, 1.0, mean=(0.1 + 0.2,), crop_mode="squash")):
        assert Preprocessing.from_json(json.loads(json.dumps(original.to_json()))) == original


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"height": 0}, ValueError, "height must be at least 1, not 0"),
        ({"width": 224.0}, TypeError, "width must be an int, not 224.0"),
        ({"channels": True}, TypeError, "channels must be an int, not True"),
        ({"channels": 4}, ValueError, "channels must be 1 or 3, not 4"),
        ({"resize_width": 200}, ValueError, "resize_width must be at least width = 224, not 200"),
        ({"interpolation": "cubic"}, ValueError, "interpolation must be one of .*, not 'cubic'"),
        ({"crop_mode": "border"}, ValueError, "crop_mode must be one of .*, not 'border'"),
        ({"mean": [0.5]}, ValueError, "mean must have 3 values, one per channel, not 1"),
        ({"mean": 0.5}, TypeError, "mean must be a tuple of numbers, not 0.5"),
        ({"mean": ["a", "b", "c"]}, TypeError, "mean must be a tuple of numbers"),
        ({"std": [0.2, 0.0, 0.2]}, ValueError, "std must be positive in every channel"),
        ({"std": [0.2, math.nan, 0.2]}, ValueError, "std must be finite"),
        ({"gamma": 1}, ValueError, r"unknown \['gamma'\]"),
    ],
)
def test_bad_field_is_refused_by_name(change, error, message):
    with pytest.raises(error, match=message):
        Preprocessing.from_json(DEIT.to_json() | change)


def test_missing_field_and_non_object_are_refused():
    data = DEIT.to_json()
    del data["mean"]
    with pytest.raises(ValueError, match=r"missing \['mean'\]"):
        Preprocessing.from_json(data)
    with pytest.raises(TypeError, match="must be a JSON object, not list"):
        Preprocessing.from_json([])
