"""Calls in processes of this machine: all are done, whoever dies, and nothing is left running."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rootshift.errors import ConfigError, ToolError
from rootshift.sim.explore import worker
from rootshift.sim.explore.engine import Call, Done, Engine, LocalEngine
from rootshift.sim.explore.store import Store
from rootshift.sim.explore.worker import THREAD_VARIABLES
from rootshift.testbench.explore import calls

SCRIPT = """
import sys
from pathlib import Path
from rootshift.sim.explore.engine import Call, LocalEngine
from rootshift.sim.explore.store import Store
from rootshift.testbench.explore import calls

def main(folder, number, seconds):
    with Store(folder / "store") as store, LocalEngine(2) as engine:
        wanted = [n for n in range(number) if store.get(str(n)) is None]
        todo = (Call(str(n), calls.square, (str(folder / "traces"), n, seconds)) for n in wanted)
        for done in engine.run(todo):
            store.put(done.key, done.value)
            print(done.key, flush=True)

if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with LocalEngine(2) as engine:
        yield engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "traces").mkdir()
    return tmp_path / "traces"


def results(engine: Engine, *todo: Call) -> dict[str, Done]:
    done = list(engine.run(todo))
    assert len({each.key for each in done}) == len(done) == len(todo)
    return {each.key: each for each in done}


def gone(processes: set[int], seconds: float = 20) -> bool:
    """Whether none of these processes is left, after a while at the latest."""
    end = time.monotonic() + seconds
    while any(map(calls.alive, processes)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(calls.alive, processes))


def until_traced(folder: Path, number: int) -> None:
    """Wait until so many calls have begun."""
    while sum(calls.traces(folder).values()) < number:
        time.sleep(0.01)


class TestResults:
    """What comes of calls."""

    def test_every_call_once_in_processes_of_their_own(self, engine: Engine, folder: Path) -> None:
        done = results(engine, *(Call(f"k{n}", calls.square, (str(folder), n)) for n in range(50)))
        assert done == {f"k{n}": Done(f"k{n}", n * n) for n in range(50)}
        assert calls.traces(folder) == {str(n): 1 for n in range(50)}
        assert len(calls.processes(folder)) == 2
        assert os.getpid() not in calls.processes(folder)

    def test_nothing_to_do(self, engine: Engine) -> None:
        assert not list(engine.run(()))

    def test_a_result_comes_while_another_call_runs(self, engine: Engine, folder: Path) -> None:
        """The long call ends only after the result of the short one has been seen."""
        found = []
        todo = [
            Call("long", calls.first, (str(folder), 1, "seen")),
            Call("short", calls.square, (str(folder), 2)),
        ]
        for done in engine.run(todo):
            found.append(done.key)
            calls.trace(str(folder), "seen")
        assert found == ["short", "long"]

    def test_calls_are_fetched_as_they_are_needed(self, engine: Engine, folder: Path) -> None:
        fetched = itertools.count()
        todo = (Call(str(n), calls.square, (str(folder), n)) for n in fetched)
        run = engine.run(todo)
        for _ in range(10):
            next(run)
        run.close()
        assert next(fetched) <= 10 + 2 * engine.workers + 1

    def test_results_lead_to_further_calls(self, engine: Engine, folder: Path) -> None:
        waiting = deque([Call("2", calls.square, (str(folder), 2))])

        class Waiting:
            def __iter__(self) -> "Waiting":
                return self

            def __next__(self) -> Call:
                if not waiting:
                    raise StopIteration
                return waiting.popleft()

        values = []
        for done in engine.run(Waiting()):
            values.append(done.value)
            if len(values) < 4:
                waiting.append(Call(str(done.value), calls.square, (str(folder), done.value)))
        assert values == [4, 16, 256, 65536]

    def test_a_run_within_a_run(self, engine: Engine, folder: Path) -> None:
        outer = [Call(str(n), calls.square, (str(folder), n, 0.05)) for n in range(6)]
        found = []
        for done in engine.run(outer):
            inner = Call(f"in{done.key}", calls.square, (str(folder), done.value))
            found.append((int(done.key), results(engine, inner)[inner.key].value))
        assert sorted(found) == [(n, n**4) for n in range(6)]

    def test_left_early_it_ends_what_runs_and_can_be_used_again(
        self, engine: Engine, folder: Path
    ) -> None:
        todo = [Call("first", calls.square, (str(folder), 1)),
                Call("endless", calls.first, (str(folder), 2, "never"))]  # fmt: skip
        run = engine.run(todo)
        assert next(run).key == "first"
        until_traced(folder, 2)
        run.close()
        [busy] = {int(path.name.split(".")[1]) for path in folder.glob("2.*")}
        assert gone({busy})
        assert results(engine, Call("a", calls.square, (str(folder), 3)))["a"].value == 9


class TestSharing:
    """Large arguments are written once, and arrive whole."""

    def test_a_value_arrives(self, engine: Engine) -> None:
        array = np.arange(100_000)
        shared = engine.share(array)
        assert results(engine, Call("a", calls.total, (shared,)))["a"].value == (
            array.sum(),
            False,
        )

    @pytest.mark.parametrize(
        "value", [None, [], {"a": [np.zeros((0, 3)), np.arange(6).reshape(2, 3).T, "x" * 10_000]}]
    )
    def test_any_value_arrives(self, tmp_path: Path, value: object) -> None:
        found = worker.read_shared(worker.write_shared(tmp_path / "x", value))
        assert repr(found) == repr(value)

    def test_a_worker_reads_it_once_and_keeps_the_last_few(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made = [worker.write_shared(tmp_path / str(n), [n]) for n in range(worker.KEPT + 1)]
        first = worker.read_shared(made[1])
        assert [worker.read_shared(each) for each in made] == [[n] for n in range(len(made))]
        assert worker.read_shared(made[1]) is first
        made[0] = worker.Shared(made[0].path, made[0].offset)
        (tmp_path / "0").unlink()
        with pytest.raises(FileNotFoundError):
            worker.read_shared(made[0])

    def test_its_file_ends_with_the_stand_in(self) -> None:
        with LocalEngine(1) as engine, LocalEngine(1):
            kept, dropped = engine.share([1]), engine.share([2])
            places = Path(kept.path), Path(dropped.path)
            del dropped
            assert [place.exists() for place in places] == [True, False]
        assert not places[0].parent.exists()


class TestErrors:
    """Of the user, of the machine, and ours."""

    def test_what_a_user_can_mend_is_the_text_of_a_result(self, engine: Engine) -> None:
        kinds = ("config", "missing", "memory", "array")
        done = results(engine, *(Call(kind, calls.fail, (kind,)) for kind in kinds))
        assert all(each.value is None for each in done.values())
        assert done["config"].error == "rows must be 1 to 64, not 65"
        assert done["missing"].error == "/nonexistent/file: No such file or directory"
        assert done["memory"].error == "memory is used up"
        assert done["array"].error.startswith("memory is used up: Unable to allocate")

    @pytest.mark.parametrize(
        ("kind", "expected", "text"),
        [
            ("key", KeyError, "'key'"),
            ("exit", RuntimeError, "SystemExit in a worker process: 0"),
            ("odd", RuntimeError, "OddError in a worker process: onetwo"),
        ],
    )
    def test_a_mistake_of_ours_is_raised_with_its_traceback(
        self, engine: Engine, kind: str, expected: type[Exception], text: str
    ) -> None:
        with pytest.raises(expected) as caught:
            list(engine.run([Call("a", calls.fail, (kind,))]))
        assert str(caught.value) == text
        [note] = caught.value.__notes__
        assert "calls.py" in note
        assert "in fail" in note

    def test_what_cannot_travel(self, engine: Engine, folder: Path) -> None:
        with pytest.raises(Exception, match="pickle"):
            list(engine.run([Call("a", calls.unpicklable)]))
        with pytest.raises(Exception, match="pickle"):
            list(engine.run([Call("a", calls.square, (str(folder), lambda: 0))]))
        assert results(engine, Call("a", calls.square, (str(folder), 3)))["a"].value == 9

    @pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
    def test_workers_are_a_number(self, workers: object) -> None:
        with pytest.raises(ConfigError, match=f"integer of 1 or more, not {workers!r}"):
            LocalEngine(workers)

    def test_processes_that_cannot_start(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
        with (
            LocalEngine(2) as engine,
            pytest.raises(ToolError, match="must be able to start: exit code 1"),
        ):
            list(engine.run([Call("a", calls.square, (str(folder), 3))]))


class TestDeath:
    """Whoever is killed, every call is done."""

    def test_a_call_that_dies_once_is_repeated(self, engine: Engine, folder: Path) -> None:
        todo = [Call(f"k{n}", calls.square, (str(folder), n)) for n in range(20)]
        done = results(
            engine, *todo[:7], Call("die", calls.die, (str(folder), "die", 1)), *todo[7:]
        )
        assert done["die"] == Done("die", 2)
        assert {done[f"k{n}"].value for n in range(20)} == {n * n for n in range(20)}
        assert calls.traces(folder) == {**{str(n): 1 for n in range(20)}, "die": 2}

    def test_one_that_dies_always_is_an_error_and_the_only_one(
        self, engine: Engine, folder: Path
    ) -> None:
        todo = [Call(f"k{n}", calls.square, (str(folder), n)) for n in range(20)]
        done = results(
            engine, *todo[:7], Call("die", calls.die, (str(folder), "die", 99)), *todo[7:]
        )
        assert done.pop("die").error == "its worker process died 2 times: SIGKILL"
        assert not any(each.error for each in done.values())
        assert calls.traces(folder) == {**{str(n): 1 for n in range(20)}, "die": 2}

    def test_an_idle_worker_may_die(self, folder: Path) -> None:
        with LocalEngine(2) as engine:
            results(engine, *(Call(str(n), calls.square, (str(folder), n, 0.1)) for n in range(4)))
            for process in calls.processes(folder):
                os.kill(process, signal.SIGKILL)
            # A zombie's other threads may still hold its files; one that was waited for is gone.
            while calls.processes(folder) & {
                each.pid for each in multiprocessing.active_children()
            }:
                time.sleep(0.01)
            assert results(engine, Call("a", calls.square, (str(folder), 3)))["a"].value == 9

    def test_close_ends_what_is_busy(self, folder: Path) -> None:
        engine = LocalEngine(2)
        never = [Call(str(n), calls.first, (str(folder), n, "never")) for n in (1, 2)]
        run = engine.run([Call("0", calls.square, (str(folder), 0)), *never])
        next(run)
        until_traced(folder, 2)
        engine.close()
        assert gone(calls.processes(folder))
        run.close()

    def test_a_killed_run_goes_on_where_it_was(self, tmp_path: Path, folder: Path) -> None:
        """The whole run is killed; what was kept is not computed again, and nothing is missing."""
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), "40", "0.02"]
        (tmp_path / "temporary").mkdir()
        environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            for _ in range(15):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        assert gone(calls.processes(folder))
        before = calls.traces(folder)
        kept = {
            key for key in map(str, range(40)) if Store(tmp_path / "store").get(key) is not None
        }
        assert 15 <= len(kept) < 40
        assert len(os.listdir(tmp_path / "temporary")) == 1
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
        assert not os.listdir(tmp_path / "temporary")
        after = calls.traces(folder)
        assert {key for key, times in after.items() if times > 1} <= before.keys() - kept
        assert after.keys() == {str(n) for n in range(40)}
        # Only those that were being computed, one a worker, and those on their way to the store.
        assert sum(after.values()) <= 40 + 4
        store = Store(tmp_path / "store")
        assert [store.get(str(n)) for n in range(40)] == [n * n for n in range(40)]

    @pytest.mark.parametrize("everybody", [False, True], ids=["driver", "group"])
    def test_an_interrupt_leaves_nobody(
        self, tmp_path: Path, folder: Path, everybody: bool
    ) -> None:
        """Ctrl-C reaches the whole group; only the driver has something to say."""
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), "10", "3600"]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        until_traced(folder, 2)
        (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGINT
        assert said.count("KeyboardInterrupt") == 1
        assert said.count("Traceback") == 1
        assert gone(calls.processes(folder))


class TestSurroundings:
    """What a worker finds."""

    def test_cores_are_divided(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in THREAD_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(13)))
        names = (*THREAD_VARIABLES, "CALLS_TEST")
        monkeypatch.setenv("CALLS_TEST", "seen")
        with LocalEngine(3) as engine:
            done = results(engine, Call("a", calls.environment, (names,)))
        assert done["a"].value == ["4", "4", "4", "seen"]
        assert not set(THREAD_VARIABLES) & os.environ.keys()
        assert LocalEngine().workers == 13

    def test_the_user_has_the_last_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        with LocalEngine(1) as engine:
            done = results(engine, Call("a", calls.environment, (("OMP_NUM_THREADS",),)))
        assert done["a"].value == ["7"]
        assert os.environ["OMP_NUM_THREADS"] == "7"

    def test_no_library_is_loaded_before_the_environment_is_read(self) -> None:
        script = "import rootshift.sim.explore.worker, sys; print('numpy' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        assert done.stdout == b"False\n"

    def test_standard_output_is_the_drivers(
        self, engine: Engine, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with LocalEngine(1) as engine:
            results(engine, Call("a", calls.chatter))
        said = capfd.readouterr()
        assert said.out == ""
        assert said.err == "from Python\nfrom C\n"
