"""The store: nothing is lost to a kill, several may write at once, and keys follow the code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from rootshift.artifact import MANIFEST, TENSORS, Artifact
from rootshift.errors import OutputError
from rootshift.sim.explore import store as module
from rootshift.sim.explore.store import SOURCES, Store, code_digest, content_key

from ..random_model import random_artifact
from ..test_layers import PYTHON_FILES, ROOT, imports, module_name

WRITER = """
import sys
from rootshift.sim.explore.store import Store
store = Store(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.put(f"key{number}", {"number": number, "fill": "x" * 300})
    print(number, flush=True)
"""


def writer(folder: Path, start: int, end: int) -> subprocess.Popen[str]:
    """A process that keeps results, and prints the number of each that it has kept."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(start), str(end)],
        stdout=subprocess.PIPE,
        text=True,
    )


def values(folder: Path, numbers: range) -> list[int | None]:
    with Store(folder) as store:
        found = [store.get(f"key{number}") for number in numbers]
    return [None if each is None else each["number"] for each in found]


@pytest.fixture
def artifact() -> Artifact:
    return random_artifact(np.random.default_rng(3))


@pytest.mark.parametrize(
    "value", [{"b": [1, 2.5, None], "a": {"é": True}}, 0.1 + 0.2, "", [], 2**70, 5e-324]
)
def test_a_value_comes_back_now_and_later(tmp_path: Path, value: object) -> None:
    with Store(tmp_path / "new" / "store") as store:
        assert store.get("key") is None
        store.put("key", value)
        assert (store.get("key"), len(store)) == (value, 1)
    with Store(tmp_path / "new" / "store") as store:
        assert (store.get("key"), len(store), store.damaged) == (value, 1, 0)


def test_a_value_is_the_same_before_and_after_reopening(tmp_path: Path) -> None:
    """Also where JSON changes it, and where somebody changes what `get` gave."""
    with Store(tmp_path) as store:
        store.put("key", {1: (2, 3)})
        store.get("key")["1"].append(4)
        assert store.get("key") == {"1": [2, 3]} == Store(tmp_path).get("key")


def test_the_first_value_stays(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put("key", 1)
        store.put("key", 2)
        assert store.get("key") == 1
    assert Store(tmp_path).get("key") == 1


@pytest.mark.parametrize("value", [float("nan"), {"a": [float("inf")]}, object(), {(1, 2): 3}])
def test_what_is_not_json_is_refused_whole(tmp_path: Path, value: object) -> None:
    with Store(tmp_path) as store:
        store.put("before", 1)
        with pytest.raises((TypeError, ValueError)):
            store.put("key", value)
        store.put("after", 2)
    again = Store(tmp_path)
    assert [again.get(key) for key in ("before", "key", "after")] == [1, None, 2]
    assert again.damaged == 0


def test_a_kill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """Five writers one after the other, each killed by the system in the middle of its work."""
    kept = 0
    for _ in range(5):
        with writer(tmp_path, kept, 10**9) as process:
            for _ in range(137):
                last = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            # Lines it had printed before it died are promises, too.
            last = int(([str(last), *process.stdout.read().split()])[-1])
        assert process.returncode == -signal.SIGKILL
        assert values(tmp_path, range(last + 1)) == list(range(last + 1))
        kept = last + 1
    assert len(list((tmp_path / "results").iterdir())) == 5


def test_two_writers_at_once(tmp_path: Path) -> None:
    with writer(tmp_path, 0, 600) as one, writer(tmp_path, 400, 1000) as two:
        one.communicate()
        two.communicate()
    assert (one.returncode, two.returncode) == (0, 0)
    assert values(tmp_path, range(1000)) == list(range(1000))


def test_what_another_writes_is_seen_on_refresh(tmp_path: Path) -> None:
    with Store(tmp_path) as one, Store(tmp_path) as two:
        for number in range(3):
            two.put(f"key{number}", number)
            assert one.get(f"key{number}") is None
            one.refresh()
            assert one.get(f"key{number}") == number
        one.put("own", 1)
        one.refresh()
        assert (len(one), one.damaged) == (4, 0)


@pytest.mark.parametrize("cut", [1, 2, 20, -1])
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    """However much of it is there, and it can be completed later, as by a copy that goes on."""
    with Store(tmp_path) as store:
        for number in range(3):
            store.put(f"key{number}", number)
    [path] = (tmp_path / "results").iterdir()
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + lines[2][:cut])
    with Store(tmp_path) as store:
        assert [store.get(f"key{number}") for number in range(3)] == [0, 1, None]
        store.put("key9", 9)
        path.write_bytes(whole)
        store.refresh()
        assert [store.get(f"key{number}") for number in (0, 1, 2, 9)] == [0, 1, 2, 9]
        assert store.damaged == 0


@pytest.mark.parametrize(
    "line", [b"", b"\0\0\0", b"{}", b"[1]", b'{"key": 1, "value": 2}', b"\xff"]
)
def test_a_damaged_line_costs_only_itself(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "results").mkdir()
    good = b'{"key": "a", "value": 1}\n', b'{"key": "b", "value": 2}\n'
    (tmp_path / "results" / "x.jsonl").write_bytes(good[0] + line + b"\n" + good[1])
    store = Store(tmp_path)
    assert (store.get("a"), store.get("b"), len(store), store.damaged) == (1, 2, 2, 1)


def test_a_full_disk_harms_no_later_result(tmp_path: Path) -> None:
    """The limit on the size of a file stands for the disk's."""
    script = (
        "import resource, signal, sys\n"
        "from rootshift.errors import OutputError\n"
        "from rootshift.sim.explore.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "store = Store(sys.argv[1])\n"
        "store.put('a', 'x' * 600)\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        store.put('b', 'x' * (600 if _ == 0 else 2000))\n"
        "    except OutputError as error:\n"
        "        print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "assert store.get('b') is None\n"
        "store.put('b', 2)\n"
        "store.put('c', 3)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.count(f"{tmp_path / 'results'}: cannot be written: ") == 2
    store = Store(tmp_path)
    assert [store.get(key) for key in "abc"] == ["x" * 600, 2, 3]


def test_two_folders_are_merged_by_copying(tmp_path: Path, artifact: Artifact) -> None:
    other = random_artifact(np.random.default_rng(4))
    for name, model in (("one", artifact), ("two", other)):
        with Store(tmp_path / name) as store:
            store.put(name, name)
            store.put("both", 5)
            store.keep_artifact(name, model)
    shutil.copytree(tmp_path / "two", tmp_path / "one", dirs_exist_ok=True)
    store = Store(tmp_path / "one")
    assert [store.get(key) for key in ("one", "two", "both")] == ["one", "two", 5]
    assert store.artifact("one").digest == artifact.digest
    assert store.artifact("two").digest == other.digest


def test_of_two_values_the_older_counts_on_every_machine(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    for name, value in (("20270102T000000Z-00", 2), ("20270101T000000Z-ff", 1)):
        text = json.dumps({"key": "key", "value": value}) + "\n"
        (tmp_path / "results" / f"{name}.jsonl").write_text(text)
    assert Store(tmp_path).get("key") == 1


class TestArtifacts:
    """Artifacts by key: whole, or not there."""

    def test_it_comes_back(self, tmp_path: Path, artifact: Artifact) -> None:
        with Store(tmp_path) as store:
            assert store.artifact("key") is None
            store.keep_artifact("key", artifact)
            store.keep_artifact("key", random_artifact(np.random.default_rng(8)))
        assert Store(tmp_path).artifact("key").digest == artifact.digest

    @pytest.mark.parametrize("name", [MANIFEST, TENSORS])
    def test_a_part_of_one_is_none_and_can_be_replaced(
        self, tmp_path: Path, artifact: Artifact, name: str
    ) -> None:
        store = Store(tmp_path)
        store.keep_artifact("key", artifact)
        path = tmp_path / "artifacts" / "key" / name
        path.write_bytes(path.read_bytes()[:-5])
        assert store.artifact("key") is None
        store.keep_artifact("key", artifact)
        assert store.artifact("key").digest == artifact.digest

    def test_another_may_be_faster(
        self, tmp_path: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It puts its own in the place between the look and the write."""
        one, two = Store(tmp_path), Store(tmp_path)
        rename = Path.rename

        def late(self: Path, target: Path) -> Path:
            monkeypatch.setattr(Path, "rename", rename)
            two.keep_artifact("key", artifact)
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", late)
        one.keep_artifact("key", artifact)
        assert one.artifact("key").digest == artifact.digest
        assert os.listdir(tmp_path / "artifacts") == ["key"]


def test_a_place_that_cannot_be_a_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: cannot be written: "):
        Store(tmp_path / "file")
    with pytest.raises(OutputError, match=r"store: cannot be written: Not a directory"):
        Store(tmp_path / "file" / "store")


class TestKeys:
    """Keys stand for the inputs and for the code."""

    def test_order_does_not_count_but_all_else_does(self) -> None:
        key = content_key("accuracy", images=3, artifact="a")
        assert key == content_key("accuracy", artifact="a", images=3)
        assert len(key) == 64
        assert len(
            {
                key,
                content_key("accuracy", artifact="b", images=3),
                content_key("accuracy", artifact="a", images=4),
                content_key("accuracy", artifact="a"),
                content_key("accuracy", artifact="a", images=3, more=None),
                content_key("hardware", artifact="a", images=3),
            }
        ) == 6  # fmt: skip

    def test_what_has_no_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"kind must be one of quantization, .*, not 'clock'"):
            content_key("clock")
        with pytest.raises(ValueError, match="not JSON compliant"):
            content_key("accuracy", value=float("nan"))
        with pytest.raises(TypeError):
            content_key("accuracy", value=np.int64(3))

    @pytest.mark.parametrize("kind", SOURCES)
    def test_all_that_the_sources_import_counts(self, kind: str) -> None:
        """Otherwise a change there would leave results of the old code in use."""
        counted = {name for name, _ in module._files(SOURCES[kind])}
        modules = {module_name(path): path for path in PYTHON_FILES}
        files = {
            name
            for name, path in modules.items()
            if (path if path.startswith("rootshift/") else f"rootshift/{path}") in counted
        }
        assert len(files) == len([name for name in counted if name.endswith(".py")])
        missing = set()
        # Tasks are of every kind: each calls the code of its own.
        for name in files - {"rootshift.sim.explore.tasks"}:
            for target, _ in imports(modules[name]):
                while target and target not in modules:
                    target = target.rpartition(".")[0]
                if target and target not in files and (ROOT / modules[target]).stat().st_size:
                    missing.add(f"{modules[name]} imports {target}")
        assert not missing

    def test_an_installed_copy_has_the_same(self, tmp_path: Path) -> None:
        """The packages put together as in a wheel, and then changed here and there."""
        setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        for package, folder in sorted(setup["tool"]["setuptools"]["package-dir"].items()):
            if "testbench" not in package:
                shutil.copytree(ROOT / folder, tmp_path / package.replace(".", "/"),
                                ignore=shutil.ignore_patterns("__pycache__"),
                                dirs_exist_ok=True)  # fmt: skip
        assert installed(tmp_path) == {kind: code_digest(kind) for kind in SOURCES}
        (tmp_path / "rootshift" / "quant" / "__pycache__").mkdir(exist_ok=True)
        for name, kinds in (
            ("rootshift/bits.py", set(SOURCES)),
            ("rootshift/sim/explore/tasks.py", set(SOURCES)),
            ("rootshift/sim/explore/point.py", set()),
            ("rootshift/quant/methods/repq.py", {"quantization"}),
            ("rootshift/sim/golden/gemm.py", {"accuracy"}),
            ("rootshift/sim/cycles/design.h", {"hardware"}),
            ("rootshift/sim/area/model.py", {"area"}),
            ("rootshift/sim/area/runs.csv", {"area"}),
            ("rootshift/sim/trace.py", set()),
            ("rootshift/quant/__pycache__/bits.cpython-311.pyc", set()),
        ):
            before = installed(tmp_path)
            with (tmp_path / name).open("a") as file:
                file.write("\n")
            after = installed(tmp_path)
            assert {kind for kind in SOURCES if before[kind] != after[kind]} == kinds, name

    def test_versions_of_libraries_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = {kind: code_digest.__wrapped__(kind) for kind in SOURCES}
        monkeypatch.setattr(module.metadata, "version", lambda name: "0.0")
        after = {kind: code_digest.__wrapped__(kind) for kind in SOURCES}
        assert {kind for kind in SOURCES if before[kind] != after[kind]} == {"quantization"}


def installed(folder: Path) -> dict[str, str]:
    """Code digests by the package that lies in a folder."""
    script = (
        "import json, rootshift, rootshift.sim.explore.store as s, sys\n"
        "assert rootshift.__file__.startswith(sys.argv[1]), rootshift.__file__\n"
        "assert 'torch' not in sys.modules\n"
        "print(json.dumps({kind: s.code_digest(kind) for kind in s.SOURCES}))\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
