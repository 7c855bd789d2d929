"""Waits between commands of different units, from the words that they read and write."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...errors import ProgramError
from ...footprint import Region, Space
from ...isa import COUNT_WIDTH, WAITS, Unit


@dataclass(frozen=True)
class Event:
    """A command of the program as others see it: its unit, its number there (from 1), and how many
    commands of every unit have finished when it has finished; `fed_by` is the command whose stream
    it consumes."""

    unit: Unit
    number: int
    finish: np.ndarray
    fed_by: "Event | None" = None

    def feeders(self) -> "Iterable[Event]":
        """The commands that run beside it and give it data, nearest first."""
        event = self.fed_by
        while event is not None:
            yield event
            event = event.fed_by


class Tracker:
    """Finds what each command must wait for.

    Per word and unit it keeps the unit's last command that wrote it and the last that read it.
    Units take their commands in order, so earlier ones need no wait of their own; and what is known
    to have finished when a command starts needs none either.
    """

    def __init__(self, depths: Mapping[Space, int]) -> None:
        self.depths = depths
        self.events: dict[Unit, list[Event]] = {unit: [] for unit in Unit}
        self.written: dict[tuple[Space, Unit], np.ndarray] = {}
        self.read: dict[tuple[Space, Unit], np.ndarray] = {}

    def add(
        self,
        name: str,
        unit: Unit,
        reads: Sequence[Region] = (),
        writes: Sequence[Region] = (),
        *,
        fed_by: Event | None = None,
    ) -> tuple[Event, dict[Unit, int]]:
        """The next command of the program: its event and what it waits for.

        Parameters: `name` for messages; `fed_by`, the command whose stream this one consumes to the
        end, so that it has finished when this one has.
        Raises: ProgramError where a region lies beyond its buffer, where two waits are too few, or
        where a command would wait for the one that feeds it.
        """
        events = self.events[unit]
        number = len(events) + 1
        if number >= 1 << COUNT_WIDTH:
            raise ProgramError(
                f"{name}: commands of {unit.name} must be fewer than {1 << COUNT_WIDTH}"
            )
        known = events[-1].finish if events else np.zeros(len(Unit), np.int64)
        need = self._need(name, reads, writes)
        need[unit] = 0
        waits = self._waits(name, {Unit(u): int(need[u]) for u in np.flatnonzero(need > known)})
        before = [self.events[other][count - 1] for other, count in waits.items()]
        before += [] if fed_by is None else [fed_by]
        finish = np.maximum.reduce([known, *(event.finish for event in before)])
        finish[unit] = number
        event = Event(unit, number, finish, fed_by)
        for feeder in event.feeders():
            if waits.get(feeder.unit, 0) >= feeder.number:
                raise ProgramError(
                    f"{name}: internal error: waits for {feeder.unit.name}, its feed"
                )
        events.append(event)
        for kept, regions in ((self.read, reads), (self.written, writes)):
            for region in regions:
                region.of(self._words(kept, region.space, unit))[...] = number
        return event, waits

    def _words(self, kept: dict, space: Space, unit: Unit) -> np.ndarray:
        if (space, unit) not in kept:
            kept[space, unit] = np.zeros(self.depths[space], np.int32)
        return kept[space, unit]

    def _need(self, name: str, reads: Sequence[Region], writes: Sequence[Region]) -> np.ndarray:
        need = np.zeros(len(Unit), np.int64)
        for region, tables in [
            *((region, (self.written,)) for region in reads),
            *((region, (self.written, self.read)) for region in writes),
        ]:
            depth = self.depths[region.space]
            if region.stop > depth:
                raise ProgramError(
                    f"{region.space.value} must hold {region.stop} words for {name}, not {depth}"
                )
            for table in tables:
                for (space, unit), words in table.items():
                    if space is region.space:
                        need[unit] = max(need[unit], region.of(words).max())
        return need

    def _waits(self, name: str, need: dict[Unit, int]) -> dict[Unit, int]:
        """The fewest waits that cover `need`: a command's end says what ended before it."""

        def covered(chosen: Iterable[Unit]) -> bool:
            ends = [self.events[unit][need[unit] - 1].finish for unit in chosen]
            known = np.maximum.reduce(ends) if ends else np.zeros(len(Unit), np.int64)
            return all(known[unit] >= count for unit, count in need.items())

        for size in range(WAITS + 1):
            for chosen in combinations(need, size):
                if covered(chosen):
                    return {unit: need[unit] for unit in chosen}
        units = ", ".join(unit.name for unit in need)
        raise ProgramError(f"{name}: internal error: waits for {units}, more than {WAITS} units")
