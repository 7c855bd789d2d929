"""From an image file to the uint8 pixels a model was trained to see: decode, resize, centre crop.

Equal, byte for byte, to timm's evaluation transform before its ToTensor, for the crop modes
`center` and `squash`. Normalization is not done here: `(p / 255 - mean) / std` folds into the patch
embedding.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash")

_SIDE_MAX = 1 << 16
# Pillow knows more, but some of those run a program: PostScript goes to Ghostscript.
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# An extreme aspect ratio scales to this many pixels before the crop throws them away.
_MAX_RESIZED_PIXELS = 1 << 28
# Pillow clips these to 8 bits, which turns most of a 16-bit image white without a word.
_WIDE_MODES = ("I", "F")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What a model expects of its input, taken from its checkpoint's own configuration.

    Parameters:
        height, width: size of the model's input, in pixels.
        channels: 3 (RGB) or 1 (grey).
        resize_height, resize_width: size to scale to before the crop, in pixels; in mode `center`
            the image covers it with its aspect ratio kept, in mode `squash` it fills it exactly.
        interpolation: name of a Pillow resampling filter, in lower case.
        mean, std: per channel, in units of full scale: a pixel p enters as (p / 255 - mean) / std.
        crop_mode: `center` or `squash`, as timm names them.

    Raises:
        TypeError: a field is of the wrong kind.
        ValueError: a field has a value that cannot be; the message names it.
    """

    height: int
    width: int
    channels: int
    resize_height: int
    resize_width: int
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        for name in ("height", "width", "channels", "resize_height", "resize_width"):
            _check_positive_int(name, getattr(self, name))
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, not {self.channels}")
        for axis in ("height", "width"):
            size, resized = getattr(self, axis), getattr(self, f"resize_{axis}")
            if resized < size:
                raise ValueError(f"resize_{axis} must be at least {axis} = {size}, not {resized}")
        _check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        _check_choice("crop_mode", self.crop_mode, CROP_MODES)
        for name in ("mean", "std"):
            _check_channel_values(name, getattr(self, name), self.channels)
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive in every channel, not {self.std}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image's pixels: (height, width, channels)."""
        return self.height, self.width, self.channels

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field; floats keep their exact value."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Any) -> Preprocessing:
        """The inverse of `to_json`.

        Raises:
            TypeError, ValueError: not an object with exactly these fields, or a bad value in one.
        """
        if not isinstance(data, dict):
            raise TypeError(f"preprocessing must be a JSON object, not {type(data).__name__}")
        expected = {field.name for field in fields(cls)}
        if data.keys() != expected:
            missing, unknown = sorted(expected - data.keys()), sorted(data.keys() - expected)
            raise ValueError(
                f"preprocessing must have the fields {', '.join(sorted(expected))}, "
                f"not missing {missing} and unknown {unknown}"
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})


def load_pixels(path: str | Path, preprocessing: Preprocessing) -> np.ndarray:
    """Decode an image file and prepare it: uint8 [height, width, channels].

    Raises:
        ImageError: missing, unreadable, truncated, empty, or of more than 8 bits per channel; the
            message names the file.
    """
    from PIL import Image

    # What Pillow finds odd in metadata does not change the pixels.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return prepare(image, preprocessing)
    except FileNotFoundError:
        raise ImageError(f"image {path}: no such file") from None
    except ImageError as error:
        raise ImageError(f"image {path}: {error}") from None
    except Exception as error:  # damaged bytes make Pillow raise almost anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ImageError(f"image {path}: cannot be decoded: {reason}") from error


def prepare(image: Image, preprocessing: Preprocessing) -> np.ndarray:
    """Convert to RGB or grey, resize and centre crop: uint8 [height, width, channels].

    Raises:
        ImageError: the image is empty, too elongated, or has more than 8 bits per channel.
    """
    from PIL.Image import Resampling

    if min(image.size) < 1:
        raise ImageError(f"must have at least one pixel, not {image.width} x {image.height}")
    if image.mode.partition(";")[0] in _WIDE_MODES:
        raise ImageError(f"must have 8 bits per channel, not Pillow's mode {image.mode!r}")
    image = image.convert("RGB" if preprocessing.channels == 3 else "L")
    size = _resized_size(image.height, image.width, preprocessing)
    if size[0] * size[1] > _MAX_RESIZED_PIXELS:
        raise ImageError(f"is too elongated to resize: {image.width} x {image.height} pixels")
    if size != (image.height, image.width):
        image = image.resize(size[::-1], Resampling[preprocessing.interpolation.upper()])
    # Python's round: halves go to even, as in torchvision's center_crop.
    top = round((image.height - preprocessing.height) / 2)
    left = round((image.width - preprocessing.width) / 2)
    pixels = np.asarray(image)[top : top + preprocessing.height, left : left + preprocessing.width]
    return np.ascontiguousarray(pixels).reshape(preprocessing.shape)


def _resized_size(height: int, width: int, preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) to resize to, rounded as timm and torchvision round."""
    target = preprocessing.resize_height, preprocessing.resize_width
    if preprocessing.crop_mode == "squash":
        return target
    if target[0] == target[1]:
        # torchvision's Resize(int): the short side is exact, the long side truncates.
        if width <= height:
            return int(target[0] * height / width), target[0]
        return target[0], int(target[0] * width / height)
    # timm's ResizeKeepRatio: both sides round.
    ratio = min(height / target[0], width / target[1])
    return round(height / ratio), round(width / ratio)


def _check_positive_int(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    if value > _SIDE_MAX:
        raise ValueError(f"{name} must be at most {_SIDE_MAX}, not {value}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _check_channel_values(name: str, values: object, channels: int) -> None:
    if not isinstance(values, tuple) or not all(type(v) in (int, float) for v in values):
        raise TypeError(f"{name} must be a tuple of numbers, not {values!r}")
    if len(values) != channels:
        raise ValueError(f"{name} must have {channels} values, one per channel, not {len(values)}")
    if not all(abs(v) <= sys.float_info.max for v in values):
        raise ValueError(f"{name} must be finite, not {values}")
