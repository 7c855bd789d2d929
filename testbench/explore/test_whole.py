"""Whole explorations of `digits`: stopped and begun again, searched, and on a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rootshift.errors import ConfigError
from rootshift.sim.explore import Exploration, Space, explore

from ..seeds import generator

TABLE = {
    "model": {"name": "digits"},
    "images": {"first": 64, "few": 16},
    "quantization": {"bits": ["W4A4", "W6A6"], "method": ["repq", "repq+gptq"]},
    "hardware": {"array": ["4x4", "8x4", "8x8"], "bus_width": [32, 64]},
    "memory": {"read_latency": [1, 20]},
    "fpga": {"target": ["ecp5-85k", "xc7z020"]},
    "objectives": {"maximize": ["top1"], "minimize": ["latency_ms", "lut"]},
}
NSGA2 = {"sampler": "nsga2", "trials": 40, "population": 8, "seed": 3, "prune": True}


def results(found: Exploration) -> list[dict[str, Any]]:
    """Rows without what may differ between runs: nothing but where they were made."""
    return found.rows()


def keys(cache: Path) -> Counter[str]:
    """How often each result was written down."""
    return Counter(
        json.loads(line)["key"]
        for path in (cache / "results").glob("*.jsonl")
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Exploration, Path]:
    """The grid, in one go, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return explore(TABLE, folder / "out", workers=2, cache=folder / "cache"), folder


def test_the_grid_is_evaluated_and_written(whole: tuple[Exploration, Path]) -> None:
    found, folder = whole
    assert len(found.records) == Space.from_table(TABLE).size == 96
    assert {str(record.status) for record in found.records} == {"complete"}
    assert results(Exploration.load(folder / "out")) == results(found)
    assert found.made["counts"] == {
        "quantizations": 4, "quantizations kept": 0,
        "runs": 48, "runs kept": 0,
        "images": 4 * 64,
    }  # fmt: skip
    for target in ("ecp5-85k", "xc7z020"):
        assert found.front(target)


def test_a_folder_belongs_to_one_space(whole: tuple[Exploration, Path]) -> None:
    """Points are picked from it by number."""
    _, folder = whole
    other = TABLE | {"images": {"first": 32}}
    with pytest.raises(ConfigError, match="the results of another space"):
        explore(other, folder / "out", cache=folder / "cache")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "nsga2"])
def test_what_is_killed_goes_on_where_it_was(sampler: str, tmp_path: Path) -> None:
    """Nothing is lost, and nothing that was written down is computed again."""
    table = TABLE | ({"search": NSGA2} if sampler == "nsga2" else {})
    (tmp_path / "space.toml").write_text(Space.from_table(table).to_toml())
    places = [str(tmp_path / name) for name in ("space.toml", "out", "cache")]
    command = [sys.executable, "-m", "rootshift.cli.main", "explore", places[0]]
    command += ["--out", places[1], "--cache", places[2], "--workers", "2"]
    rng, kills = generator(1), 0
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # Later each time, so that there is an end.
        wait = rng.uniform(3, 8) + 2 * kills
        try:
            _, said = process.communicate(timeout=wait)
            assert process.returncode == 0, said.decode()
            break
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    print(f"{kills} kills")
    assert kills > 1
    assert set(keys(tmp_path / "cache").values()) == {1}
    fresh = explore(table, tmp_path / "other", cache=tmp_path / "fresh")
    assert results(Exploration.load(tmp_path / "out")) == results(fresh)
    assert keys(tmp_path / "cache") == keys(tmp_path / "fresh")


@pytest.mark.slow
def test_a_study_survives_the_death_of_a_node(tmp_path: Path) -> None:
    """The same records from two nodes, of which one dies in mid-run, as from this machine."""
    pytest.importorskip("ray")
    table = TABLE | {"search": NSGA2}
    local = explore(table, tmp_path / "local", cache=tmp_path / "local-cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        dead = []

        def progress(done: int, total: int, what: str) -> None:
            if what == "runs" and not dead:
                dead.append(time.monotonic())
                cluster.remove_node(node, allow_graceful=False)

        try:
            found = explore(
                table, tmp_path / "ray", engine="ray", address=cluster.address,
                cache=tmp_path / "ray-cache", progress=progress,
            )  # fmt: skip
        finally:
            cluster.shutdown()
    assert dead
    assert results(found) == results(local)
    assert keys(tmp_path / "ray-cache") == keys(tmp_path / "local-cache")
