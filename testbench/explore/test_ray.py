"""Calls on a Ray cluster: the same results as on this machine, also where a node dies."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rootshift.errors import ToolError
from rootshift.sim.explore.engine import Call, Done, Engine, LocalEngine
from rootshift.sim.explore.ray_engine import RETRIES, RayEngine
from rootshift.testbench.explore import calls

SCRIPT = """
import sys
from rootshift.sim.explore.engine import Call
from rootshift.sim.explore.ray_engine import RayEngine
from rootshift.testbench.explore import calls

with RayEngine() as engine:
    todo = [Call(str(n), calls.first, (sys.argv[1], n, "never")) for n in range(4)]
    list(engine.run([Call("a", calls.square, (sys.argv[1], 2)), *todo]))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head, where this process lives, and a node, of one core each."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        from ray.cluster_utils import Cluster

        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
        made.shutdown()


@pytest.fixture
def engine(cluster: Any) -> Iterator[Engine]:
    with RayEngine(cluster.address) as engine:
        yield engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "traces").mkdir()
    return tmp_path / "traces"


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether it came true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def results(engine: Engine, *todo: Call) -> dict[str, Done]:
    done = list(engine.run(todo))
    assert len({each.key for each in done}) == len(done) == len(todo)
    return {each.key: each for each in done}


def weighing(engine: Engine, folder: Path, count: int) -> list[Call]:
    weights = engine.share(np.arange(200_000))
    return [Call(f"k{n}", calls.weighted, (str(folder), n, weights)) for n in range(count)]


class TestPlaces:
    """Where there is no Ray."""

    def test_it_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(ToolError, match=r"^ray must be installed: pip install rootshift\[clu"):
            RayEngine()

    @pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999"])
    def test_no_address(self, address: str) -> None:
        pytest.importorskip("ray")
        with pytest.raises(ToolError, match=f"Ray must be reachable at '{address}': "):
            RayEngine(address)

    def test_nobody_answers(self) -> None:
        pytest.importorskip("ray")
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ToolError, match=f"reachable at '{address}': .*refused"):
            RayEngine(address)


@pytest.mark.slow
class TestCluster:
    """Two nodes, of which one dies."""

    def test_it_does_what_processes_of_this_machine_do(
        self, engine: Engine, folder: Path, tmp_path: Path
    ) -> None:
        assert engine.workers == 2
        there = results(engine, *weighing(engine, folder, 100))
        (tmp_path / "local").mkdir()
        with LocalEngine(2) as local:
            here = results(local, *weighing(local, tmp_path / "local", 100))
        assert there == here
        assert calls.traces(folder) == calls.traces(tmp_path / "local")
        assert not here["k0"].value["writeable"]

    @pytest.mark.parametrize("kind", ["config", "missing", "memory", "array"])
    def test_errors_of_users_are_the_same(self, engine: Engine, kind: str) -> None:
        call = Call("a", calls.fail, (kind,))
        with LocalEngine(1) as local:
            assert results(engine, call) == results(local, call)

    @pytest.mark.parametrize("kind", ["key", "exit", "odd"])
    def test_mistakes_of_ours_are_the_same(self, engine: Engine, kind: str) -> None:
        raised = []
        with LocalEngine(1) as local:
            for each in (engine, local):
                with pytest.raises(Exception, match=r"key|Exit|Odd") as caught:
                    list(each.run([Call("a", calls.fail, (kind,))]))
                assert "in fail" in caught.value.__notes__[0]
                raised.append((type(caught.value), str(caught.value)))
        assert raised[0] == raised[1]

    def test_what_cannot_travel_back(self, engine: Engine) -> None:
        with pytest.raises(AttributeError, match="pickle"):
            list(engine.run([Call("a", calls.unpicklable)]))

    def test_a_worker_dies(self, engine: Engine, folder: Path) -> None:
        todo = [Call("once", calls.die, (str(folder), "once", 1)),
                Call("always", calls.die, (str(folder), "always", 99))]  # fmt: skip
        done = results(engine, *todo, *weighing(engine, folder, 10))
        assert done["once"] == Done("once", 2)
        assert done["always"].error.startswith(f"its worker died {RETRIES + 1} times: ")
        assert calls.traces(folder)["always"] == RETRIES + 1
        assert not any(done[f"k{n}"].error for n in range(10))

    def test_other_sources_are_refused(
        self, engine: RayEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Results of theirs would be kept under the keys of ours."""
        monkeypatch.setattr(engine, "_sources", "another")
        with pytest.raises(ToolError, match=r"same sources of rootshift, not others, as \S+$"):
            list(engine.run(weighing(engine, folder, 5)))
        assert not calls.traces(folder)

    def test_left_early_it_ends_what_runs(self, engine: Engine, folder: Path) -> None:
        never = [Call(str(n), calls.first, (str(folder), n, "never")) for n in (1, 2, 3)]
        run = engine.run([Call("a", calls.square, (str(folder), 0)), *never])
        assert next(run).key == "a"
        assert until(lambda: len(calls.traces(folder)) >= 3)
        run.close()
        busy = {int(path.name.split(".")[1]) for path in folder.glob("[123].*")}
        assert until(lambda: not any(map(calls.alive, busy)))
        assert results(engine, Call("a", calls.square, (str(folder), 3)))["a"].value == 9

    def test_a_node_dies_and_another_joins(
        self, cluster: Any, engine: Engine, folder: Path, tmp_path: Path
    ) -> None:
        """A call waits on each core, and one core is torn away. Two wait for each other at last."""
        gates = [Call(f"gate{n}", calls.first, (str(folder), n, "open")) for n in (1000, 1001)]
        pair = [
            Call(f"pair{n}", calls.first, (str(folder), n, str(other)))
            for n, other in ((2000, 2001), (2001, 2000))
        ]

        def strike() -> None:
            until(lambda: calls.traces(folder).keys() >= {"1000", "1001"})
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
            # Its worker ends when it misses its node; until then it could still answer.
            until(lambda: not all(map(calls.alive, calls.processes(folder))))
            calls.trace(str(folder), "open")

        thread = threading.Thread(target=strike)
        thread.start()
        done = {}
        for each in engine.run([*gates, *weighing(engine, folder, 40), *pair]):
            if not done:
                cluster.add_node(num_cpus=1)
            done[each.key] = each
        thread.join()
        ran = calls.traces(folder)
        assert ran.pop("open") == 1
        assert ran.pop("1000") + ran.pop("1001") == 3
        assert ran == dict.fromkeys([*map(str, range(40)), "2000", "2001"], 1)
        assert {done.pop(call.key).value for call in (*gates, *pair)} == {1000, 1001, 2000, 2001}
        (tmp_path / "local").mkdir()
        with LocalEngine(2) as local:
            assert done == results(local, *weighing(local, tmp_path / "local", 40))


@pytest.mark.slow
class TestOwn:
    """A Ray of its own on this machine."""

    def test_an_interrupt_leaves_nobody(self, folder: Path) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment,
        )  # fmt: skip
        assert until(lambda: len(calls.traces(folder)) >= 3)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in said
        assert process.returncode == -signal.SIGINT
        assert until(lambda: not any(map(calls.alive, calls.processes(folder))))
