"""What `rootshift generate` writes runs a model: its C driver, compiled, on the RTL that it writes.

`board.c` is the user's program: the registers behind the driver's macros are those of the verilated
design, and its memory is seen by the CPU through a cache that the driver has to keep.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.top import Accelerator
from rootshift.sim.golden.model import GoldenModel
from rootshift.sim.native.toolchain import compiler
from rootshift.sim.rtl.build import build_model, design_key

from ..cli.running import invoke
from ..random_model import Size, random_artifact
from ..seeds import generator

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parents[1] / "docs" / "guide.md"
IMAGES = 3
CC = os.environ.get("CC") or "gcc"
STRICT = ("-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wsign-conversion")

pytestmark = pytest.mark.skipif(shutil.which(CC) is None, reason=f"no C compiler {CC} on PATH")


@dataclass(frozen=True)
class Generated:
    """A generated folder, the model that it is for, and the library that simulates its RTL."""

    out: Path
    artifact: Artifact
    library: Path

    @property
    def pixels(self) -> np.ndarray:
        """The test vectors' images: uint8 [IMAGES, H, W, C]."""
        pixels = np.fromfile(self.out / "vectors" / "pixels.bin", np.uint8)
        return pixels.reshape(IMAGES, *self.artifact.preprocessing.shape)

    @property
    def logits(self) -> np.ndarray:
        """Golden logits of these images: int32 [IMAGES, classes]."""
        return GoldenModel(self.artifact).run(self.pixels).logits

    def compile(self, *words: object, cc: str = CC, standard: str = "c99") -> None:
        """Compile with the generated headers, every warning an error."""
        include = [f"-I{self.out / folder}" for folder in ("include", "driver")]
        command = [cc, f"-std={standard}", *STRICT, "-Werror", "-O1", *include, *map(str, words)]
        subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """A small model of three images a run; the Verilog that the build has made spares another."""
    folder = tmp_path_factory.mktemp("driver")
    artifact = random_artifact(generator(5), Size(image=(8, 12, 1), width=10))
    artifact.save(folder / "artifact")
    config = AcceleratorConfig.for_artifact(artifact, "2x2")
    model = build_model(
        lambda: Accelerator(config=config),
        "rootshift",
        made_from=design_key("accelerator", config),
    )
    verilog = (model.library.parent / "top.v").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootshift.hw.top.Accelerator", lambda config: None)
        patch.setattr("rootshift.hw.verilog.convert", lambda component, name: verilog)
        words = ("--array", "2x2", "--images", IMAGES, "--out", folder / "out")
        outcome = invoke("generate", folder / "artifact", *words)
    assert outcome.code == 0, outcome
    return Generated(folder / "out", artifact, model.library)


@pytest.fixture(scope="module")
def board(generated: Generated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`board.c` and the driver, linked to the design."""
    program, folder = tmp_path_factory.mktemp("board") / "board", generated.library.parent
    generated.compile(
        f"-I{HERE}",
        *("-include", "board.h", HERE / "board.c", generated.out / "driver" / "rootshift.c"),
        *(f"-L{folder}", f"-l:{generated.library.name}", f"-Wl,-rpath,{folder}"),
        *("-o", program),
    )
    return program


def printed(generated: Generated, board: Path, scenario: str) -> np.ndarray:
    """The logits that a scenario prints, int64 [IMAGES, classes], or none."""
    files = (generated.out / "program" / "program.bin", generated.out / "vectors" / "pixels.bin")
    done = subprocess.run([board, scenario, *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    logits = np.array(done.stdout.split(), np.int64)
    return logits.reshape(-1, generated.logits.shape[1])


@pytest.mark.parametrize(
    "scenario",
    [
        "infer",
        "many_runs",
        "other_images",
        "other_programs",
        "damaged",
        "unmapped",
        "bus_that_hangs",
        "out_of_patience",
        "interrupts",
    ],
)
def test_the_driver_gives_the_golden_logits(
    generated: Generated, board: Path, scenario: str
) -> None:
    """Also after what goes wrong in the scenario, on the same device and without reset."""
    np.testing.assert_array_equal(printed(generated, board, scenario), generated.logits)


def test_other_devices_are_refused_before_anything_is_written(
    generated: Generated, board: Path
) -> None:
    assert printed(generated, board, "other_devices").size == 0


def test_vectors_are_golden_and_tell_images_apart(generated: Generated) -> None:
    stored = np.fromfile(generated.out / "vectors" / "logits.bin", "<i4")
    np.testing.assert_array_equal(stored, generated.logits.reshape(-1))
    assert len(np.unique(generated.logits, axis=0)) == IMAGES
    assert stored.min() < 0 < stored.max()


MAPPED = """\
#include "rootshift.h"
static uint32_t registers[ROOTSHIFT_CSR_BYTES / 4];
static uint8_t memory[ROOTSHIFT_PROGRAM_BYTES];
int main(void) {
    static const uint32_t config[] = ROOTSHIFT_PROGRAM_CONFIG;
    rootshift_device device = {registers, memory, 0x1234567000u};
    if (rootshift_open(&device) != ROOTSHIFT_NOT_THERE) return 1;
    registers[ROOTSHIFT_IDENTITY_OFFSET / 4] = ROOTSHIFT_IDENTITY_MAGIC_VALUE;
    registers[ROOTSHIFT_VERSION_OFFSET / 4] =
        ROOTSHIFT_VERSION_MAJOR_VALUE << 16 | ROOTSHIFT_VERSION_MINOR_VALUE;
    for (unsigned i = 0; i < ROOTSHIFT_CONFIG_WORDS; i++)
        registers[ROOTSHIFT_CONFIG_OFFSET / 4 + i] = config[i];
    if (rootshift_open(&device) != ROOTSHIFT_OK) return 2;
    const uint8_t pixels[ROOTSHIFT_INPUT_BYTES] = {9};
    if (rootshift_put_image(&device, ROOTSHIFT_IMAGES - 1, pixels) != ROOTSHIFT_OK) return 3;
    if (memory[ROOTSHIFT_INPUT_OFFSET + (ROOTSHIFT_IMAGES - 1) * ROOTSHIFT_INPUT_STRIDE] != 9)
        return 3;
    if (rootshift_start(&device, 1) != ROOTSHIFT_OK) return 4;
    if (registers[ROOTSHIFT_ENTRY_OFFSET / 4] != 0x34567000u) return 5;
    if (registers[ROOTSHIFT_ENTRY_OFFSET / 4 + 1] != 0x12u) return 6;
    if (registers[ROOTSHIFT_INTERRUPT_ENABLE_OFFSET / 4] != 3u) return 7;
    if (!(registers[ROOTSHIFT_CONTROL_OFFSET / 4] & ROOTSHIFT_CONTROL_START_MASK)) return 8;
    return 0;
}
"""


def test_registers_are_memory_unless_told_otherwise(generated: Generated, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(MAPPED)
    driver = generated.out / "driver" / "rootshift.c"
    generated.compile(tmp_path / "main.c", driver, "-o", tmp_path / "main")
    subprocess.run([tmp_path / "main"], check=True)


def test_cpp_can_use_the_driver(generated: Generated, tmp_path: Path) -> None:
    (tmp_path / "main.cpp").write_text(
        '#include "rootshift.h"\n#include "rootshift_isa.h"\n#include "rootshift.h"\n'
        "int main() { rootshift_device d{}; double step = ROOTSHIFT_LOGIT_STEP;\n"
        "return rootshift_poll(&d) == ROOTSHIFT_OK && step > 0; }\n"
    )
    words = (tmp_path / "main.cpp", "-c", "-o", tmp_path / "main.o")
    generated.compile(*words, cc=compiler(), standard="c++17")
    driver, library = generated.out / "driver" / "rootshift.c", tmp_path / "libdriver.so"
    generated.compile(driver, "-shared", "-fPIC", "-o", library)
    subprocess.run([compiler(), tmp_path / "main.o", library, "-o", tmp_path / "main"], check=True)


def test_the_example_of_the_guide_compiles(generated: Generated, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```c\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.S | re.M)
    (tmp_path / "example.c").write_text(example)
    generated.compile(tmp_path / "example.c", "-c", "-o", tmp_path / "example.o")
