"""PTQ4ViT's search: gradients, weighed errors, and candidates."""

import pytest
import torch

from rootshift.bits import Bits
from rootshift.quant.chunks import ChunkStore
from rootshift.quant.methods.candidates import (
    COUNT,
    SignedCandidates,
    TwinActivationCandidates,
    TwinSoftmaxCandidates,
    UnsignedCandidates,
    search,
)
from rootshift.quant.methods.hessian import gradients, keep_gradients, multiplies
from rootshift.quant.methods.products import Product, Products
from rootshift.quant.methods.ptq4vit import Ptq4Vit
from rootshift.quant.network import FeatureMap, Network, QuantizedNetwork
from rootshift.quant.quantizers import UniformQuantizer
from rootshift.quant.vit import vit_network
from rootshift.quant.walk import EXACT, Walk

from .small_vit import MEAN, STD, random_pixels, small_vit

TENSORS = ("patch_embed.proj", "blocks.0.attn.scores", "blocks.1.attn.mix", "blocks.1.mlp.fc1")


def reference_network():
    return vit_network(small_vit(), MEAN, STD, "reference")


@pytest.fixture
def walk():
    """A walk that has passed the whole float network, with the gradients of all products."""
    network, pixels = reference_network(), random_pixels(3)
    quantized = QuantizedNetwork(network, Bits.parse("W4A4"))
    with ChunkStore() as store:
        walk = Walk(quantized, store, (EXACT,))
        walk.start([pixels])
        keep_gradients(walk, [node.name for node in network.nodes if multiplies(node)])
        for node in network.nodes:
            walk.keep(node, EXACT)
        yield walk


@pytest.mark.parametrize("name", TENSORS)
def test_gradients_are_finite_differences_of_the_loss(name):
    network, pixels = reference_network(), random_pixels(3)
    labels = next(iter(network.run(pixels).values())).flatten(1).argmax(1)
    direction = torch.Generator().manual_seed(1)

    def loss(nudge: float) -> torch.Tensor:
        def execute(node, operands):
            result = node.forward(*operands)
            if node.name == name:
                noise = torch.randn(result.shape, generator=direction.manual_seed(1))
                result = result + nudge * noise
            return result

        logits = next(iter(network.run(pixels, execute).values())).flatten(1).double()
        return torch.nn.functional.cross_entropy(logits, labels, reduction="sum")

    slope = gradients(network, pixels, [name])[name]
    noise = torch.randn(slope.shape, generator=direction.manual_seed(1))
    expected = (loss(1e-3) - loss(-1e-3)) / 2e-3
    assert float((slope * noise).sum()) == pytest.approx(float(expected), rel=0.02, abs=1e-3)


def test_gradients_of_an_image_do_not_depend_on_the_others():
    network, pixels = reference_network(), random_pixels(3)
    together = gradients(network, pixels, TENSORS)
    alone = gradients(network, pixels[1:2], TENSORS)
    for name in TENSORS:
        assert torch.allclose(together[name][1:2], alone[name], atol=1e-6), name


def test_a_feature_extractor_has_gradients_of_its_features():
    network, pixels = reference_network(), random_pixels(3)
    tensor = "blocks.1.attn.residual"
    features = [FeatureMap(tensor, (4, 4), 1)]
    image, mean, std = network.image, MEAN, STD
    network = Network(
        network.nodes, image=image, mean=mean, std=std, mode="reference", features=features
    )
    found = gradients(network, pixels, [tensor, "blocks.0.mlp.fc2", "head"])
    assert (found[tensor].abs() == 1).all()
    assert torch.equal(found[tensor][0], found[tensor][2])
    assert found["blocks.0.mlp.fc2"].abs().min() > 0
    assert not found["head"].any()


def test_the_float_network_needs_no_gradient_afterwards(walk):
    assert not walk.value("head", 0, EXACT).requires_grad


def test_errors_are_those_of_the_product_weighed_with_squared_gradients(walk):
    quantizer = UniformQuantizer(torch.tensor(0.3), torch.tensor(8.0), 4)
    pixels = walk.pixels(0)
    for node in walk.network.nodes:
        if not multiplies(node):
            continue
        operands = walk.operands(node, 0, EXACT)
        slope = gradients(walk.network, pixels, [node.name])[node.name]
        if hasattr(node, "weight"):
            right = quantizer.fake(node.weight)
            changed = node.apply(quantizer.fake(operands[0]), right)
        else:
            changed = node.forward(*(quantizer.fake(x) for x in operands))
        error = changed - node.forward(*operands)
        expected = (error * slope).double().square().sum()
        found = Products(walk, node).errors([quantizer], [quantizer]).sum()
        # Gradients are kept with the 8 bits of bfloat16.
        assert float(found) == pytest.approx(float(expected), rel=0.01), node.name


def test_blocks_of_a_product_are_the_whole_of_it():
    generator = torch.Generator().manual_seed(0)
    for groups, rows in ((1, 2000), (70, 90)):
        left = torch.randn(groups, rows, 50, generator=generator)
        right = torch.randn(groups, 300, 50, generator=generator)
        product = Product(left, right, left @ right.mT, left @ right.mT)
        blocks = list(product.blocks())
        assert len(blocks) > 1
        axis = 1 if groups == 1 else 0
        assert torch.equal(torch.cat([each.output for each in blocks], axis), product.output)


@pytest.mark.parametrize("stride", [1, 10])
def test_a_planted_optimum_of_each_group_is_found(stride):
    candidates = SignedCandidates(torch.ones(4), 4, torch.arange(4))
    planted = torch.tensor([0, 37, 62, COUNT - 1])
    tried = 0

    def errors(trials):
        nonlocal tried
        tried += len(trials)
        return torch.stack([(index - planted).double().square() for index in trials])

    assert search(candidates, errors, stride)
    assert candidates.index.tolist() == planted.tolist()
    assert tried == (COUNT + 1 if stride == 1 else 18)
    assert not search(candidates, errors, stride)


def test_a_tie_leaves_the_choice_as_it_is():
    candidates = UnsignedCandidates(torch.ones(1), 4)
    before = candidates.index.clone()
    assert not search(candidates, lambda trials: torch.zeros(len(trials), 1), 10)
    assert torch.equal(candidates.index, before)


def test_the_search_finds_the_scale_of_codes_in_spite_of_an_outlier(walk):
    node = walk.network.by_name["blocks.0.mlp.fc1"]
    generator = torch.Generator().manual_seed(3)
    node.weight = torch.randint(-8, 8, node.weight.shape, generator=generator).float()
    # One weight that a scale without clipping would reach, and that multiplies nothing.
    candidates = SignedCandidates(torch.ones(1), 4)
    candidates.scale = 1 / candidates.factors[55:56]
    node.weight[:, 0] = 7.5 * candidates.scale
    norm = walk.network.by_name[node.inputs[0]]
    norm.gamma[0], norm.beta[0] = 0.0, 0.0
    products = Products(walk, node)
    exact = UniformQuantizer(torch.tensor(1e-4), torch.tensor(2.0**17), 18)

    def errors(trials):
        tried = [candidates.quantizer(index) for index in trials]
        return products.errors([exact], tried).sum(1, keepdim=True)

    search(candidates, errors, Ptq4Vit.STRIDE)
    assert candidates.index.tolist() == [55]


def test_a_coarse_search_is_about_as_good_as_all_candidates(walk):
    ratios = []
    for node in walk.network.nodes:
        if not multiplies(node):
            continue
        products = Products(walk, node)
        errors = []
        for stride in (1, Ptq4Vit.STRIDE):
            method = Ptq4Vit(walk)
            method.STRIDE = stride
            pair = method.search(node)
            errors.append(products.errors(*([each.quantizer()] for each in pair)).sum())
        ratios.append(errors[1] / errors[0])
        print(node.name, float(ratios[-1]))
    # Either one may end in another optimum of both operands.
    assert torch.stack(ratios).log().mean().exp() < 1.1


def test_the_range_of_the_values_is_among_the_candidates():
    signed = SignedCandidates(torch.tensor([3.0]), 4).quantizer()
    assert signed.scale * 7.5 == pytest.approx(3.0, rel=0.01)
    unsigned = UnsignedCandidates(torch.tensor([3.0]), 4).quantizer()
    assert unsigned.scale * 15 == pytest.approx(3.0, rel=0.01)


def test_steps_of_twin_ranges_are_a_power_of_two_apart():
    softmax = TwinSoftmaxCandidates(4, torch.device("cpu"))
    for index in range(softmax.count):
        quantizer = softmax.quantizer(torch.tensor([index]))
        assert quantizer.shift == index
        assert quantizer.scale == pytest.approx(1 / 7)
    gelu = TwinActivationCandidates(torch.tensor([-0.17]), torch.tensor([6.0]), 4)
    for index in range(gelu.count):
        quantizer = gelu.quantizer(torch.tensor([index]))
        reach = float(quantizer.fine) * 7
        if quantizer.shift == 0:
            assert float(quantizer.scale) * 7 < 2 * 0.17
        else:
            assert 0.17 <= reach < 2 * 0.17
