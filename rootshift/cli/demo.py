"""`rootshift demo`: the whole flow on the embedded model."""

import argparse
import time
from pathlib import Path
from typing import Any

from ..artifact import check_replaceable
from ..bits import Bits
from ..config import AcceleratorConfig, parse_array
from ..images import EMBEDDED
from ..sim.golden.model import GoldenModel
from .evaluate import LEVELS, measure
from .generate import output_files, write_all
from .progress import progress_bar
from .sources import calibration_images, evaluation_images, place


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--bits", default="W4A4", help="such as W4A4 or W4A8L5")
    parser.add_argument("--array", default="8x8", metavar="ROWSxCOLS")
    parser.add_argument("--out", default="rootshift-demo", type=place, metavar="DIR")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: artifact, accuracy per level, files, label, cycles, compared, mismatches, seconds."""
    bits = Bits.parse(options.bits)
    parse_array(options.array)
    out = Path(options.out)
    check_replaceable(out / "artifact")
    began = time.perf_counter()

    from ..hw.compiler import compile_program
    from ..quant.quantize import quantize
    from ..sim.rtl.inference import design, infer

    with progress_bar("1/4 calibrate and reparameterize") as progress:
        artifact = quantize(
            EMBEDDED,
            "timm",
            lambda preprocessing: calibration_images(EMBEDDED, None, preprocessing),
            bits,
            progress=progress,
        )
    config = AcceleratorConfig.for_artifact(artifact, options.array)
    artifact.save(out / "artifact")

    images = evaluation_images(EMBEDDED, None, None, artifact.preprocessing)
    accuracy = measure(LEVELS, artifact, images, title="2/4 evaluate")

    pixels = images.pixels(0)
    with progress_bar("3/4 generate Verilog") as progress:
        program = compile_program(artifact, config)
        files = output_files(artifact, program, pixels[None], progress)
    write_all(out / "generated", files)

    with progress_bar("4/4 simulate with Verilator") as progress:
        progress(0, 2, "compile the design")
        design(config)
        progress(1, 2, "run the program")
        names = [operator.name for operator in artifact.operators]
        golden = GoldenModel(artifact).run(pixels[None], names)
        rtl = infer(artifact, program, pixels[None], golden)
    return {
        "artifact": str(out / "artifact"),
        "generated": str(out / "generated"),
        "bits": str(bits),
        "array": options.array,
        "operators": len(artifact.operators),
        **accuracy,
        "files": len(files),
        "commands": len(program.commands),
        "label": int(rtl.logits[0].argmax()),
        "golden_label": int(golden.logits[0].argmax()),
        "expected_label": int(images.labels[0]),
        **rtl.figures,
        "seconds": round(time.perf_counter() - began, 1),
    }


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    lines = [
        "A vision transformer trained on handwritten digits, quantized with RepQ-ViT to "
        f"{result['bits']}:",
        f"  {result['operators']} integer operators -> {result['artifact']}",
        "",
        f"Accuracy on {result['images']} test images      top-1    top-5",
    ]
    lines += [
        f"  {level:32s} {result[level]['top1']:8.2f} {result[level]['top5']:8.2f}"
        for level in LEVELS
    ]
    lines += [
        "",
        f"Verilog for a {result['array']} array, program, C driver, test vectors:",
        f"  {result['files']} files -> {result['generated']}",
        "",
        "The whole model on a test image, from start bit to interrupt on the generated design,",
        "Verilator against golden, every value of every operator:",
        f"  {result['commands']} commands, {result['cycles']} cycles, "
        f"{result['mac_utilization']:.1%} of the multipliers' time",
    ]
    lines += [f"  first mismatch: {result['first']}"] if result["first"] else []
    lines += [
        "",
        f"{result['compared']} values compared, {result['mismatches']} mismatches; "
        f"the image shows a {result['expected_label']}, the accelerator says "
        f"{result['label']}. {result['seconds']:.0f} s.",
    ]
    return "\n".join(lines)
