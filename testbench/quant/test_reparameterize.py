"""Reparameterization behind a LayerNorm: the network's function stays what it was."""

import pytest
import torch

from rootshift.quant.nodes import LayerNorm, Linear
from rootshift.quant.quantizers import UniformQuantizer
from rootshift.quant.reparameterize import reparameterize
from rootshift.quant.search import search_uniform

WIDTH, OUTPUTS = 16, 10


@pytest.fixture
def site() -> tuple[torch.Tensor, LayerNorm, Linear]:
    """Input, norm with channels of very different ranges, and the linear layer behind it."""
    generator = torch.Generator().manual_seed(11)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    gamma, beta = torch.logspace(-1, 1, WIDTH).double(), 2 * random(WIDTH)
    norm = LayerNorm(name="norm", inputs=("x",), gamma=gamma, beta=beta, eps=1e-6)
    weight, bias = random(OUTPUTS, WIDTH), random(OUTPUTS)
    layer = Linear(name="layer", inputs=("norm",), weight=weight, bias=bias)
    return random(50, WIDTH).float(), norm, layer


def output(x: torch.Tensor, layer: Linear) -> torch.Tensor:
    return x.double() @ layer.weight.T + layer.bias


@pytest.mark.parametrize("integral_zero", [True, False])
def test_the_fold_keeps_the_function(site, integral_zero: bool) -> None:
    x, norm, layer = site
    before = output(norm.forward(x), layer)
    change = reparameterize(search_uniform(norm.forward(x), 4, "last"), integral_zero)
    changed = change.apply(norm.forward(x))
    change.fold(norm, layer)
    assert torch.allclose(norm.forward(x), changed, atol=1e-5)
    assert torch.allclose(output(norm.forward(x), layer), before, atol=1e-4)


def test_layer_wise_codes_are_the_channel_wise_codes(site) -> None:
    x, norm, layer = site
    channels = search_uniform(norm.forward(x), 4, "last")
    codes = channels.codes(norm.forward(x))
    change = reparameterize(channels, integral_zero=False)
    change.fold(norm, layer)
    # A mean zero point is fractional: codes and clamp move with it, levels do not.
    common = change.quantizer
    steps = (norm.forward(x) / common.scale + common.zero).clamp(0, 15)
    assert (steps - codes).abs().max() <= 0.5 + 1e-4
    assert float(common.scale) == pytest.approx(float(channels.scale.mean()))
    assert float(common.zero) == pytest.approx(float(channels.zero.mean()))


def test_integral_zero_keeps_every_channels_range(site) -> None:
    x, norm, layer = site
    channels = search_uniform(norm.forward(x), 4, "last")
    codes = channels.codes(norm.forward(x))
    change = reparameterize(channels, integral_zero=True)
    change.fold(norm, layer)
    common = change.quantizer
    assert float(common.zero) == round(float(channels.zero.mean()))
    moved = common.codes(norm.forward(x)) - codes
    # Equal but where the new variables' float arithmetic meets a rounding boundary.
    assert moved.abs().max() <= 1
    assert (moved == 0).float().mean() > 0.99


def test_equal_channels_change_nothing() -> None:
    channels = UniformQuantizer(torch.full((4,), 0.5), torch.full((4,), 3.0), 4)
    change = reparameterize(channels, integral_zero=True)
    assert change.ratio.tolist() == [1, 1, 1, 1]
    assert change.shift.tolist() == [0, 0, 0, 0]
