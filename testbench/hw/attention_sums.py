"""The sums that shift attention makes codes of: what scales in benches are chosen by."""

from collections.abc import Mapping

import numpy as np

from rootshift.formats import BASES
from rootshift.sim.golden.shift_attention import powers


def weighted_sums(
    codes: np.ndarray,
    values: np.ndarray,
    scales: Mapping[str, int],
    *,
    log_width: int,
    base: str,
) -> np.ndarray:
    """Sums `[rows, cols]` of a tile before they are shifted, as floats.

    Parameters: log codes `[keys, rows]`; values `[keys, cols]`; `scales` with `value_zero` and the
    multipliers, by the names that golden has for them.
    """
    factors = [scales["multiplier_even"], scales["multiplier_odd"]][: BASES[base]]
    weight = sum(
        float(factor) * powers(log_width, base, parity) for parity, factor in enumerate(factors)
    )
    return weight[codes].T @ (values - scales["value_zero"])
