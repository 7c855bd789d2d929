"""`rootshift export`: an artifact as a model of another format."""

import argparse
from pathlib import Path
from typing import Any

from ..artifact import Artifact
from ..errors import OutputError, ToolError
from ..output import write_file
from .sources import place

FORMATS = ("onnx",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("artifact", type=place, metavar="ARTIFACT")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="onnx if left out")
    parser.add_argument("--out", required=True, type=place, metavar="FILE")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """JSON: out, format, bits, operators, bytes, artifact (its digest)."""
    artifact = Artifact.load(options.artifact)
    if Path(options.out).is_dir():
        raise OutputError(f"--out must be a file, not the directory {options.out}")
    content = onnx_content(artifact)
    write_file(options.out, lambda file: file.write(content))
    return {
        "out": options.out,
        "format": options.format,
        "bits": str(artifact.bits),
        "operators": len(artifact.operators),
        "bytes": len(content),
        "artifact": artifact.digest,
    }


def onnx_content(artifact: Artifact) -> bytes:
    """The ONNX file; raises ToolError where the library is not installed."""
    try:
        from ..quant.onnx.model import onnx_bytes
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "onnx":
            raise
        raise ToolError("onnx is needed to export: pip install 'rootshift[onnx]'") from None
    return onnx_bytes(artifact)


def render(result: dict[str, Any]) -> str:
    """Text for people."""
    return (
        f"{result['format']} model of {result['operators']} operators, {result['bits']}, "
        f"{result['bytes']} bytes -> {result['out']}"
    )
