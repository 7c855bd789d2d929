"""`rootshift evaluate`: accuracy of an artifact at float, fake or integer level."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from ..accuracy import Logits, evaluate
from ..artifact import Artifact
from ..errors import ArtifactError, ConfigError, ModelError
from ..images import ImageSet
from .progress import progress_bar
from .sources import evaluation_images, place

LEVELS = ("float", "fake", "integer")

_IMAGES_FOR_POOL = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument(
        "--images", type=place, metavar="DIR", help="the CSV's own folder if left out"
    )
    parser.add_argument(
        "--labels", type=place, metavar="CSV", help="columns file, label and perhaps split"
    )
    parser.add_argument("--level", nargs="+", choices=LEVELS, default=["integer"])
    parser.add_argument(
        "--weights",
        type=place,
        metavar="FILE|timm",
        help="float weights of the model, for level float",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N images only")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: images, and per level top1 and top5 in percent."""
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit must be at least 1, not {options.limit}")
    artifact = Artifact.load(options.artifact)
    artifact.require_classifier()
    images = evaluation_images(
        artifact.source.get("model"), options.images, options.labels, artifact.preprocessing
    )
    if options.limit is not None and options.limit < len(images):
        images = images.take(range(options.limit))
    return measure(options.level, artifact, images, options.weights)


def measure(
    levels: Sequence[str],
    artifact: Artifact,
    images: ImageSet,
    weights: str | None = None,
    title: str = "evaluate",
) -> dict[str, Any]:
    """Accuracy at each level as JSON; `weights` is needed for float ones of a local file only."""
    models = {level: _model(level, artifact, weights) for level in levels}
    return {"images": len(images)} | measured(models, images, title)


def measured(models: Mapping[str, Any], images: ImageSet, title: str) -> dict[str, Any]:
    """Accuracy as JSON of each model: an artifact at integer level, or one that has `logits`."""
    with ExitStack() as stack, progress_bar(title) as progress:
        sources = {
            name: _golden(model, len(images), stack)
            if isinstance(model, Artifact)
            else _torch(model)
            for name, model in models.items()
        }
        accuracy = evaluate(sources, images, progress=progress)
    return {
        name: {"top1": round(found.top1, 2), "top5": round(found.top5, 2)}
        for name, found in accuracy.items()
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    lines = [f"{result['images']} images       top-1    top-5"]
    lines += [
        f"  {level:12s} {found['top1']:8.2f} {found['top5']:8.2f}"
        for level, found in result.items()
        if level in LEVELS
    ]
    return "\n".join(lines)


def _golden(artifact: Artifact, images: int, stack: ExitStack) -> Logits:
    """The golden model, on all cores where there are images enough to be worth the start."""
    from ..sim.golden.model import GoldenModel
    from ..sim.golden.pool import GoldenPool

    golden: GoldenModel | GoldenPool = GoldenModel(artifact)
    if images >= _IMAGES_FOR_POOL:
        golden = stack.enter_context(GoldenPool(artifact))
    return lambda pixels: golden.run(pixels).logits


def _torch(model: Any) -> Logits:
    import torch

    return lambda pixels: model.logits(torch.from_numpy(pixels)).numpy()


def _model(level: str, artifact: Artifact, weights: str | None) -> Any:
    if level == "integer":
        return artifact
    if level == "float":
        return _float_model(artifact, weights)
    from ..quant.fake import FakeModel

    return FakeModel(artifact)


def _float_model(artifact: Artifact, weights: str | None) -> Any:
    from ..quant.float import FloatModel
    from ..quant.models import load_model
    from ..quant.quantize import state_digest

    name, recorded, digest = (
        _recorded(artifact, key) for key in ("model", "weights", "weights_sha256")
    )
    if weights is None and recorded != "timm":
        raise ModelError(f"--weights must name the float weights, {recorded}, for level float")
    preprocessing = artifact.preprocessing
    size = preprocessing.height, preprocessing.width
    model = load_model(name, weights or "timm", size)
    if state_digest(model) != digest:
        raise ModelError(f"--weights must be the ones that were quantized, not {weights}")
    return FloatModel(model, artifact.preprocessing)


def _recorded(artifact: Artifact, key: str) -> str:
    value = artifact.source.get(key)
    if not isinstance(value, str):
        raise ArtifactError(f"source must tell {key} for level float, not {value!r}")
    return value
