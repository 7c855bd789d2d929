"""What several commands read from the command line: image sets, one image, a configuration."""

import argparse

import numpy as np

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ImageError
from ..images import EMBEDDED, ImageSet
from ..preprocessing import Preprocessing, load_pixels


def place(text: str) -> str:
    """Argument type: a file or folder; an empty name (an unset shell variable) is none."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, not ''")
    return text


def calibration_images(model: str, source: str | None, preprocessing: Preprocessing) -> ImageSet:
    """A folder, or the rows of a CSV that say `calibration`; the embedded model has its own."""
    if source is None:
        if model != EMBEDDED:
            raise ImageError(f"--calibration must be given for {model}: a folder or a CSV file")
        from ..quant.digits import digits_images

        return digits_images("calibration", preprocessing)
    return ImageSet.from_path(source, preprocessing, split="calibration")


def evaluation_images(
    model: str, images: str | None, labels: str | None, preprocessing: Preprocessing
) -> ImageSet:
    """The rows of `labels` that do not say `calibration`; the embedded model has its own."""
    if labels is None:
        if model != EMBEDDED or images is not None:
            raise ImageError("--labels must be given: a CSV file with columns file and label")
        from ..quant.digits import digits_images

        return digits_images("test", preprocessing)
    return ImageSet.from_csv(labels, preprocessing, images_dir=images, split="evaluation")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """`--array` or `--config`, never both."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--array", default="16x16", metavar="ROWSxCOLS", help="size of the array")
    group.add_argument(
        "--config", type=place, metavar="FILE.toml", help="a whole accelerator configuration"
    )


def accelerator_config(
    options: argparse.Namespace, artifact: Artifact, batch: int = 1
) -> AcceleratorConfig:
    """The configuration that the options name; raises ConfigError where `artifact` cannot fit.

    `batch` images at a time are to fit.
    """
    if options.config is not None:
        config = AcceleratorConfig.load(options.config)
        config.check_fits(artifact, batch)
        return config
    return AcceleratorConfig.for_artifact(artifact, options.array, batch)


def one_image(path: str, preprocessing: Preprocessing) -> np.ndarray:
    """Pixels of one file as a batch: uint8 [1, H, W, C]."""
    return load_pixels(path, preprocessing)[None]
