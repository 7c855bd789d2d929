"""Log codes of softmax probabilities, as the units that make and use them are built for."""

from dataclasses import dataclass

from ..formats import BASES, CODE_WIDTHS, attention_headroom, zero_code
from .checks import check_integer


@dataclass(frozen=True)
class LogCodes:
    """A width and a base of log codes.

    Parameters
    ----------
    width : int
        L, bits of a code, 3 to 8.
    base : str
        "sqrt2" or "2".

    Raises
    ------
    TypeError, ValueError
        A parameter is of the wrong kind or out of range.
    """

    width: int
    base: str

    def __post_init__(self) -> None:
        check_integer("code_width", self.width, CODE_WIDTHS[0], CODE_WIDTHS[-1])
        if not isinstance(self.base, str):
            raise TypeError(f"base must be a string, not {self.base!r}")
        if self.base not in BASES:
            raise ValueError(f"base must be {' or '.join(map(repr, BASES))}, not {self.base!r}")

    @property
    def steps(self) -> int:
        """Codes per octave."""
        return BASES[self.base]

    @property
    def zero(self) -> int:
        """The code of probability zero; the codes below it are powers of the base."""
        return zero_code(self.width, self.base)

    @property
    def headroom(self) -> int:
        """Left shift of code 0, so that the smallest power is the integer 1."""
        return attention_headroom(self.zero, self.base)
