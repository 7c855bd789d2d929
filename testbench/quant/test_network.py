"""The float network is timm's model, and what it says of its own structure."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from rootshift.bit_table import BitTable
from rootshift.bits import Bits
from rootshift.errors import ModelError
from rootshift.quant.families import network_of
from rootshift.quant.network import FeatureMap, Network
from rootshift.quant.nodes import Add, Gather, LayerNorm, Linear, Node, PatchEmbedding

from .exported import VARIANTS, preprocessing_for, shaded_pixels, timm_logits, variant_model
from .small_vit import MEAN, SHAPES, STD, random_pixels, small_vit


def network(mode: str = "integer", **changes) -> Network:
    return network_of(small_vit(**changes), MEAN, STD, mode)


@pytest.mark.parametrize("mode", ["integer", "reference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_float_is_timms_model(variant: str, mode: str) -> None:
    check_float(variant_model(variant), mode)


@pytest.mark.parametrize("mode", ["integer", "reference"])
@pytest.mark.parametrize("shape", SHAPES)
def test_float_is_timms_model_of_other_shapes(shape: str, mode: str) -> None:
    check_float(small_vit(**SHAPES[shape]), mode)


def check_float(model, mode: str) -> None:
    preprocessing = preprocessing_for(model)
    pixels = shaded_pixels(model, 3, 4)
    made = network_of(model, preprocessing.mean, preprocessing.std, mode)
    (found,) = made.run(torch.from_numpy(pixels)).values()
    np.testing.assert_allclose(found.flatten(1), timm_logits(model, pixels), atol=1e-4)


@pytest.mark.parametrize("mode", ["integer", "reference"])
def test_the_network_has_its_own_weights(mode: str) -> None:
    model, pixels = small_vit(reg_tokens=2), random_pixels(2)
    made = network_of(model, MEAN, STD, mode)
    (before,) = made.run(pixels).values()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (after,) = made.run(pixels).values()
    assert torch.equal(before, after)


def test_gradients_reach_every_tensor() -> None:
    """Sensitivities and Hessians of tensors are derivatives of a run."""
    made, seen = network(), {}

    def execute(node: Node, tensors: list[Tensor]) -> Tensor:
        seen[node.name] = node.forward(*tensors)
        if not seen[node.name].requires_grad:
            seen[node.name].requires_grad_()
        seen[node.name].retain_grad()
        return seen[node.name]

    (logits,) = made.run(random_pixels(2), execute).values()
    logits.square().sum().backward()
    for name, tensor in seen.items():
        assert tensor.grad is not None, name
        assert tensor.grad.abs().max() > 0, name


def test_operands_are_the_tensors_of_their_names() -> None:
    made, order, alive = network(), [], {}

    def execute(node: Node, tensors: list[Tensor]) -> Tensor:
        for name, x in zip(node.inputs, tensors, strict=True):
            assert name not in alive or x is alive[name]
        order.append(node.name)
        alive[node.name] = node.forward(*tensors)
        return alive[node.name]

    outputs = made.run(random_pixels(1), execute)
    assert order == [node.name for node in made.nodes]
    assert list(outputs) == ["head"]
    assert outputs["head"] is alive["head"]


def test_layers_are_named_in_order_of_execution() -> None:
    parts = (
        "attn.qkv",
        "attn.scores",
        "attn.softmax",
        "attn.mix",
        "attn.proj",
        "mlp.fc1",
        "mlp.fc2",
    )
    blocks = [f"blocks.{index}.{part}" for index, part in itertools.product(range(2), parts)]
    assert list(network().layers()) == ["patch_embed.proj", *blocks, "head"]


@pytest.mark.parametrize("mode", ["integer", "reference"])
def test_norms_in_front_of_one_layer_are_reparameterized(mode: str) -> None:
    made = network(mode)
    pairs = itertools.product(range(2), (("norm1", "attn.qkv"), ("norm2", "mlp.fc1")))
    expected = {
        f"blocks.{index}.{layer}.input": (f"blocks.{index}.{norm}", f"blocks.{index}.{layer}")
        for index, (norm, layer) in pairs
    }
    found = {site: (norm.name, layer.name) for site, (norm, layer) in made.norm_sites().items()}
    # Not the last one: RepQ-ViT leaves the head's LayerNorm as it is.
    assert found == expected


def norm_and(*others: Node, features: tuple[str, ...] = ()) -> tuple[Network, Linear]:
    """A network of a LayerNorm and what else there is, with a layer that reads the last but one."""
    unit = {"gamma": torch.ones(2), "beta": torch.zeros(2), "eps": 1e-6}
    norm = LayerNorm(name="norm", inputs=("pixels",), **unit)
    matrix = {"weight": torch.eye(2), "bias": torch.zeros(2)}
    source = others[0].name if others else "norm"
    layer = Linear(name="layer", inputs=(source,), sites=("layer.input",), **matrix)
    nodes = [norm, *others[:1], layer, *others[1:], Node(name="last", inputs=("layer",))]
    maps = [FeatureMap(name, (1, 1)) for name in features]
    return Network(nodes, image=(1, 1, 1), mean=(0,), std=(1,), features=maps), layer


def moved(index: list[list[int]]) -> Gather:
    fill = torch.zeros(2)
    return Gather(name="moved", inputs=("norm",), index=torch.tensor(index), fill=fill)


def test_a_norm_is_reparameterized_where_nothing_else_sees_it() -> None:
    made, layer = norm_and()
    assert made.norm_before(layer) is made.by_name["norm"]
    made, layer = norm_and(moved([[1], [-1], [0]]))
    assert made.norm_before(layer) is made.by_name["norm"]
    assert made.norm_sites() == {"layer.input": (made.by_name["norm"], layer)}


@pytest.mark.parametrize(
    ("others", "features"),
    [
        ((moved([[1, 0]]),), ()),
        ((Node(name="between", inputs=("norm",)),), ()),
        ((Node(name="between", inputs=("pixels",)),), ()),
        ((moved([[0]]), Node(name="second", inputs=("norm",))), ()),
        ((moved([[0]]), Node(name="second", inputs=("moved",))), ()),
        ((), ("norm",)),
        ((moved([[0]]),), ("moved",)),
        ((moved([[0]]),), ("norm",)),
    ],
)
def test_a_norm_that_something_else_sees_stays_as_it_is(others, features) -> None:
    made, layer = norm_and(*others, features=features)
    assert made.norm_before(layer) is None
    assert made.norm_sites() == {}


def test_the_stream_is_what_no_quantizer_reads() -> None:
    made = network(reg_tokens=2)
    parts = ("attn.proj", "attn.residual", "mlp.fc2", "mlp.residual")
    blocks = [f"blocks.{index}.{part}" for index, part in itertools.product(range(2), parts)]
    found = [node.name for node in made.nodes if made.is_stream(node.name)]
    assert found == ["patch_embed.proj", "embed", *blocks, "pool"]


def test_moved_branches_and_features_are_of_the_stream() -> None:
    index, fill = torch.tensor([[0]]), torch.zeros(1)
    nodes = [
        Node(name="x", inputs=("pixels",)),
        Node(name="branch", inputs=("x",)),
        Gather(name="back", inputs=("branch",), index=index, fill=fill),
        Add(name="sum", inputs=("x", "back")),
        Node(name="codes", inputs=("sum",)),
        Node(name="feature", inputs=("codes",)),
        Node(name="other", inputs=("codes",)),
    ]
    maps = [FeatureMap("feature", (1, 1))]
    made = Network(nodes, image=(1, 1, 1), mean=(0,), std=(1,), features=maps)
    assert made.outputs == ("feature",)
    stream = {node.name for node in nodes if made.is_stream(node.name)}
    assert stream == {"x", "branch", "back", "sum", "feature"}


def test_widths_of_sites_and_weights() -> None:
    table = BitTable.parse(
        'default = "W4A5L6"\n[layers]\n"*.qkv" = "W7A3"\n"*.softmax" = "L8"\n"*.mix" = "A7"\n'
        '"*.scores" = "A4"\n'
    )
    for mode, bits in itertools.product(("integer", "reference"), (Bits(4, 5, 6), table)):
        made, mixed = network(mode, depth=1), bits is table
        found = {site.removeprefix("blocks.0."): made.site_width(site, bits) for site in made.sites}
        ends = {"patch_embed.proj.input": 8} if mode == "reference" else {"mlp.act.input": 8}
        assert found == ends | {
            "attn.qkv.input": 3 if mixed else 5,
            "attn.matmul1.A": 4 if mixed else 5,
            "attn.matmul1.B": 4 if mixed else 5,
            "attn.matmul2.A": 8 if mixed else 6,
            "attn.matmul2.B": 7 if mixed else 5,
            "attn.proj.input": 5,
            "mlp.fc1.input": 5,
            "mlp.fc2.input": 5,
            "head.input": 5,
        }
        widths = {name: made.weight_width(layer, bits) for name, layer in made.linears.items()}
        assert widths.pop("patch_embed.proj") == (8 if mode == "integer" else 4)
        assert widths.pop("blocks.0.attn.qkv") == (7 if mixed else 4)
        assert set(widths.values()) == {4}


def test_black_pixels_are_code_zero_and_the_mean_pixel_gives_nothing() -> None:
    made = network()
    embedding = made.linears["patch_embed.proj"]
    assert isinstance(embedding, PatchEmbedding)
    pixels = torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    assert torch.equal(made.prepare(pixels), torch.zeros(1, 3, 16, 16))
    plain = network_of(small_vit(), MEAN, STD, "reference").linears["patch_embed.proj"]
    mean = made.pixel_mean(embedding)
    torch.testing.assert_close((embedding.weight @ mean + embedding.bias).float(), plain.bias)


def test_a_model_of_no_family_is_refused() -> None:
    with pytest.raises(ModelError, match=r"must be a timm .*not Linear"):
        network_of(torch.nn.Linear(2, 2), MEAN, STD)
