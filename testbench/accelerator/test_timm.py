"""Vision transformers as timm makes them, of odd shapes: bit-exact, or refused with a reason."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from rootshift.artifact import Artifact
from rootshift.buffers import code_words
from rootshift.config import CODE_BANKS, AcceleratorConfig
from rootshift.errors import ConfigError, ProgramError
from rootshift.hw.compiler import compile_program
from rootshift.sim.machine.machine import Machine
from rootshift.sim.machine.tensors import tensors

from ..seeds import explored
from .designs import WIDE, timings
from .inference import Proof, prove
from .timm_models import integers, quantized, shapes, widths

REASON = re.compile(
    r"(code|residual) buffer must hold \d+ words for [\w. ]+, not (the )?\d+.*"
    r"|\w+_(depth|width) must be at least \d+ for the artifact, not \d+"
    r"|[\w.]+: \w+ must (be|have) .*, not .+"
)
"""What a refusal says: the buffer, field or operator, what it must be, and what it is."""

ARRAYS = ["4x4", "8x4", "4x8", "6x6", "5x7", "16x16"]


def equal_on_the_machine(
    artifact: Artifact, config: AcceleratorConfig, pixels: np.ndarray, norm_bands: int | None
) -> None:
    """Compile, run the functional machine, and compare every tensor."""
    proof = Proof(artifact, config, pixels, norm_bands=norm_bands)
    run = Machine(proof.program).run(pixels)
    made = tensors(proof.program, run.beats)
    for name, expected in proof.golden.tensors.items():
        np.testing.assert_array_equal(made[name], expected, err_msg=name)
    np.testing.assert_array_equal(run.logits, proof.golden.logits)
    assert run.saturated.total() == proof.golden.saturated.total()


def less_is_refused(artifact: Artifact, config: AcceleratorConfig) -> None:
    """One word, token or channel less than the artifact needs, in each depth in turn."""
    most = code_words(artifact, config.rows, config.activation_width, buffers=1) - 1
    less = {
        name: getattr(config, name) - 1
        for name in ("token_depth", "channel_depth", "embedding_depth", "residual_depth")
    }
    less["code_depth"] = most // CODE_BANKS * CODE_BANKS
    for name, depth in less.items():
        if depth < (CODE_BANKS if name == "code_depth" else 1):
            continue
        with pytest.raises((ConfigError, ProgramError), match=REASON.pattern):
            compile_program(artifact, replace(config, **{name: depth}))


def on_the_machine(
    changes: dict[str, Any],
    bits: str,
    base: str,
    array: str,
    bus: int,
    bands: int | None,
    seed: int,
) -> None:
    """One drawn model, on a configuration made for it."""
    found = quantized(changes, bits, base, seed, 2)
    if found is None:
        return
    artifact, pixels = found
    config = replace(AcceleratorConfig.for_artifact(artifact, array), bus_width=bus)
    equal_on_the_machine(artifact, config, pixels, bands)
    less_is_refused(artifact, config)


def on_the_rtl(changes: dict[str, Any], bits: str, seed: int) -> None:
    """One drawn model on the one design, with a memory that delays and holds."""
    found = quantized(changes, bits, WIDE.base, seed, 2)
    if found is None:
        return
    artifact, pixels = found
    said = None
    try:
        proof = Proof(artifact, WIDE, pixels)
    except (ConfigError, ProgramError) as error:
        said = str(error)
    if said is not None:
        event("refused by the compiler")
        assert REASON.fullmatch(said)
        return
    memory = timings(np.random.default_rng(seed))["everything"]
    proof.check(proof.run(memory=memory))


DRAWN = {
    "base": st.sampled_from(["sqrt2", "2"]),
    "array": st.sampled_from(ARRAYS),
    "bus": st.sampled_from([32, 64, 128]),
    "bands": st.one_of(st.none(), integers(1, 3)),
    "seed": integers(0, 1 << 16),
}


@explored(8)
@given(changes=shapes(most_tokens=40, most_width=24), bits=widths(), **DRAWN)
def test_a_few_on_the_machine(**drawn: Any) -> None:
    on_the_machine(**drawn)


@pytest.mark.slow
@explored(200)
@given(changes=shapes(), bits=widths(), **DRAWN)
def test_many_on_the_machine(**drawn: Any) -> None:
    on_the_machine(**drawn)


@explored(3)
@given(changes=shapes(most_tokens=40, most_width=24), bits=widths(4), seed=DRAWN["seed"])
def test_a_few_on_the_rtl(**drawn: Any) -> None:
    on_the_rtl(**drawn)


@pytest.mark.slow
@explored(40)
@given(changes=shapes(), bits=widths(4), seed=DRAWN["seed"])
def test_many_on_the_rtl(**drawn: Any) -> None:
    on_the_rtl(**drawn)


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "grid"), [(5, (1, 4)), (257, (16, 16)), (257, (256, 1))])
@pytest.mark.parametrize(("heads", "width"), [(1, 7), (12, 36)])
def test_corners_on_the_rtl(tokens: int, grid: tuple[int, int], heads: int, width: int) -> None:
    """The fewest and the most tokens and heads, three blocks deep."""
    patch = (3, 2)
    changes = {
        "img_size": (grid[0] * patch[0], grid[1] * patch[1]),
        "patch_size": patch,
        "embed_dim": width,
        "num_heads": heads,
        "depth": 3,
        "mlp_ratio": 4.0,
    }
    artifact, pixels = quantized(changes, "W4A4", WIDE.base, 1, 1)
    assert artifact.shapes()["embed"] == (tokens, width)
    prove(artifact, WIDE, pixels)
