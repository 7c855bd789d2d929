"""What came of a point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .point import Point


class Status(StrEnum):
    """How the evaluation of a point ended."""

    COMPLETE = "complete"
    INFEASIBLE = "infeasible"
    """A constraint does not hold; later stages were left out."""
    PRUNED = "pruned"
    """The search gave it up: it cannot come into the result any more."""
    FAILED = "failed"
    """It cannot be made, or its evaluation ended with an error."""


@dataclass(frozen=True)
class Record:
    """A point and what is known of it.

    Fields: `number`, its place in the exploration; `status`, and the `reason` where it is not
    complete; `metrics` by name, those that were measured; `artifact`, the digest of the quantized
    model, "" where there is none.
    """

    number: int
    point: Point
    status: Status
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifact: str = ""
