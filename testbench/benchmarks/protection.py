"""What `program_crc` and `buffer_parity` cost in cells, after synthesis.

    pip install --constraint constraints.txt ".[synthesis]"
    python testbench/benchmarks/protection.py ARTIFACT [--array 8x8] [--target ecp5-85k]

prints the table of docs/verification.md: the whole accelerator without, with one, with the other.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.synthesis.accelerator import synthesize_accelerator
from rootshift.targets import target

VARIANTS = {
    "neither": {},
    "`program_crc`": {"program_crc": True},
    "`buffer_parity`": {"buffer_parity": True},
}


def main() -> None:
    """Synthesize each, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--array", default="8x8")
    parser.add_argument("--target", default="ecp5-85k")
    options = parser.parse_args()
    config = AcceleratorConfig.for_artifact(Artifact.load(options.artifact), options.array)
    print(f"| {options.array} on {options.target} | LUT | FF | block RAM |\n|---|---:|---:|---:|")
    for name, fields in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            family = target(options.target).family
            total = synthesize_accelerator(replace(config, **fields), family, Path(folder)).total
        print(f"| {name} | {total.lut} | {total.ff} | {total.block_ram} |", flush=True)


if __name__ == "__main__":
    main()
