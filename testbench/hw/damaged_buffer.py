"""A word buffer whose words can be damaged."""

from typing import Any

from amaranth.hdl import Signal, Value

from rootshift.hw.word_buffer import WordBuffer


class DamagedBuffer(WordBuffer):
    """Bits of what is kept are flipped: those of `flip`, in all words that are written."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.flip = Signal(self.word_width + self.parts * self.parity)

    def _kept(self, word: Value) -> Value:
        return super()._kept(word) ^ self.flip
