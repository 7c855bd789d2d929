"""Lowers the patch embedding: bands of patches, each a product into the residual stream."""

from dataclasses import replace

import numpy as np

from ...buffers import patch_grid
from ...errors import ProgramError
from ...isa import Destination, Mode
from .bands import plan_bands
from .graph import Patches
from .packing import pack_rows
from .products import Products


class PatchBands:
    """Emits PATCHIFY, EMBED and the products of the bands.

    Parameters: `products`, `step`.
    Members: `bands` of all images of a batch, each with the number of its image there; `ahead`,
    bands that can be cut before any is multiplied.
    Raises: ProgramError where a row of patches or the stream does not fit its buffer.
    """

    def __init__(self, products: Products, step: Patches) -> None:
        self.products, self.step, self.emitter = products, step, products.emitter
        config, shape = products.config, products.artifact.preprocessing.shape
        self.grid = patch_grid(step.patchify, shape, config.rows, config.activation_width)
        column = -(-config.rows * products.stationary_width // config.bus_width)
        bands = plan_bands(step.patchify.name, self.grid, products.free, config.cols * column)
        bases = sorted({band.base for band in bands})
        self.ahead = len(bases)
        # Each fits either buffer, which so take turns from image to image too.
        self.bands = [
            (number // len(bands), replace(band, base=bases[number % self.ahead]))
            for number, band in enumerate(bands * products.batch)
        ]
        tokens, channels = step.embed.position.shape
        self.words = tokens * products.chunks(channels)
        words, depth = self.words * products.batch, config.residual_depth
        if words > depth:
            raise ProgramError(
                f"residual buffer must hold {words} words for {step.embed.name}, not {depth}"
            )

    def patchify(self, image: int, number: int) -> None:
        """Cut band `number` of the batch whose first image is `image`."""
        grid, emitter = self.grid, self.emitter
        place, band = self.bands[number]
        image, tokens = image + place, band.down * grid.across
        emitter.command(
            "PATCHIFY",
            {
                "offset": image * emitter.input_stride,
                "beats": 0 if band.first else -(-emitter.image_bytes // emitter.beat),
                "base": band.base,
                "stride": tokens,
                "digit_stride": grid.tiles * tokens,
                "digits": grid.digits,
                "run": grid.run,
                "height": grid.height,
                "across": grid.across,
                "down": band.down,
            },
            segment="input",
            operators=(self.step.patchify.name,),
            image=image,
            channels=grid.channels,
            token=band.first * grid.across,
        )

    def positions(self, image: int, place: int) -> None:
        """The positions of the stream of an image, the one at `place` in its batch."""
        name, position = self.step.embed.name, self.step.embed.position
        lanes, beat, words = self.products.config.lanes, self.emitter.beat, self.words
        self.emitter.fetch(
            f"{name}.position", lambda: pack_rows(position, lanes, beat), Destination.EMBED
        )
        self.emitter.command(
            "EMBED",
            {"base": place * words, "words": words},
            operators=(name,),
            image=image + place,
        )

    def embed(self, image: int) -> None:
        """The embedding of the batch from `image` on, image after image: positions first, then band
        after band, the next ones cut meanwhile."""
        step, grid = self.step, self.grid
        chunks = self.products.chunks(step.embed.position.shape[1])
        for number, (place, band) in enumerate(self.bands):
            if not band.first:
                self.positions(image, place)
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
                    "base": place * self.words + (step.embed.prefix + first) * chunks,
                    "stride": chunks,
                },
                np.arange(len(step.gemm.weight), dtype=np.int32),
                operators=(step.gemm.name, step.embed.name),
                image=image + place,
                token=first,
            )
            if number + self.ahead < len(self.bands):
                self.patchify(image, number + self.ahead)
