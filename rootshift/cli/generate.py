"""`rootshift generate`: the accelerator in Verilog, its program, a C driver and test vectors."""

import argparse
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from .. import csr_text, isa_text, memory_images, program_text
from ..artifact import Artifact
from ..errors import ImageError, OutputError
from ..output import write_if_changed
from ..program import Program
from ..sim.golden.model import GoldenModel
from .progress import Progress, progress_bar
from .sources import accelerator_config, add_config_arguments, one_image, place

MODULE = "rootshift"
"""Name of the Verilog module and of the files around it."""
_NOISE_SEED = 0
_DRIVER = ("rootshift.h", "rootshift.c", "rootshift_pynq.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    add_config_arguments(parser)
    parser.add_argument("--out", required=True, type=place, metavar="DIR")
    parser.add_argument(
        "--images", type=int, default=1, metavar="N", help="images that one run infers, 1"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="K",
        help="images that share a pass of the weights; divides N, needs K times the buffers, 1",
    )
    parser.add_argument(
        "--image",
        type=place,
        action="append",
        default=[],
        metavar="FILE",
        help="image of the test vectors, given up to N times; seeded noise where left out",
    )
    parser.add_argument(
        "--address",
        type=_address,
        default=0,
        metavar="BYTE",
        help="where the program will lie, of program.hex and the memory map, 0",
    )


def _address(text: str) -> int:
    """Argument type: a number of bytes, decimal or with 0x."""
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number such as 0x10000000, not {text!r}"
        ) from None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, array, images, commands, program_bytes, files, written (files that changed)."""
    from ..hw.compiler import compile_program

    artifact = Artifact.load(options.artifact)
    config = accelerator_config(options, artifact, options.batch)
    if len(options.image) > options.images >= 1:
        raise ImageError(
            f"--image must be given at most {options.images} times, as --images says, "
            f"not {len(options.image)}"
        )
    with progress_bar("generate") as progress:
        progress(0, 1, "program")
        program = compile_program(artifact, config, options.images, batch=options.batch)
        memory_images.check_address(program, options.address)
        pixels = vector_pixels(artifact, options.images, options.image)
        files = output_files(artifact, program, pixels, progress, options.address)
    return {
        "out": options.out,
        "array": f"{config.rows}x{config.cols}",
        "images": program.images,
        "commands": len(program.commands),
        "program_bytes": len(program.image),
        "files": len(files),
        "written": write_all(Path(options.out), files),
    }


def vector_pixels(artifact: Artifact, images: int, paths: Sequence[str]) -> np.ndarray:
    """The images of the test vectors: those at `paths`, then noise. uint8 [images, H, W, C]."""
    shape = artifact.preprocessing.shape
    pixels = np.random.default_rng(_NOISE_SEED).integers(0, 256, (images, *shape), dtype=np.uint8)
    for number, path in enumerate(paths):
        pixels[number] = one_image(path, artifact.preprocessing)[0]
    return pixels


def output_files(
    artifact: Artifact,
    program: Program,
    pixels: np.ndarray,
    progress: Progress,
    address: int = 0,
) -> dict[str, bytes]:
    """Path below the output directory -> content.

    Parameters: `program` of `artifact`; `pixels` uint8 [images, H, W, C] of the test vectors;
    `address` at which the program will lie.
    Raises: ProgramError where it cannot lie there.
    """
    from ..hw.top import Accelerator
    from ..hw.verilog import convert

    progress(0, 2, "test vectors")
    logits = GoldenModel(artifact).run(pixels).logits
    progress(1, 2, "Verilog")
    verilog = convert(Accelerator(config=program.config), MODULE)
    step = artifact.operators[-1].scale
    headers = {
        "csr": csr_text.c_header_text(),
        "isa": isa_text.c_header_text(),
        "program": program_text.c_header_text(program, step),
    }
    driver = resources.files("rootshift.hw") / "driver"
    return {
        "config.toml": program.config.to_toml().encode(),
        f"rtl/{MODULE}.v": verilog.encode(),
        **{f"program/{name}": content for name, content in program.files().items()},
        **{f"memory/{name}": text for name, text in memory_images.files(program, address).items()},
        **{f"include/{MODULE}_{name}.h": text.encode() for name, text in headers.items()},
        **{f"driver/{name}": (driver / name).read_bytes() for name in _DRIVER},
        f"driver/{MODULE}.json": program_text.json_text(program, step).encode(),
        "vectors/pixels.bin": pixels.tobytes(),
        "vectors/logits.bin": logits.astype("<i4").tobytes(),
    }


def write_all(out: Path, files: dict[str, bytes]) -> int:
    """Write what changed; returns how many files that were."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"--out must be a directory, not the file {out}")
    return sum(write_if_changed(out / name, content) for name, content in files.items())


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"Verilog of a {result['array']} array and a program of {result['commands']} commands, "
        f"{result['program_bytes']} bytes; {result['files']} files in all, "
        f"{result['written']} new or changed -> {result['out']}"
    )
