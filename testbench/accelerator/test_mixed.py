"""Models of mixed precision: which widths an accelerator runs, code for code, and which not."""

from dataclasses import replace

import numpy as np
import pytest

from rootshift.artifact import Artifact
from rootshift.bit_table import BitTable
from rootshift.config import AcceleratorConfig
from rootshift.errors import ConfigError, ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.sim.machine.machine import Machine

from ..random_model import Size, random_artifact, random_pixels
from ..seeds import generator
from .designs import NARROW, WIDE, covering, timings
from .inference import prove
from .mixed import mixed_bits
from .models import SIZES


def drawn(key: int, size: Size, base: str, **widths: object) -> tuple[Artifact, np.ndarray]:
    """A model of mixed widths, and two images for it."""
    rng = generator(40, key)
    bits = mixed_bits(rng, size, **widths)
    print(bits.to_toml())
    artifact = random_artifact(rng, size, bits=bits, base=base)
    return artifact, random_pixels(rng, artifact, 2)


def table(*lines: str, default: str = "W4A4") -> Artifact:
    """A random model of two blocks with these lines, such as '"block0.fc1" = "W8"'."""
    text = "\n".join([f'default = "{default}"', "[layers]", *lines])
    return random_artifact(np.random.default_rng(3), Size(depth=2), bits=BitTable.parse(text))


@pytest.mark.parametrize("size", SIZES)
def test_wide_hardware_runs_every_mix_of_codes(size: str) -> None:
    """Queries and keys, values, LayerNorm's, GELU's and attention's codes, each of 3 to 8 bits."""
    number = list(SIZES).index(size)
    artifact, pixels = drawn(number, SIZES[size], WIDE.base)
    memory = timings(generator(41, number))["everything"]
    prove(artifact, WIDE, pixels, memory=memory)


@pytest.mark.parametrize("size", ["small", "heads fill no word", "registers and mean"])
def test_narrow_hardware_takes_wide_weights_by_digits(size: str) -> None:
    """Codes of up to its 4 bits; weights of up to 8, layer by layer, as one or two digits."""
    number = 10 + list(SIZES).index(size)
    artifact, pixels = drawn(number, SIZES[size], NARROW.base, activations=range(3, 5))
    prove(artifact, NARROW, pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "weights", "activations", "log"),
    [
        ("4x4", range(3, 9), range(3, 4), 5),
        ("8x4", range(3, 9), range(4, 7), 3),
        ("4x8", range(4, 6), range(3, 9), 7),
    ],
)
def test_a_design_for_its_mixes(array: str, weights: range, activations: range, log: int) -> None:
    """The least that `for_artifact` finds: weights that are wider than the array go by digits."""
    models = [
        drawn(20 + number, SIZES[size], "sqrt2", weights=weights, activations=activations, log=log)
        for number, size in enumerate(SIZES)
    ]
    artifacts = [artifact for artifact, _ in models]
    config = covering(artifacts, array, activation_width=activations[-1])
    for artifact, pixels in models:
        prove(artifact, config, pixels)


class TestConfigurations:
    """`AcceleratorConfig.for_artifact`."""

    def test_the_widest_code_sets_the_width_of_codes(self) -> None:
        for line in (
            '"block1.qkv" = "A6"',
            '"block1.scores" = "A6"',
            '"block1.mix" = "A6"',
            '"block1.proj" = "A6"',
            '"block1.fc1" = "A6"',
            '"block1.fc2" = "A6"',
            '"head" = "A6"',
        ):
            artifact = table(line)
            config = AcceleratorConfig.for_artifact(artifact, "4x4")
            assert (config.activation_width, config.weight_width) == (6, 4), line
            compile_program(artifact, config)

    def test_wider_weights_go_by_digits(self) -> None:
        config = AcceleratorConfig.for_artifact(table('"block*.fc?" = "W8"'), "4x4")
        assert (config.activation_width, config.weight_width) == (4, 4)

    def test_the_head_of_tokens_side_by_side_counts(self) -> None:
        """Its weights, and inputs of two tokens."""
        bits = BitTable.parse('default = "W8A4"\n[layers]\n"block*" = "W3"\nhead = "W6"')
        size = Size(width=30, prefix=2, pool="distilled")
        artifact = random_artifact(np.random.default_rng(3), size, bits=bits)
        config = AcceleratorConfig.for_artifact(artifact, "4x4")
        assert (config.weight_width, config.channel_depth, config.token_depth) == (6, 60, 6)
        with pytest.raises(ConfigError, match=r"^channel_depth must be at least 60 for the"):
            compile_program(artifact, replace(config, channel_depth=59))

    def test_a_default_that_no_layer_has_costs_nothing(self) -> None:
        artifact = table('"*" = "W3A3"', default="W8A8L4")
        config = AcceleratorConfig.for_artifact(artifact, "4x4")
        assert (config.activation_width, config.weight_width, config.log_width) == (3, 3, 4)

    def test_the_log_width_is_that_of_the_softmax(self) -> None:
        config = AcceleratorConfig.for_artifact(table('"*.softmax" = "L6"'), "4x4")
        assert (config.log_width, config.activation_width) == (6, 4)

    def test_wide_log_codes_are_the_same_code(self) -> None:
        """24 octaves end at code 48, which 6 bits hold: L7 and L8 compute what L6 does."""
        artifact = table('"block0.softmax" = "L6"', '"block1.softmax" = "L8"')
        config = AcceleratorConfig.for_artifact(artifact, "4x4")
        pixels = random_pixels(np.random.default_rng(1), artifact, 1)
        logits = [
            Machine(compile_program(artifact, replace(config, log_width=width))).run(pixels).logits
            for width in (6, 7, 8)
        ]
        np.testing.assert_array_equal(logits[0], logits[1])
        np.testing.assert_array_equal(logits[0], logits[2])


class TestRefusals:
    """One line that names the layer, what it needs and what there is."""

    @pytest.mark.parametrize(
        ("line", "tensor"),
        [
            ('"block1.qkv" = "A5"', "block1.norm1"),
            ('"block1.scores" = "A5"', "block1.q"),
            ('"block1.mix" = "A5"', "block1.v"),
            ('"block1.proj" = "A5"', "block1.attention"),
            ('"block1.fc1" = "A5"', "block1.norm2"),
            ('"block1.fc2" = "A5"', "block1.gelu"),
            ('"head" = "A5"', "norm"),
        ],
    )
    def test_wider_codes_than_the_buffers(self, line: str, tensor: str) -> None:
        config = AcceleratorConfig.for_artifact(table(), "4x4")
        message = rf"^{tensor}: codes must have at most 4 bits, as activation_width, not 5$"
        with pytest.raises(ProgramError, match=message):
            compile_program(table(line), config)

    def test_log_codes_of_two_widths(self) -> None:
        artifact = table('"block1.softmax" = "L5"')
        message = (
            r"^block1\.softmax: log codes must be of 4 bits and base sqrt2 as in block0\.softmax, "
            r"not of 5 and base sqrt2: an accelerator has one kind$"
        )
        with pytest.raises(ConfigError, match=message):
            AcceleratorConfig.for_artifact(artifact, "4x4")
        config = AcceleratorConfig.for_artifact(table(), "4x4")
        message = r"^block1\.softmax: log_width must be the hardware's, 4, not 5$"
        with pytest.raises(ProgramError, match=message):
            compile_program(artifact, config)
