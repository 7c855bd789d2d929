"""What the accelerator has units for, of all that an artifact may hold."""

from .artifact import Artifact
from .errors import ProgramError
from .formats import RESIDUAL_WIDTH
from .operator_base import Operator
from .operators import Gather, LayerNorm, Requantize, ScoreBias, Scores, ShiftAttention
from .views import views


def check_accelerated(artifact: Artifact) -> None:
    """Refuse a model that needs operators that only the float, fake and integer levels have.

    Raises: ArtifactError where it is not a classifier, ProgramError naming each kind of such
    operators, and the first of the kind.
    """
    artifact.require_classifier()
    found: dict[str, list[str]] = {}
    seen = views(artifact)
    for operator in artifact.operators:
        if operator.name not in seen and (kind := _without_unit(operator)):
            found.setdefault(kind, []).append(operator.name)
    if found:
        kinds = ", ".join(f"{kind} ({_some(names)})" for kind, names in found.items())
        raise ProgramError(
            "the accelerator has no unit for windowed attention and rearranged tokens yet, "
            f"which this model needs: {kinds}; the levels float, fake and integer run it"
        )


def _without_unit(operator: Operator) -> str | None:
    """What the accelerator lacks for `operator`, or None."""
    match operator:
        case Gather() | ScoreBias() | Requantize():
            return operator.kind
        case Scores(windows=windows) | ShiftAttention(windows=windows) if windows > 1:
            return f"{operator.kind} of windows"
        case LayerNorm(width=width) if width == RESIDUAL_WIDTH:
            return f"{operator.kind} of {width} bits"
    return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return names[0] + more
