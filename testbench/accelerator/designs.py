"""The designs that the tests share, as each one has to be built."""

from rootshift.config import AcceleratorConfig

WIDE = AcceleratorConfig(
    rows=4,
    cols=4,
    lanes=4,
    activation_width=8,
    weight_width=8,
    log_width=4,
    token_depth=260,
    channel_depth=1024,
    embedding_depth=256,
    code_depth=1 << 15,
    residual_depth=1 << 13,
)
"""Room for many small models, of up to 8 bits and 4-bit log codes of base sqrt2."""

NARROW = AcceleratorConfig(
    rows=8,
    cols=4,
    lanes=4,
    activation_width=4,
    weight_width=4,
    log_width=4,
    base="2",
    token_depth=64,
    channel_depth=256,
    embedding_depth=64,
    code_depth=1 << 12,
    residual_depth=1 << 11,
    bus_width=32,
)
"""Takes pixels and the patch embedding's weights as two digits each."""
