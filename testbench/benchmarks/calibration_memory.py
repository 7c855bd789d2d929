"""Peak memory of `rootshift quantize` on many images, in a process of its own.

As a program it runs the command line that it is given and prints its peak; see `calibration.py`.
"""

import contextlib
import io
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
# Kilobytes on Linux, bytes on macOS.
UNIT = 1 if sys.platform == "darwin" else 1024


def peak(model: str, images: int, method: str, bits: str, seed: int = 0) -> dict[str, Any]:
    """Peak resident memory, GiB, of quantizing `model` with random weights on random images.

    The model and the images are made in another process than the one that is measured.
    Raises: subprocess.CalledProcessError where the command fails; it says why on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="rootshift-benchmark-") as folder:
        draw = [sys.executable, str(HERE.with_name("drawn_models.py")), model, str(images), folder]
        subprocess.run([*draw, "--seed", str(seed)], check=True)
        words = ["quantize", model, "--weights", f"{folder}/model.safetensors"]
        words += ["--calibration", f"{folder}/images", "--limit", str(images)]
        words += ["--bits", bits, "--method", method, "--out", f"{folder}/artifact", "--json"]
        command = [sys.executable, str(HERE), *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    return {"model": model, "images": images, "method": method, "bits": bits, **found}


def main() -> int:
    """Run the command line; its exit code."""
    before = _gib()
    from rootshift.cli.main import main as rootshift

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = rootshift(sys.argv[1:])
    if code == 0:
        seconds = json.loads(said.getvalue())["seconds"]
        # What the process began with is not its own: Linux hands the peak of the parent on.
        print(json.dumps({"peak_gib": _gib(), "peak_at_start_gib": before, "seconds": seconds}))
    return code


def _gib() -> float:
    """Peak resident memory of this process and of those it waited for, GiB."""
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return round(max(resource.getrusage(who).ru_maxrss for who in whose) * UNIT / 2**30, 3)


if __name__ == "__main__":
    sys.exit(main())
