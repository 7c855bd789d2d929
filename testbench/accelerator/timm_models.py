"""Vision transformers of odd shapes as timm makes them, drawn by Hypothesis, and calibrated."""

import re
from math import isqrt
from typing import Any

import numpy as np
from hypothesis import event
from hypothesis import strategies as st

from rootshift.artifact import Artifact
from rootshift.errors import ArtifactError, CalibrationError

from ..quant.exported import exported, preprocessing_for
from ..quant.small_vit import small_vit

CALIBRATION_IMAGES = 3
REASON = re.compile(r"[\w.]+: .*\bmust\b")
"""How a refusal of the front end begins: with the name of the layer."""
LEAST_TOKENS, MOST_TOKENS = 5, 257


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Both ends included."""
    return st.integers(min_value=low, max_value=high)


@st.composite
def shapes(draw: st.DrawFn, most_tokens: int = MOST_TOKENS, most_width: int = 40) -> dict[str, Any]:
    """Arguments of a timm VisionTransformer."""
    registers, class_token = draw(integers(0, 4)), draw(st.booleans())
    prefix = registers + class_token
    tokens = draw(integers(LEAST_TOKENS, most_tokens))
    patches = max(1, tokens - prefix)
    down = draw(integers(1, isqrt(patches)))
    grid = (down, patches // down)
    if draw(st.booleans()):
        grid = grid[::-1]
    patch = draw(integers(1, 5)), draw(integers(1, 5))
    heads = draw(integers(1, 12))
    return {
        "img_size": (grid[0] * patch[0], grid[1] * patch[1]),
        "patch_size": patch,
        "in_chans": draw(st.sampled_from([1, 3])),
        "embed_dim": heads * draw(integers(-(-3 // heads), max(3, most_width // heads))),
        "num_heads": heads,
        "depth": draw(integers(1, 3)),
        "mlp_ratio": draw(st.sampled_from([0.5, 1.3, 2.0, 4.0])),
        "num_classes": draw(integers(1, 20)),
        "class_token": class_token,
        "reg_tokens": registers,
        "no_embed_class": draw(st.booleans()),
        "global_pool": draw(st.sampled_from(["token", "avg"])) if class_token else "avg",
        "fc_norm": draw(st.sampled_from([None, True])),
        "qkv_bias": draw(st.booleans()),
        "init_values": draw(st.sampled_from([None, 0.1])),
        "act_layer": draw(st.sampled_from(["gelu", "relu", "silu"])),
    }


def widths(log: int | None = None) -> st.SearchStrategy[str]:
    """Bits of a model, such as "W4A5L6"."""
    logs = integers(3, 8) if log is None else st.just(log)
    return st.builds("W{}A{}L{}".format, integers(3, 8), integers(3, 8), logs)


def images_for(model: Any, images: int, seed: int) -> np.ndarray:
    """uint8 [images, H, W, C]: a slope of random direction and noise in each channel."""
    rng = np.random.default_rng(seed)
    height, width, channels = preprocessing_for(model).shape
    slope = rng.uniform(-1, 1, (2, images, 1, 1, channels))
    y, x = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[:, None]
    shade = 128 + 60 * (slope[0] * y + slope[1] * x)
    return np.clip(shade + rng.normal(0, 25, shade.shape), 0, 255).astype(np.uint8)


def quantized(
    changes: dict[str, Any], bits: str, base: str, seed: int, images: int
) -> tuple[Artifact, np.ndarray] | None:
    """The artifact of a model with random weights, and images that did not calibrate it.

    None where the front end refuses the model, which it must with the layer's name.
    """
    model = small_vit(seed, **changes)
    pixels = images_for(model, CALIBRATION_IMAGES + images, seed)
    said = ""
    try:
        found = exported(model, pixels[:CALIBRATION_IMAGES], bits, base, "repq")
    except (ArtifactError, CalibrationError) as error:
        said = str(error)
    if said:
        event("refused by the front end")
        assert REASON.match(said), said
        return None
    return found.artifact, pixels[CALIBRATION_IMAGES:]
