"""Bands of patches: an image is cut while the bands before are multiplied."""

from dataclasses import dataclass

from ...buffers import PatchGrid
from ...errors import ProgramError


@dataclass(frozen=True)
class Band:
    """Some rows of patches: from row `first`, `down` of them, in words from `base` on."""

    first: int
    down: int
    base: int


def plan_bands(name: str, grid: PatchGrid, words: int, columns: int) -> list[Band]:
    """Bands that take turns in two buffers, or one where two do not fit.

    Parameters: `name` for messages; `words` free in the code buffer, from word 0 on; `columns`,
    cycles in which a tile of weights can be loaded at best: a band should have as many vectors.

    As few bands as fit, for each streams the weights anew, but two at least, so that cutting
    overlaps multiplying. The first, for which everything waits, is the smallest.
    Raises: ProgramError where not even one row of patches fits.
    """
    row = grid.row_words
    if row > words:
        raise ProgramError(
            f"code buffer must hold {row} words for a row of {name}, not the {words} "
            "that it has for patches"
        )
    if grid.down == 1 or 2 * row > words:
        most = words // row
        counts = _split(grid.down, -(-grid.down // most))
        return _bands(counts, [0])
    most = min(words // (2 * row), grid.down - 1)
    number = max(2, -(-grid.down // most))
    least = min(most, -(-columns // (grid.across * grid.digits)))
    first = min(grid.down // number, max(least, grid.down - (number - 1) * most))
    return _bands([first, *_split(grid.down - first, number - 1)], [0, most * row])


def _split(total: int, parts: int) -> list[int]:
    """`total` in `parts` parts as equal as can be, the smaller ones first."""
    return [(total * (k + 1)) // parts - (total * k) // parts for k in range(parts)]


def _bands(counts: list[int], bases: list[int]) -> list[Band]:
    firsts = [sum(counts[:number]) for number in range(len(counts))]
    return [
        Band(first, down, bases[number % len(bases)])
        for number, (first, down) in enumerate(zip(firsts, counts, strict=True))
    ]
