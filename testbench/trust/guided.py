"""Inputs that coverage of the code guides to, by Atheris: what no example of the tests is like.

python -m rootshift.testbench.trust.guided [--seconds 60] [--seed 1] [TARGET ...]

Needs `pip install atheris==3.0.0`. Prints a table; an input that ends in anything but a right
answer or a clear line is kept under `build/trust/`, and the exit code is 1.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .tally import FOLDER

LENGTH = 8192
"""Bytes of an input, at most, where the valid one is not longer."""
SLOWEST = 60
"""Seconds in which any input must end."""
MEMORY = 4096
"""Megabytes that any input may take."""


def main() -> int:
    """Each target in a process of its own: Atheris does not come back."""
    parser = argparse.ArgumentParser(prog="python -m rootshift.testbench.trust.guided")
    parser.add_argument("target", nargs="*", help="all where none is given")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            fuzz(options.target[0], options.seconds, options.seed, Path(folder))
    found = subprocess.run(
        [sys.executable, "-c", f"from {__package__}.targets import TARGETS; print(*TARGETS)"],
        check=True,
        capture_output=True,
        text=True,
    )
    print("| target | inputs tried | branches met | refused or answered |\n|---|---:|---:|---|")
    broken = False
    for name in options.target or found.stdout.split():
        words = [name, "--one", "--seconds", str(options.seconds), "--seed", str(options.seed)]
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.guided", *words], capture_output=True, text=True
        )
        tried = re.findall(r"stat::number_of_executed_units: (\d+)", done.stderr)
        met = re.findall(r"cov: (\d+)", done.stderr)
        broken |= bool(done.returncode)
        result = f"exit {done.returncode}" if done.returncode else "all"
        print(f"| {name} | {(tried or ['-'])[-1]} | {(met or ['-'])[-1]} | {result} |", flush=True)
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
    return int(broken)


def fuzz(name: str, seconds: int, seed: int, folder: Path) -> None:
    """Give a target inputs for so long, then end the process."""
    import atheris

    with atheris.instrument_imports(include=["rootshift"]):
        from .targets import TARGETS
    work, corpus = folder / "work", folder / "corpus"
    work.mkdir()
    corpus.mkdir()
    target = TARGETS[name](work)
    target.read(target.valid)
    (corpus / "valid").write_bytes(target.valid)
    FOLDER.mkdir(parents=True, exist_ok=True)
    limits = {
        "max_total_time": seconds,
        "seed": seed,
        "max_len": max(LENGTH, 2 * len(target.valid)),
        "timeout": SLOWEST,
        "rss_limit_mb": MEMORY,
        "print_final_stats": 1,
        "artifact_prefix": f"{FOLDER}/{name}-",
    }
    words = [f"-{key}={value}" for key, value in limits.items()]
    atheris.Setup([sys.argv[0], *words, str(corpus)], target.read)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
