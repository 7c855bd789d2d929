"""Calibration in bounded memory: one result, whatever the chunks, the files or the device."""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rootshift.bits import Bits
from rootshift.errors import CalibrationError
from rootshift.methods import METHODS
from rootshift.quant import walk
from rootshift.quant.calibrate import calibrate
from rootshift.quant.families import network_of
from rootshift.quant.methods import CLASSES
from rootshift.quant.network import Network, QuantizedNetwork
from rootshift.quant.nodes import Gather, LayerNorm, Node
from rootshift.quant.quantizers import UniformQuantizer

from .small_vit import MEAN, STD, random_pixels, small_vit

WAYS = [{"mode": "reference"}, *({"method": name} for name in METHODS)]
INTEGER = [name for name, method in METHODS.items() if method.integer]
TWO_PATHS = [name for name, kind in CLASSES.items() if walk.EXACT in kind.PATHS]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def calibrated(pixels, bits: str = "W8A8", **options) -> QuantizedNetwork:
    return calibrate(small_vit(), pixels, MEAN, STD, Bits.parse(bits), **options)


def assert_equal(found: QuantizedNetwork, want: QuantizedNetwork) -> None:
    """The same numbers everywhere."""
    assert list(found.activation) == list(want.activation)
    for site, quantizer in want.activation.items():
        for key, value in vars(quantizer).items():
            other = vars(found.activation[site])[key]
            equal = torch.equal(other, value) if isinstance(value, Tensor) else other == value
            assert equal, f"{site}.{key}"
    for name, (codes, grid) in want.weight.items():
        assert torch.equal(found.weight[name][0], codes), name
        assert torch.equal(found.weight[name][1].scale, grid.scale), name
        assert torch.equal(found.network.linears[name].bias, want.network.linears[name].bias), name
    assert found.stream_absmax == want.stream_absmax


def assert_near(
    found: QuantizedNetwork, want: QuantizedNetwork, tolerance: float, turned: float = 0.02
) -> None:
    """Equal but for float32 sums in another order, and the share of codes that they turn over."""
    for site, quantizer in want.activation.items():
        other = found.activation[site]
        torch.testing.assert_close(other.scale, quantizer.scale, rtol=tolerance, atol=0, msg=site)
        if isinstance(quantizer, UniformQuantizer):
            assert (other.zero - quantizer.zero).abs().max() <= 1, site
    for name, (codes, _) in want.weight.items():
        assert (found.weight[name][0] != codes).float().mean() < turned, name
    for name, greatest in want.stream_absmax.items():
        assert found.stream_absmax[name] == pytest.approx(greatest, rel=tolerance), name
    pixels = random_pixels(8, seed=5)
    error = (found.logits(pixels) - want.logits(pixels)).square().mean()
    assert error < tolerance * want.logits(pixels).var()


def near(options: dict[str, str]) -> dict[str, float]:
    """How near two calibrations are: GPTQ hands the error of each rounding on, so that a code that
    turns over turns many of those behind it."""
    if options.get("method") == "repq+gptq":
        return {"tolerance": 1e-2, "turned": 1.0}
    return {"tolerance": 1e-3}


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("options", WAYS)
def test_chunks_change_nothing(
    options: dict[str, str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches are exact whatever the chunks (test_search); what is searched may differ by what
    float32 products differ in batches of other sizes."""
    pixels = random_pixels(7)
    want = calibrated(pixels, **options)
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", size)
    assert_near(calibrated(pixels, **options), want, **near(options))


@pytest.mark.parametrize("options", WAYS)
def test_values_that_are_made_anew_are_the_same(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = random_pixels(7)
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", 3)
    want = calibrated(pixels, **options)
    monkeypatch.setattr(walk, "_READ_ONCE", 0)
    assert_near(calibrated(pixels, **options), want, **near(options))


@pytest.mark.parametrize("memory", [0, 10_000])
@pytest.mark.parametrize("options", WAYS)
def test_temporary_files_change_nothing_and_are_gone(
    options: dict[str, str], memory: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, most = random_pixels(7), 0
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", 3)
    want = calibrated(pixels, "W4A4", **options)
    assert list(folder.iterdir()) == []

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, sum(path.is_file() for path in folder.rglob("*")))

    found = calibrated(pixels, "W4A4", memory=memory, progress=look, **options)
    assert most > 3
    assert list(folder.iterdir()) == []
    assert_equal(found, want)


@pytest.mark.parametrize("options", WAYS)
def test_files_are_gone_after_an_error(options: dict[str, str], folder: Path) -> None:
    model = small_vit()
    with torch.no_grad():
        model.blocks[1].mlp.fc2.bias[3] = torch.nan
    with pytest.raises(CalibrationError):
        calibrate(model, random_pixels(4), MEAN, STD, Bits(8, 8), memory=0, **options)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("options", WAYS)
def test_parts_are_one_set_of_images(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = random_pixels(8)
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", 2)
    want = calibrated(pixels, "W4A4", **options)
    parts = [pixels[:0], pixels[:2], pixels[2:6], pixels[6:6], pixels[6:]]
    assert_equal(calibrated(parts, "W4A4", **options), want)
    assert_equal(calibrated(iter(parts), "W4A4", **options), want)


def test_parts_that_are_none_or_wrong_are_refused() -> None:
    pixels = random_pixels(2)
    for nothing in ([], [pixels[:0]]):
        with pytest.raises(CalibrationError, match="images must be at least one, not none"):
            calibrated(nothing)
    with pytest.raises(TypeError, match=r"pixels must be a uint8 tensor, not torch\.float32"):
        calibrated([pixels, pixels.float()])
    with pytest.raises(ValueError, match=r"shape \[images, 16, 16, 3\], not \[2, 8, 16, 3\]"):
        calibrated([pixels, pixels[:, :8]])


def test_images_are_read_as_they_are_taken_in(folder: Path) -> None:
    """A part at a time: what was read before lies in files."""
    counts = []

    def parts() -> Iterator[Tensor]:
        for seed in range(4):
            counts.append(sum(path.is_file() for path in folder.rglob("*")))
            yield random_pixels(2, seed)

    calibrated(parts(), memory=0)
    assert counts == [0, 1, 2, 3]


@contextmanager
def only_new_objects() -> Iterator[None]:
    """Objects of before are not looked at, which takes seconds: there are a million."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def bytes_alive() -> int:
    """Memory of the tensors that Python can reach."""
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    storages = [each.untyped_storage() for each in tensors]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


def alive_by_step(pixels, method: str, *, depth: int = 2, memory: int = 0) -> dict[str, int]:
    """Bytes alive, beyond those at the start, at the end of each step of a calibration."""
    model, alive = small_vit(depth=depth), {}

    def look(done: int, total: int, name: str) -> None:
        alive[name] = bytes_alive()

    with only_new_objects():
        options = {"method": method, "memory": memory, "progress": look}
        calibrate(model, pixels, MEAN, STD, Bits(4, 4), **options)
    return alive


@pytest.mark.parametrize("method", INTEGER)
def test_memory_does_not_grow_with_the_images(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", 4)

    def most(images: int, memory: int) -> int:
        parts = (random_pixels(4, seed) for seed in range(images // 4))
        return max(alive_by_step(parts, method, memory=memory).values())

    few, many = most(4, 0), most(48, 0)
    # One tensor of the stream of 44 images more is 72 kB.
    assert abs(many - few) < 5_000
    assert most(48, 1 << 30) > many + 400_000


@pytest.mark.parametrize("method", INTEGER)
def test_memory_does_not_grow_with_the_depth(method: str) -> None:
    """What no node ahead needs is dropped."""
    alive = alive_by_step(random_pixels(64), method, depth=6, memory=1 << 30)
    second, last = (
        max(n for name, n in alive.items() if name.startswith(f"blocks.{index}."))
        for index in (1, 5)
    )
    # Codes and values of a block's weights stay, 36 kB; a tensor of the stream has 104 kB.
    assert last - second < 4 * 50_000


def recorded(network: Network, pixels: Tensor) -> dict[str, Tensor]:
    """Every tensor of a float network, in the precision of calibration."""
    found = {}

    def execute(node: Node, tensors: list[Tensor]) -> Tensor:
        found[node.name] = node.forward(*tensors)
        return found[node.name]

    network.run(pixels, execute, network.precision)
    return found


@pytest.mark.parametrize("bits", ["W3A3", "W8A8"])
@pytest.mark.parametrize("method", TWO_PATHS)
def test_the_exact_path_is_the_float_network(
    method: str, bits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of weights and biases; folds behind a LayerNorm change that alone."""
    model, pixels = small_vit(qkv_bias=False, reg_tokens=1), random_pixels(6)
    mode = "integer" if METHODS[method].integer else "reference"
    want = recorded(network_of(model, MEAN, STD, mode), pixels)
    near = {"rtol": 1e-9, "atol": 1e-9} if mode == "integer" else {"rtol": 1e-3, "atol": 1e-4}
    checked, leave = [], walk.Walk.leave

    def look(self: walk.Walk, node: Node) -> None:
        if not isinstance(node, LayerNorm | Gather):
            parts = [self.value(node.name, chunk, walk.EXACT) for chunk in self.chunks]
            torch.testing.assert_close(torch.cat(parts), want[node.name], **near)
            checked.append(node.name)
        leave(self, node)

    monkeypatch.setattr(walk.Walk, "leave", look)
    monkeypatch.setattr(walk, "_CHUNK_IMAGES", 4)
    calibrate(model, pixels, MEAN, STD, Bits.parse(bits), method=method)
    norms = sum(isinstance(node, LayerNorm) for node in network_of(model, MEAN, STD).nodes)
    assert len(checked) == len(want) - norms


@pytest.mark.parametrize("method", [name for name in TWO_PATHS if name in INTEGER])
def test_the_mean_of_the_logits_is_that_of_float(method: str) -> None:
    """The bias of the last linear layer takes up what all quantizers before it have moved."""
    model, pixels = small_vit(), random_pixels(16)
    found = calibrate(model, pixels, MEAN, STD, Bits.parse("W3A4"), method=method)
    (want,) = network_of(model, MEAN, STD).run(pixels).values()
    torch.testing.assert_close(
        found.logits(pixels).mean(0), want.flatten(1).mean(0), rtol=1e-3, atol=1e-4
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", INTEGER)
def test_cuda_gives_what_the_cpu_gives(method: str) -> None:
    """To the tolerance of float32 products in another order; the result is on the CPU."""
    pixels = random_pixels(12)
    want = calibrated(pixels, method=method)
    found = calibrated(pixels, method=method, device="cuda")
    for tensor in (*(q.scale for q in found.activation.values()), found.network.mean):
        assert tensor.device.type == "cpu"
    for name, (codes, _) in found.weight.items():
        assert codes.device.type == "cpu", name
    assert_near(found, want, 1e-2)
