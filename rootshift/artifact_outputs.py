"""What a run of an artifact gives: the logits of a classifier, or feature maps of a backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ArtifactError
from .formats import LOGIT_WIDTH, RESIDUAL_WIDTH
from .operator_base import Operator, Shape


@dataclass(frozen=True)
class Output:
    """A tensor that a run gives.

    Fields: `name` of its operator; `grid`, None for logits, else height and width of the feature
    map whose places, row by row, are the tensor's rows; `prefix`, how many rows (class and register
    tokens) come before them.
    """

    name: str
    grid: tuple[int, int] | None = None
    prefix: int = 0

    def feature_map(self, rows: Any) -> Any:
        """[.., prefix + height * width, C] (NumPy or torch) -> [.., height, width, C].

        Raises: ArtifactError where the output is logits.
        """
        if self.grid is None:
            raise ArtifactError(f"output {self.name}: must be a feature map, not logits")
        return rows[..., self.prefix :, :].reshape(*rows.shape[:-2], *self.grid, rows.shape[-1])

    def check(self, operator: Operator, shape: Shape) -> None:
        """Refuse what is not a feature map: ArtifactError.

        Parameters: `operator` that makes the tensor, `shape` of the tensor.
        """
        sizes = [("grid", size) for size in self.grid or ()] + [("prefix", self.prefix)]
        least = {"grid": 1, "prefix": 0}
        for field, size in sizes:
            if isinstance(size, bool) or not isinstance(size, int) or size < least[field]:
                raise ArtifactError(
                    f"output {self.name}: {field} must be of integers of at least {least[field]}, "
                    f"not {size!r}"
                )
        if self.grid is None or len(self.grid) != 2:
            raise ArtifactError(
                f"output {self.name}: grid must be height and width of a feature map, "
                f"not {self.grid}"
            )
        height, width = self.grid
        rows = self.prefix + height * width
        if operator.output_width != RESIDUAL_WIDTH or len(shape) != 2 or shape[0] != rows:
            raise ArtifactError(
                f"output {self.name}: a feature map of {height}x{width} behind {self.prefix} rows "
                f"must have {rows} rows of {RESIDUAL_WIDTH} bits, "
                f"not {operator.output_width} bits of shape {list(shape)}"
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values of the fields; the grid of logits is empty."""
        return {"name": self.name, "grid": list(self.grid or ()), "prefix": self.prefix}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Output":
        """From JSON values of the right types; whether they are legal, the artifact checks."""
        return cls(item["name"], tuple(item["grid"]) or None, item["prefix"])


def check_outputs(
    outputs: tuple[Output, ...], operators: tuple[Operator, ...], shapes: Mapping[str, Shape]
) -> None:
    """Refuse outputs that are neither the last operator's logits nor feature maps.

    Parameters: `shapes` of all tensors.
    Raises: ArtifactError naming the output and what it must be.
    """
    if not outputs:
        raise ArtifactError("outputs must not be empty")
    makers = {operator.name: operator for operator in operators}
    names = [output.name for output in outputs]
    for name in names:
        if name not in makers:
            raise ArtifactError(f"output {name}: must be the name of an operator")
        if names.count(name) > 1:
            raise ArtifactError(f"output {name}: must be named once, not {names.count(name)} times")
    if len(outputs) == 1 and outputs[0].grid is None:
        _check_logits(outputs[0], operators[-1], shapes)
    else:
        for output in outputs:
            output.check(makers[output.name], shapes[output.name])


def _check_logits(output: Output, last: Operator, shapes: Mapping[str, Shape]) -> None:
    if output.name != last.name:
        raise ArtifactError(
            f"output {output.name}: logits must be the last operator's, {last.name}'s"
        )
    shape = shapes[last.name]
    if last.output_width != LOGIT_WIDTH or len(shape) != 2 or shape[0] != 1:
        raise ArtifactError(
            f"{last.name}: the last operator must make one row of {LOGIT_WIDTH}-bit logits, "
            f"not {last.output_width} bits of shape {list(shape)}"
        )
    if output.prefix != 0:
        raise ArtifactError(f"output {output.name}: prefix must be 0, not {output.prefix!r}")
