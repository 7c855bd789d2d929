"""Lowers the patch embedding: bands of patches, each a product into the residual stream."""

import numpy as np

from ...buffers import patch_grid
from ...errors import ProgramError
from ...isa import Destination, Mode
from .bands import Band, plan_bands
from .graph import Patches
from .hazards import Region, Space
from .packing import pack_rows
from .products import Products


class PatchBands:
    """Emits PATCHIFY, EMBED and the products of the bands.

    Parameters: `products`, `step`.
    Members: `ahead`, bands that can be cut before any is multiplied.
    Raises: ProgramError where a row of patches or the stream does not fit its buffer.
    """

    def __init__(self, products: Products, step: Patches) -> None:
        self.products, self.step, self.emitter = products, step, products.emitter
        config, shape = products.config, products.artifact.preprocessing.shape
        self.grid = patch_grid(step.patchify, shape, config.rows, config.activation_width)
        column = -(-config.rows * products.stationary_width // config.bus_width)
        self.bands = plan_bands(step.patchify.name, self.grid, products.free, config.cols * column)
        self.ahead = len({band.base for band in self.bands})
        tokens, channels = step.embed.position.shape
        words, depth = tokens * products.chunks(channels), config.residual_depth
        if words > depth:
            raise ProgramError(
                f"residual buffer must hold {words} words for {step.embed.name}, not {depth}"
            )

    def patchify(self, image: int, number: int) -> None:
        """Cut band `number` of an image."""
        grid, band, emitter = self.grid, self.bands[number], self.emitter
        tokens = band.down * grid.across
        emitter.command(
            "PATCHIFY",
            {
                "offset": image * emitter.input_stride,
                "beats": 0 if number else -(-emitter.image_bytes // emitter.beat),
                "base": band.base,
                "stride": tokens,
                "digit_stride": grid.tiles * tokens,
                "digits": grid.digits,
                "run": grid.run,
                "height": grid.height,
                "across": grid.across,
                "down": band.down,
            },
            writes=[self.patch_words(band)],
            segment="input",
            operators=(self.step.patchify.name,),
            image=image,
            channels=grid.channels,
            token=band.first * grid.across,
        )

    def patch_words(self, band: Band) -> Region:
        """Where a band lies."""
        return Region(Space.CODES, band.base, band.down * self.grid.row_words)

    def embed(self, image: int) -> None:
        """The embedding: positions first, then band after band, the next ones cut meanwhile."""
        step, config = self.step, self.products.config
        position, chunks = step.embed.position, self.products.chunks(step.embed.position.shape[1])
        segment, words = f"{step.embed.name}.position", len(position) * chunks
        lanes, beat = config.lanes, self.emitter.beat
        self.emitter.fetch(segment, lambda: pack_rows(position, lanes, beat), Destination.EMBED)
        self.emitter.command(
            "EMBED",
            {"base": 0, "words": words},
            writes=[Region(Space.RESIDUAL, 0, words)],
            operators=(step.embed.name,),
            image=image,
        )
        grid = self.grid
        for number, band in enumerate(self.bands):
            tokens, first = band.down * grid.across, band.first * grid.across
            self.products.product(
                step.gemm,
                {
                    "base": band.base,
                    "stride": tokens,
                    "digit_stride": grid.tiles * tokens,
                    "tokens": tokens,
                    "tiles": grid.tiles,
                    "activation_digits": grid.digits,
                },
                grid.channels,
                {
                    "mode": Mode.RESIDUAL,
                    "base": (step.embed.prefix + first) * chunks,
                    "stride": chunks,
                },
                np.arange(len(step.gemm.weight), dtype=np.int32),
                operators=(step.gemm.name, step.embed.name),
                image=image,
                token=first,
            )
            if number + self.ahead < len(self.bands):
                self.patchify(image, number + self.ahead)
