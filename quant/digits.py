"""The embedded model `digits`: a small vision transformer on real handwritten digits.

Images: the 1797 8 x 8 digits bundled with scikit-learn (UCI "Optical Recognition of Handwritten
Digits", Alpaydin and Kaynak 1998, doi 10.24432/C50P49). Model: a plain timm VisionTransformer,
registered with timm, whose packaged checkpoint `train_digits.py` trains. Nothing else in the
project knows it from DeiT.

Split, by the image's position `i` in scikit-learn's order: `test` where i % 4 == 3 (449 images),
`train` elsewhere (1348); `calibration` is every 42nd training image from the first on, 32 of them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.models import (
    VisionTransformer,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from timm.models.vision_transformer import checkpoint_filter_fn

from ..images import ImageSet, Preprocessing, prepare

CHECKPOINT = Path(__file__).with_name("digits.safetensors")
SPLITS = ("calibration", "test", "train")

_IMAGES = 1797
_GREY_LEVELS = 16  # scikit-learn's digits count set pixels of a 4 x 4 block: 0 to 16
_CALIBRATION_COUNT = 32
_CALIBRATION_STEP = 42

default_cfgs = generate_default_cfgs(
    {
        "digits": {
            "file": str(CHECKPOINT),
            "num_classes": 10,
            "input_size": (1, 8, 8),
            "fixed_input_size": True,
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.305,),  # of the training split, in units of full scale
            "std": (0.376,),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "apache-2.0",
        }
    }
)


@register_model
def digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Vision transformer for images [*, 1, 8, 8]: 2 x 2 patches, 17 tokens, 10 classes."""
    geometry = {
        "img_size": 8,
        "patch_size": 2,
        "in_chans": 1,
        "embed_dim": 48,
        "depth": 4,
        "num_heads": 3,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
    }
    return build_model_with_cfg(
        VisionTransformer,
        "digits",
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": kwargs.pop("out_indices", 3), "feature_cls": "getter"},
        **{**geometry, **kwargs},
    )


def split_indices(split: str) -> np.ndarray:
    """Positions in scikit-learn's order of the images of `split`, int64, ascending.

    Raises:
        ValueError: `split` is none of 'calibration', 'test', 'train'.
    """
    positions = np.arange(_IMAGES, dtype=np.int64)
    is_test = positions % 4 == 3
    if split == "test":
        return positions[is_test]
    if split == "train":
        return positions[~is_test]
    if split == "calibration":
        return positions[~is_test][::_CALIBRATION_STEP][:_CALIBRATION_COUNT]
    raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")


def digits_images(split: str, preprocessing: Preprocessing) -> ImageSet:
    """Images and labels of one split, ready for a model with this preprocessing.

    A value v of 0..16 becomes the pixel round(255 * v / 16), an integer 0..255; `preprocessing`
    then resizes and crops it like any image file, which for the model `digits` changes nothing.

    Raises:
        ValueError: `split` is none of 'calibration', 'test', 'train'.
    """
    from sklearn.datasets import load_digits

    positions = split_indices(split)
    bundle = load_digits()
    values = bundle.images[positions].astype(np.int64)
    grey = ((values * 255 * 2 + _GREY_LEVELS) // (2 * _GREY_LEVELS)).astype(np.uint8)
    return ImageSet.from_arrays(
        names=[f"digits/{position:04d}" for position in positions],
        pixels=np.stack([prepare(Image.fromarray(image), preprocessing) for image in grey]),
        labels=bundle.target[positions].astype(np.int64),
    )
