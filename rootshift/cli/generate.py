"""`rootshift generate`: Verilog, memory images, C header and test vectors."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..config import AcceleratorConfig
from ..errors import ArtifactError, OutputError
from ..output import write_if_changed
from .progress import Progress, progress_bar
from .sources import accelerator_config, add_config_arguments, one_image, place

_NOISE_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    add_config_arguments(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR")
    parser.add_argument(
        "--image",
        type=place,
        metavar="FILE",
        help="image of the test vectors; seeded noise if left out",
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, array, units (Verilog modules), files, written (files whose content changed)."""
    artifact = Artifact.load(options.artifact)
    config = accelerator_config(options, artifact)
    if options.image is None:
        noise = np.random.default_rng(_NOISE_SEED)
        pixels = noise.integers(0, 256, (1, *artifact.preprocessing.shape), dtype=np.uint8)
    else:
        pixels = one_image(options.image, artifact.preprocessing)
    with progress_bar("generate") as progress:
        files = output_files(artifact, config, pixels[0], progress)
    return {
        "out": options.out,
        "array": f"{config.rows}x{config.cols}",
        "units": sum(name.endswith(".v") for name in files),
        "files": len(files),
        "written": write_all(Path(options.out), files),
    }


def output_files(
    artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, progress: Progress
) -> dict[str, bytes]:
    """Path below the output directory -> content.

    Raises: ArtifactError where a name cannot be a file's or there is no encoder block.
    """
    from ..hw.memory import c_header, hex_image, memory_images
    from ..hw.units import units
    from ..hw.verilog import convert
    from ..sim.vectors import block_tensors, tensor_widths

    for operator in artifact.operators:
        if "/" in operator.name:
            raise ArtifactError(f"{operator.name!r}: name must be a file name to generate files")
    try:
        tensors = block_tensors(artifact, pixels)
    except KeyError:
        raise ArtifactError("operators must form an encoder block named blocks.0") from None
    files = {"config.toml": config.to_toml().encode()}
    components = units(config)
    for done, (name, component) in enumerate(components.items()):
        progress(done, len(components), name)
        files[f"rtl/{name}.v"] = convert(component, name).encode()
    files["include/rootshift_model.h"] = c_header(artifact, config).encode()
    files |= {f"memory/{name}": text for name, text in memory_images(artifact).items()}
    widths, index = tensor_widths(artifact), {}
    for name, values in tensors.items():
        files[f"vectors/{name}.hex"] = hex_image(values, widths[name])
        index[name] = {"shape": list(values.shape), "width": widths[name]}
    files["vectors/index.json"] = (json.dumps(index, indent=1) + "\n").encode()
    return files


def write_all(out: Path, files: dict[str, bytes]) -> int:
    """Write what changed; returns how many files that were."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out must be a directory, not the file {out}")
    return sum(write_if_changed(out / name, content) for name, content in files.items())


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"{result['units']} Verilog modules for a {result['array']} array, "
        f"{result['files']} files in all, {result['written']} new or changed -> {result['out']}"
    )
