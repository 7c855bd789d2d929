"""The report of a quantization: its numbers against direct computation, and the page itself."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rootshift.bit_table import BitTable
from rootshift.bits import Bits
from rootshift.preprocessing import Preprocessing
from rootshift.quant.calibrate import calibrate
from rootshift.quant.export import export
from rootshift.quant.extractors import feature_extractor
from rootshift.quant.families import network_of
from rootshift.quant.quantizers import LogQuantizer, TwinUniformQuantizer, UniformQuantizer
from rootshift.quant.report import write_quantization_report
from rootshift.quant.report.measure import measure
from rootshift.quant.report.page import weight_bytes
from rootshift.quant.report.statistics import Channels, CodeUse, Histogram, agreement
from rootshift.quant.report.view import block_of
from rootshift.quant.sensitivity import sensitivities
from rootshift.sim.golden.model import GoldenModel

from .small_vit import BASIC, MEAN, STD, random_pixels, small_vit, timm

PREPROCESSING = Preprocessing(
    height=16, width=16, channels=3, resize_height=16, resize_width=16, interpolation="bicubic",
    mean=MEAN, std=STD,
)  # fmt: skip
NASTY = '<img src="x">&'
VOID = {"meta", "input", "br", "img", "link", "hr"}


class Elements(HTMLParser):
    """Checks that elements close in order, and keeps tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def case() -> SimpleNamespace:
    """A small ViT, quantized, with every operand and tensor of both networks."""
    model, pixels = small_vit(), random_pixels(5)
    quantized = calibrate(model, pixels, MEAN, STD, Bits.parse("W4A4"))
    exact = network_of(model, MEAN, STD, quantized.mode)
    operands, fake, true = {}, {}, {}

    def execute(node, tensors):
        operands.update((s, x) for s, x in zip(node.sites, tensors, strict=True) if s)
        fake[node.name] = quantized.execute(node, tensors)
        return fake[node.name]

    def record(node, tensors):
        true[node.name] = node.forward(*tensors)
        return true[node.name]

    with torch.no_grad():
        quantized.network.run(pixels, execute)
        exact.run(pixels, record)
    return SimpleNamespace(
        model=model, pixels=pixels, quantized=quantized, exact=exact, operands=operands, fake=fake,
        true=true, found=measure(quantized, exact, pixels),
    )  # fmt: skip


def test_codes_are_those_of_the_quantizers(case: SimpleNamespace) -> None:
    assert case.found.images == 5
    assert set(case.found.sites) == set(case.quantized.network.sites)
    for site, x in case.operands.items():
        quantizer, use = case.quantized.activation[site], case.found.sites[site].summary()
        codes = quantizer.codes(x).numpy().astype(int).ravel()
        share = np.bincount(codes) / codes.size
        share = share[share > 0]
        assert use["values"] == x.numel()
        assert use["used"] == len(np.unique(codes)), site
        assert use["entropy"] == pytest.approx(-(share * np.log2(share)).sum())
        ends = np.isin(codes, (0, use["codes"] - 1)).mean()
        assert use["ends"] == pytest.approx(ends)
        assert use["zero"] == pytest.approx(float((quantizer.fake(x) == 0).double().mean()))
        if isinstance(quantizer, LogQuantizer):
            becomes_zero = (codes == quantizer.zero_code) & (x.numpy().ravel() > 0)
            assert use["low"] == pytest.approx(becomes_zero.mean())
            assert use["codes"] == quantizer.zero_code + 1
        else:
            raw = torch.round(x / quantizer.scale) + quantizer.zero
            assert use["low"] == pytest.approx(float((raw < 0).double().mean()))
            assert use["high"] == pytest.approx(float((raw > quantizer.top).double().mean()))
    assert any(use.summary()["high"] for use in case.found.sites.values())


def test_weights_are_counted(case: SimpleNamespace) -> None:
    for name, (codes, quantizer) in case.quantized.weight.items():
        use = case.found.weights[name]
        assert use.counts.tolist() == np.bincount(
            codes.numpy().ravel(), minlength=1 << quantizer.bits
        ).tolist()  # fmt: skip
        assert use.summary()["low"] is None
    sizes = {name: codes.numel() for name, (codes, _) in case.quantized.weight.items()}
    eight = sizes.pop("patch_embed.proj")
    assert weight_bytes(case.quantized) == (
        eight + sum(sizes.values()) // 2,
        4 * (eight + sum(sizes.values())),
    )


def test_twin_codes_are_counted() -> None:
    x = torch.linspace(-0.5, 4, 1001)
    for signed in (False, True):
        quantizer = TwinUniformQuantizer(torch.tensor(0.25), 3, 4, signed)
        values = x if signed else x.clamp_min(0)
        use = CodeUse(quantizer)
        use.add(values)
        codes = quantizer.codes(values).numpy().astype(int)
        assert use.counts.tolist() == np.bincount(codes, minlength=16).tolist()
        assert use.high == int((values > 7.5 * 0.25).sum()) > 0
        assert use.low == (int((values < -7.5 / 32).sum()) if signed else 0)
        zero = float((quantizer.fake(values) == 0).double().mean())
        assert use.summary()["zero"] == pytest.approx(zero)


def test_noise_is_that_of_both_networks(case: SimpleNamespace) -> None:
    noise = case.found.noise
    assert "blocks.0.norm1" not in noise
    assert {"blocks.1.attn.qkv", "blocks.0.attn.scores", "blocks.1.mlp.residual", "head"} <= set(
        noise
    )
    for name, each in noise.items():
        true, fake = case.true[name].double(), case.fake[name].double()
        ratio = float(true.square().sum() / (fake - true).square().sum())
        assert each.decibels() == pytest.approx(10 * np.log10(ratio), abs=1e-3), name


def test_norms_before_and_after(case: SimpleNamespace) -> None:
    for name, norm in case.found.norms.items():
        for at, tensors in enumerate((case.true, case.fake)):
            rows = tensors[name].flatten(0, 1)
            ranges = rows.amax(0) - rows.amin(0)
            torch.testing.assert_close(norm.channels[at].ranges(), ranges, atol=1e-5, rtol=1e-5)
            assert sum(norm.values[at].bins().counts) == rows.numel()
            band = norm.channels[at].band(torch.arange(rows.shape[1]))
            inner = rows.double().mean(0) - rows.double().std(0, unbiased=False)
            assert band.inner_low == pytest.approx(inner.maximum(rows.amin(0)).tolist(), abs=1e-4)
    worst = case.found.norms["blocks.0.norm1"]
    assert worst.reparameterized
    assert worst.site == "blocks.0.attn.qkv.input"
    assert worst.channels[1].variation() < worst.channels[0].variation()
    assert not case.found.norms["norm"].reparameterized


def test_how_images_are_cut_does_not_matter(case: SimpleNamespace) -> None:
    one_by_one = measure(case.quantized, case.exact, case.pixels.split(1))
    assert one_by_one.images == 5
    for site, use in case.found.sites.items():
        # The order of sums may move a value over the edge between two codes.
        moved = (one_by_one.sites[site].counts - use.counts).abs().sum()
        assert moved <= 2 + 1e-3 * int(use.counts.sum()), site
    for name, noise in case.found.noise.items():
        assert one_by_one.noise[name].decibels() == pytest.approx(noise.decibels(), abs=0.2)


def test_a_histogram_widens_without_losing_count() -> None:
    generator = torch.Generator().manual_seed(7)
    print("seed=7")
    chunks = [scale * torch.randn(500, generator=generator) for scale in (0.0, 1e-3, 1.0, 40.0)]
    growing, whole = Histogram(50), Histogram(50)
    for chunk in chunks:
        growing.add(chunk)
    whole.add(torch.cat(chunks))
    assert growing.bins() == whole.bins()
    bins = whole.bins()
    edges = bins.start + bins.width * np.arange(len(bins.counts) + 1)
    assert bins.counts == np.histogram(torch.cat(chunks).numpy(), edges)[0].tolist()
    assert 25 <= len(bins.counts) <= 50


def test_channels_of_one_value_do_not_vary() -> None:
    channels = Channels()
    channels.add(torch.zeros(3, 4))
    assert channels.variation() == 0.0


def test_agreement_of_logits() -> None:
    exact = torch.tensor([[3.0, 1, 0, 0, 0, 0, -1], [0, 5, 0, 0, 0, 0, 1]])
    changed = torch.tensor([[2.0, 4, 0, 0, 0, 0, -1], [0, 9, 0, 0, 0, 0, 1]])
    found = agreement(exact, changed)
    assert found["label"] == 0.5
    assert found["among_five"] == 1.0
    correlation = np.corrcoef(exact.flatten(), changed.flatten())[0, 1]
    assert found["correlation"] == pytest.approx(correlation)
    assert agreement(exact, 100 * changed + 7)["correlation"] == pytest.approx(correlation)
    assert agreement(exact, torch.zeros_like(exact))["correlation"] is None


@pytest.mark.parametrize(
    ("name", "block"),
    [("blocks.3.attn.qkv", "3"), ("layers.1.blocks.0.mlp.fc1", "1.0"), ("head", ""),
     ("layers.1.downsample.reduction", ""), ("patch_embed.proj", "")],
)  # fmt: skip
def test_tensors_stand_by_block(name: str, block: str) -> None:
    assert block_of(name) == block


def page(path: Path, case: SimpleNamespace, **changes) -> str:
    """The page of a case with everything that can be given."""
    source = {
        "model": NASTY, "method": "repq", "weights": NASTY,
        "calibration": [{"file": NASTY, "sha256": "0" * 64}],
    }  # fmt: skip
    artifact = export(case.quantized, PREPROCESSING, source)
    integer = GoldenModel(artifact).run(case.pixels.numpy())
    arguments = {
        "artifact": artifact,
        "integer": integer.outputs,
        "saturated": {"blocks.0.mlp.fc1": 12},
        "accuracy": {"integer": {"top1": 62.345, "top5": 81.5, "images": 468}},
        "sensitivity": sensitivities(case.exact, [case.pixels], (4, 6)),
        "command": f"rootshift quantize {NASTY}",
    }
    write_quantization_report(
        path, case.quantized, case.model, case.pixels, PREPROCESSING, **arguments | changes
    )
    return path.read_text(encoding="utf-8")


def test_the_page(tmp_path: Path, case: SimpleNamespace) -> None:
    text = page(tmp_path / "a.html", case)
    assert text == page(tmp_path / "b.html", case)
    elements = Elements(text)
    assert elements.tags["img"] == 0
    assert elements.tags["link"] == elements.tags["iframe"] == 0
    assert not {name for name, _ in elements.attributes} & {"src", "srcset", "action", "data"}
    assert all(value.startswith("#") for name, value in elements.attributes if name == "href")
    assert not re.search(r"https?://|url\(|@import", text)
    shown, _, _ = text.partition("<script>")
    assert not re.search(r"\b(nan|NaN|inf|None)\b", shown)
    assert NASTY in "".join(elements.texts)
    for words in ("62.34", "Saturation", "Sensitivity", "12", "quantized network, in float"):
        assert words in text
    for site in case.quantized.network.sites:
        assert f">{site}</th>" in text


def test_numbers_on_the_page(tmp_path: Path, case: SimpleNamespace) -> None:
    text = page(tmp_path / "a.html", case)
    decibels = case.found.noise["blocks.1.mlp.fc2"].decibels()
    assert re.search(rf'>blocks\.1\.mlp\.fc2</th>.*?data-key="{round(decibels, 4)!r}"', text)
    same = agreement(case.true["head"].flatten(1), case.fake["head"].flatten(1))
    assert f">{same['correlation']:.4f}</td>" in text
    size = 12 / (5 * 17 * 96)
    assert f'data-key="{size!r}"' in text


def test_mixed_bits_are_listed(tmp_path: Path, case: SimpleNamespace) -> None:
    table = BitTable.parse('default = "W4A4"\n[layers]\n"blocks.1.mlp.fc?" = "W6"\n')
    quantized = calibrate(case.model, case.pixels, MEAN, STD, table)
    write_quantization_report(
        tmp_path / "a.html", quantized, case.model, case.pixels, PREPROCESSING
    )
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "2 layers of other widths than W4A4" in text
    row = re.search(r">blocks\.1\.mlp\.fc1</th>(.*?)</tr>", text)[1]
    assert re.findall(r">([^<]+)</td>", row) == ["6", "4", "–"]


@pytest.mark.parametrize("method", ["minmax", "ptq4vit"])
def test_methods_without_an_integer_form(tmp_path: Path, method: str) -> None:
    model, pixels = small_vit(), random_pixels(3)
    quantized = calibrate(model, pixels, MEAN, STD, Bits.parse("W4A4"), method=method)
    path = tmp_path / "a.html"
    write_quantization_report(
        path, quantized, model, pixels, PREPROCESSING, source={"method": method}
    )
    text = path.read_text(encoding="utf-8")
    Elements(text)
    assert "there is no integer form" in text
    assert "At integer level" not in text


class Rounded:
    """A quantizer of a kind that the report does not know."""

    def fake(self, x: torch.Tensor) -> torch.Tensor:
        return x.round()


def test_an_unknown_quantizer_leaves_its_cells_out(tmp_path: Path) -> None:
    model, pixels = small_vit(), random_pixels(2)
    quantized = calibrate(model, pixels, MEAN, STD, Bits.parse("W4A4"), mode="reference")
    for site in ("blocks.0.attn.matmul2.A", "blocks.0.mlp.fc2.input", "blocks.0.attn.qkv.input"):
        quantized.activation[site] = Rounded()
    write_quantization_report(tmp_path / "a.html", quantized, model, pixels, PREPROCESSING)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    row = re.search(r">blocks\.0\.attn\.matmul2\.A</th>(.*?)</tr>", text)[1]
    assert re.findall(r">([^<]+)</td>", row) == ["softmax", *"–––––––"]
    assert "levels unknown" in text


def test_feature_maps_have_their_noise(tmp_path: Path) -> None:
    model, pixels = feature_extractor(small_vit(depth=3), [0, 2]), random_pixels(2)
    quantized = calibrate(model, pixels, MEAN, STD, Bits.parse("W4A4"))
    artifact = export(quantized, PREPROCESSING, {})
    integer = GoldenModel(artifact).run(pixels.numpy()).outputs
    path = tmp_path / "a.html"
    write_quantization_report(
        path, quantized, model, pixels, PREPROCESSING, artifact=artifact, integer=integer
    )
    text = path.read_text(encoding="utf-8")
    exact = network_of(model, MEAN, STD).run(pixels)
    for name, values in integer.items():
        true = exact[name].double().numpy()
        error = values * artifact[name].scale - true
        decibels = 10 * np.log10((true**2).sum() / (error**2).sum())
        row = re.search(rf">{re.escape(name)}</th>(.*?)</tr>", text)[1]
        assert re.findall(r">([^<]+)</td>", row)[1] == f"{decibels:.2f}"
    assert "Agreement with the float model" not in text


def test_a_swin_transformer_stands_by_stage_and_block(tmp_path: Path) -> None:
    print("seed=3")
    torch.manual_seed(3)
    model = timm.models.swin_transformer.SwinTransformer(
        img_size=16, patch_size=2, in_chans=3, num_classes=7, embed_dim=12, depths=(1, 2),
        num_heads=(2, 2), window_size=4,
    )  # fmt: skip
    model.eval().requires_grad_(False)
    pixels = random_pixels(2)
    quantized = calibrate(model, pixels, MEAN, STD, Bits.parse("W4A4"))
    write_quantization_report(tmp_path / "a.html", quantized, model, pixels, PREPROCESSING)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    Elements(text)
    assert {"0.0", "1.0", "1.1"} <= set(re.findall(r'text-anchor="middle">([\d.]+)</text>', text))
    # The shifted blocks' LayerNorm is reparameterized through the windows.
    row = re.search(r">layers\.1\.blocks\.1\.norm1</th>(.*?)</tr>", text)[1]
    assert ">layers.1.blocks.1.attn.qkv.input<" in row
    assert ">yes<" in row


def test_wrong_arguments(tmp_path: Path, case: SimpleNamespace) -> None:
    path = tmp_path / "a.html"
    arguments = (path, case.quantized, case.model)
    with pytest.raises(ValueError, match="pixels must hold at least one image, not 0"):
        write_quantization_report(*arguments, case.pixels[:0], PREPROCESSING)
    logits = {"head": np.zeros((4, 1, BASIC["num_classes"]), np.int32)}
    with pytest.raises(ValueError, match=r"logits must have shape \[5, 7\], not \[4, 7\]"):
        write_quantization_report(*arguments, case.pixels, PREPROCESSING, integer=logits)
    assert not path.exists()


def test_a_uniform_quantizer_per_channel_is_counted() -> None:
    x = torch.tensor([[0.0, 10.0], [3.0, 30.0]])
    use = CodeUse(UniformQuantizer(torch.tensor([1.0, 10.0]), torch.tensor([0.0, 0.0]), 3))
    use.add(x)
    assert use.counts.tolist() == [1, 1, 0, 2, 0, 0, 0, 0]
    assert use.summary()["zero"] is None
