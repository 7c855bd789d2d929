"""Random products: their commands, what the units read for them, and the outputs they must give."""

from typing import Any

import numpy as np

from rootshift.formats import code_max, output_range
from rootshift.isa import TOKENS_WIDTH, WORD_ADDRESS_WIDTH
from rootshift.sim.golden.gemm import gemm

from .gemm_tiles import any_shift, column_section, digit, parameter_section, weight_beats

K_TILES = 6
"""Most tiles of K of a product."""
WIDTHS = 4, 16, 8, 24, 3, 32
CHANNEL = "bias", "weight_zero", "multiplier"


class Product:
    """A random product: its commands, what the units read for it, and its outputs."""

    def __init__(
        self,
        rng: np.random.Generator,
        sizes: dict[str, int],
        *,
        tokens: int,
        tiles: int,
        groups: int,
        width: int,
        digits: tuple[int, int] = (1, 1),
        shared: bool = False,
        buffer: bool = False,
        channels: int | None = None,
        sparse: bool = False,
    ) -> None:
        """Parameters: `channels`, of those of all groups; `sparse`, that few inputs are not zero,
        so that totals fit however many tiles there are."""
        rows, cols, depth = sizes["rows"], sizes["cols"], tiles * sizes["rows"]
        self.sizes, self.shared, self.buffer, self.digits = sizes, shared, buffer, digits
        drawn = int(rng.integers((groups - 1) * cols + 1, groups * cols + 1))
        self.channels = drawn if channels is None else channels
        x_width = min(8, sizes["activation_width"] * digits[0])
        w_width = min(8, sizes["weight_width"] * digits[1])
        if buffer:
            w_width = sizes["activation_width"]
        x = rng.integers(0, code_max(x_width) + 1, (tokens, depth))
        if sparse:
            x *= rng.permutation(depth) < K_TILES * rows
        weight = rng.integers(0, code_max(w_width) + 1, (groups * cols, depth))
        weight[self.channels :] = 0
        spread = code_max(x_width) * code_max(w_width) * np.sqrt(depth)
        layer = self._layer(rng, spread, cols if shared else groups * cols, width)
        layer["weight_zero"] = rng.integers(-2, code_max(w_width) + 3, len(layer["bias"]))
        if shared:
            wide = {name: np.tile(layer[name], groups) for name in CHANNEL}
        else:
            layer["multiplier"][self.channels :] = 0
            wide = layer
        y, self.saturated = gemm(x, weight=weight, **(layer | wide))
        self._outputs(y)
        base, column_base, stride, column_stride, digit_stride = (
            int(place) for place in rng.integers(0, 1 << WORD_ADDRESS_WIDTH, 5)
        )
        self.weights = {
            "buffer": int(buffer), "shared": int(shared), "groups": groups,
            "tiles": tiles * digits[1], "base": column_base, "stride": column_stride,
            "channels": min(self.channels, (1 << TOKENS_WIDTH) - 1),
        }  # fmt: skip
        self.gemm = {
            "base": base, "stride": stride, "digit_stride": digit_stride, "tokens": tokens,
            "groups": groups, "tiles": tiles, "activation_digits": digits[0],
            "weight_digits": digits[1], "shared": int(shared),
        }  # fmt: skip
        self._columns(weight, layer)
        self._vectors(x.reshape(tokens, tiles, rows))

    @staticmethod
    def _layer(rng: np.random.Generator, spread: float, n: int, width: int) -> dict[str, Any]:
        """Parameters of `n` channels, whose outputs mostly fall inside the range."""
        low, high = output_range(width)
        scale = min((high - low) / spread, 100.0) * rng.uniform(0.1, 1, n)
        multiplier, shift = any_shift(rng, scale)
        return {
            "bias": rng.integers(-int(spread), int(spread) + 1, n),
            "multiplier": multiplier,
            "shift": shift,
            "zero": int(rng.integers(-3, 9)) if width <= 8 else 0,
            "width": width,
        }

    def _columns(self, weight: np.ndarray, layer: dict[str, Any]) -> None:
        """The weight stream, and the columns that come from the code buffer instead."""
        rows, cols, width = (self.sizes[name] for name in ("rows", "cols", "weight_width"))
        groups, tiles = self.weights["groups"], self.weights["tiles"]
        beat_bytes = self.sizes["bus_width"] // 8
        settings = {name: layer[name] for name in ("shift", "zero", "width")}
        columns = weight_beats(weight, rows, cols, width, self.digits[1]).reshape(groups, -1, rows)
        self.stream = b""
        for group, of_group in enumerate(columns):
            if group == 0 or not self.shared:
                own = slice(group * cols, (group + 1) * cols)
                channels = {name: layer[name][own] for name in CHANNEL}
                self.stream += parameter_section(**channels, **settings, beat_bytes=beat_bytes)
            if not self.buffer:
                self.stream += column_section(of_group, width, beat_bytes)
        group, tile, turn = np.indices((groups, tiles, cols)).reshape(3, -1)
        channel = group * cols + cols - 1 - turn
        used = (channel < self.channels) & self.buffer
        address = self.weights["base"] + tile * self.weights["stride"] + channel
        self.column_addresses, self.column_words = address[used], columns.reshape(-1, rows)[used]

    def _vectors(self, x: np.ndarray) -> None:
        """Words [tokens, tiles, rows] of the code buffer, in the order in which they are read."""
        loops = "groups", "weight_digits", "tiles", "activation_digits", "tokens"
        sizes = [self.gemm[name] for name in loops]
        _, _, tile, place, token = np.indices(sizes).reshape(5, -1)
        strides = self.gemm["stride"], self.gemm["digit_stride"]
        self.vector_addresses = self.gemm["base"] + tile * strides[0] + place * strides[1] + token
        width = self.sizes["activation_width"]
        split = np.stack([digit(x, width, i) for i in range(self.digits[0])])
        self.vector_words = split[place, token, tile]

    def _outputs(self, y: np.ndarray) -> None:
        """The beats of `o`; instead of the bank the number of the set of parameters."""
        lanes, parts = self.sizes["lanes"], self.sizes["cols"] // self.sizes["lanes"]
        tokens, groups = len(y), y.shape[1] // self.sizes["cols"]
        self.y = y.reshape(tokens, groups, parts, lanes).transpose(1, 0, 2, 3).reshape(-1, lanes)
        group, self.address, self.part = np.indices((groups, tokens, parts)).reshape(3, -1)
        last_of_set = (group == groups - 1) | (not self.shared)
        self.tag = (self.address == tokens - 1) & last_of_set
        self.set = 0 * group if self.shared else group
        self.sets = 1 if self.shared else groups


def random_product(rng: np.random.Generator, sizes: dict[str, int], number: int) -> Product:
    """Products that differ in everything; every third one takes its columns from the buffer."""
    buffer, shared = number % 3 == 2, number % 4 in (1, 2)
    most = sizes["activation_digits"], 1 if buffer else sizes["weight_digits"]
    digits = tuple(int(rng.integers(1, d + 1)) for d in most)
    return Product(
        rng,
        sizes,
        tokens=int(rng.integers(1, 14)),
        tiles=int(rng.integers(1, K_TILES // 2 + 1)),
        groups=int(rng.integers(1, 4)),
        width=WIDTHS[number % len(WIDTHS)],
        digits=digits,
        shared=shared,
        buffer=buffer,
    )
