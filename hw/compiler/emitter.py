"""Collects commands and constants, and lays them out in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...artifact import Artifact
from ...config import AcceleratorConfig
from ...footprint import Space, footprint
from ...isa import COMMAND_BYTES, Command, Destination, Unit, encode
from ...operators import Pool
from ...program import LOGIT_BYTES, Area, Placed, Program
from ...views import views
from .hazards import Event, Tracker

ALIGNMENT = 64
"""Of everything in memory, in bytes; a multiple of every bus beat."""
READ_AHEAD = 512
"""Bytes beyond END that the sequencer may read."""
INPUT, OUTPUT = "input", "output"


@dataclass
class Pending:
    """A command whose `offset` counts from the beginning of a segment, until that has a place."""

    name: str
    operands: dict[str, int]
    after: dict[Unit, int]
    segment: str | None
    placed: dict[str, Any] = field(default_factory=dict)


def rounded(size: int, multiple: int) -> int:
    """The next multiple of `multiple`."""
    return -(-size // multiple) * multiple


class Emitter:
    """Commands in program order, with their waits, and the constants that they fetch.

    Parameters: `config`; `images` of the run, whose places in memory need `image_bytes` and
    `classes` logits each.
    """

    def __init__(
        self, config: AcceleratorConfig, images: int, image_bytes: int, classes: int
    ) -> None:
        self.config = config
        self.images, self.image_bytes, self.classes = images, image_bytes, classes
        self.beat = config.bus_width // 8
        self.pending: list[Pending] = []
        self.constants: dict[str, bytes] = {}
        self.tracker = Tracker({space: space.depth(config) for space in Space})
        # LOGITS of one image must not run into the next: each has whole aligned blocks.
        self.input_stride = rounded(image_bytes, ALIGNMENT)
        self.output_stride = rounded(LOGIT_BYTES * classes, ALIGNMENT)

    def command(
        self,
        name: str,
        operands: dict[str, int],
        *,
        fed_by: Event | None = None,
        segment: str | None = None,
        **placed: Any,
    ) -> Event:
        """Append a command; `fed_by` is `Tracker.add`'s, `placed` the fields of `Placed`, and the
        offset counts from the beginning of `segment`."""
        who = ", ".join((name, *placed.get("operators", ())))
        unplaced = Command(name, operands)
        words = footprint(unplaced, self.config)
        event, after = self.tracker.add(
            who,
            unplaced.instruction.unit,
            words.reads,
            words.writes,
            fed_by=fed_by,
        )
        self.pending.append(Pending(name, operands, after, segment, placed))
        return event

    def fetch(
        self,
        segment: str,
        make: Callable[[], bytes],
        destination: Destination,
        part: tuple[int, int, int] = (0, 1, 1),
    ) -> Event:
        """Stream a constant of whole beats; `make` gives it where it is new.

        Parameters: `part`, the first of so many pieces, each of as many beats, of so many in all.
        """
        if segment not in self.constants:
            self.constants[segment] = make()
        first, count, pieces = part
        beats = len(self.constants[segment]) // self.beat // pieces
        operands = {
            "offset": first * beats * self.beat,
            "beats": count * beats,
            "destination": int(destination),
        }
        return self.command("FETCH", operands, segment=segment)

    def program(self, artifact: Artifact) -> Program:
        """Everything in its place, END last."""
        self.pending.append(Pending("END", {}, {}, None))
        code = COMMAND_BYTES * len(self.pending)
        places, at = {"program": (0, code)}, rounded(code, ALIGNMENT)
        sizes = {name: len(data) for name, data in self.constants.items()}
        sizes[INPUT] = self.images * self.input_stride
        sizes[OUTPUT] = self.images * self.output_stride
        for name, size in sizes.items():
            places[name] = (at, size)
            at = rounded(at + size, ALIGNMENT)
        image = np.zeros(max(at, rounded(code + READ_AHEAD, ALIGNMENT)), np.uint8)
        commands, seen = [], views(artifact)
        for pending in self.pending:
            operands = dict(pending.operands)
            if pending.segment is not None:
                operands["offset"] += places[pending.segment][0]
            command = Command(pending.name, operands, pending.after)
            commands.append(Placed(command, **pending.placed))
        image[:code] = np.frombuffer(encode(p.command for p in commands), np.uint8)
        for name, data in self.constants.items():
            start, size = places[name]
            image[start : start + size] = np.frombuffer(data, np.uint8)
        return Program(
            config=self.config,
            commands=tuple(commands),
            image=image.tobytes(),
            images=self.images,
            classes=self.classes,
            input=Area(places[INPUT][0], self.input_stride, self.image_bytes),
            output=Area(places[OUTPUT][0], self.output_stride, LOGIT_BYTES * self.classes),
            segments=places,
            shapes=artifact.shapes(),
            rows={
                op.name: (op.inputs[0], 0)
                for op in artifact.operators
                if op.name in seen or (isinstance(op, Pool) and op.mode == "token")
            },
        )
