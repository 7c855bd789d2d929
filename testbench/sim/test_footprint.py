"""The words that a command is said to touch are those that it touches when it is carried out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rootshift.config import AcceleratorConfig
from rootshift.footprint import Footprint, Region, Space, footprint
from rootshift.isa import Command, Mode
from rootshift.sim.machine import machine
from rootshift.sim.machine.state import Room, State

from ..hw.compiled import built
from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator

Words = dict[Space, set[int]]
CASES = {
    "digits and heads": ("4x4", "W6A3", Size(width=18, heads=3), {}),
    "more rows": ("8x4", "W4A4", Size(image=(8, 12, 3), width=20, classes=7), {"images": 2}),
    "more columns": ("4x8", "W4A4", Size(image=(12, 8, 3), width=14), {"norm_bands": 3}),
    "mean of a batch": ("4x4", "W4A4", Size(prefix=3, pool="avg"), {"images": 4, "batch": 2}),
}


class Watched(np.ndarray):
    """A buffer that calls `touched` with the first index of every access."""

    touched: Any

    def __getitem__(self, key: Any) -> Any:
        self.touched("reads", key)
        return np.asarray(self)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.touched("writes", key)
        np.asarray(self)[key] = value


def words(regions: tuple[Region, ...]) -> Words:
    found: Words = {space: set() for space in Space}
    for region in regions:
        found[region.space].update(region.words().tolist())
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_command_touches_its_footprint(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array, bits, size, options = CASES[case]
    rng = generator(1, list(CASES).index(case))
    artifact = random_artifact(rng, size, bits=bits)
    program = built(artifact, array, **options)
    at_work: dict[str, Words] = {}
    seen: list[tuple[Command, dict[str, Words]]] = []

    class WatchedState(State):
        def __init__(self, config: AcceleratorConfig, memory: bytearray, room: Room) -> None:
            super().__init__(config, memory, room)
            for name, space in (("codes", Space.CODES), ("residual", Space.RESIDUAL)):
                buffer = getattr(self, name).view(Watched)
                buffer.touched = lambda kind, key, space=space: at_work[kind][space].update(
                    np.atleast_1d(key[0] if isinstance(key, tuple) else key).reshape(-1).tolist()
                )
                setattr(self, name, buffer)

    def watched(execute: Any) -> Any:
        def steps(state: State, command: Command) -> Iterator[bool]:
            touched = {kind: words(()) for kind in ("reads", "writes")}
            seen.append((command, touched))
            generator = execute(state, command)
            while True:
                at_work.update(touched)
                try:
                    yield next(generator)
                except StopIteration:
                    return

        return steps

    monkeypatch.setattr(machine, "State", WatchedState)
    for name, execute in machine.EXECUTE.items():
        monkeypatch.setitem(machine.EXECUTE, name, watched(execute))
    machine.Machine(program).run(random_pixels(rng, artifact, program.images))
    assert len(seen) == len(program.commands) - 1
    for command, touched in seen:
        said = footprint(command, program.config)
        assert touched == {"reads": words(said.reads), "writes": words(said.writes)}, str(command)


def test_codes_of_dropped_chunks_are_not_written() -> None:
    config = AcceleratorConfig(rows=16, cols=16, lanes=8)
    operands = {"mode": Mode.CODES, "tokens": 5, "groups": 2, "chunks": 1, "base": 7, "stride": 9}
    assert footprint(Command("STORE", operands), config).writes == (
        Region(Space.CODES, 7, 5, 9, 1),
    )
    # What groups do not fill does not count, however many chunks are asked for.
    store = Command("STORE", operands | {"chunks": 99})
    assert footprint(store, config).writes == (Region(Space.CODES, 7, 5, 9, 2),)


@pytest.mark.parametrize("name", ["FETCH", "TABLE", "WEIGHTS"])
def test_streams_touch_no_buffer(name: str) -> None:
    assert footprint(Command(name), AcceleratorConfig()) == Footprint()


@pytest.mark.parametrize("seed", range(20))
def test_a_region_is_the_same_as_words_and_as_a_view(seed: int) -> None:
    rng = generator(2, seed)
    run, stride, count = (int(n) for n in rng.integers(1, 9, 3))
    region = Region(Space.CODES, int(rng.integers(0, 9)), run, stride, count)
    words = np.zeros(region.stop, np.int32)
    region.of(words)[...] = 1
    assert np.flatnonzero(words).tolist() == sorted(set(region.words().tolist()))
    assert region.stop == region.words().max() + 1
    with pytest.raises(ValueError, match=f"words must be at least {region.stop}, not"):
        region.of(words[:-1])
