"""The report of a quantization, put together from its measurements."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ... import __version__
from ...artifact import Artifact
from ...bit_table import LETTERS, widths_of
from ...pages import Header, Page, definitions, escape, grouped, percent, prefixed, table
from ...preprocessing import Preprocessing
from ..families import network_of
from ..network import QuantizedNetwork
from ..sensitivity import Sensitivity
from . import codes, hard_tensors, levels
from .measure import measure
from .sensitivity import sensitivity as sensitivity_section
from .view import View, many


def write_quantization_report(
    path: str | Path,
    quantized: QuantizedNetwork,
    model: nn.Module,
    pixels: Tensor | np.ndarray | Iterable[Tensor],
    preprocessing: Preprocessing,
    *,
    artifact: Artifact | None = None,
    source: Mapping[str, Any] | None = None,
    integer: Mapping[str, np.ndarray] | None = None,
    saturated: Mapping[str, int] | None = None,
    accuracy: Mapping[str, Mapping[str, Any]] | None = None,
    sensitivity: Sequence[Sensitivity] | None = None,
    command: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Measure on the calibration images, and write the page; equal arguments give equal bytes.

    Parameters:
        quantized: the calibrated network, of any method.
        model: the float timm model that was calibrated.
        pixels: uint8 `[N, H, W, C]`, or several such tensors; at least one image.
        artifact: what was exported; methods without an integer form have none.
        source: where the model comes from, as in `Artifact.source`, from which it is taken
            otherwise.
        integer, saturated: outputs by name and saturated values by operator of the integer level
            on the same images, as golden's `Inference` has them.
        accuracy: level -> `top1` and `top5` in percent, and `images`, how many; measured elsewhere.
        sensitivity: what each quantizer does alone.
        command: the command line that makes the page again.
        progress: called with the number of images done.
    Raises: OutputError where the file cannot be written; ValueError or TypeError where pixels or
    integer outputs have another shape than the model's, or there is no image.
    """
    source = dict(source if source is not None else artifact.source if artifact else {})
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(pixels)
    exact = network_of(model, preprocessing.mean, preprocessing.std, quantized.mode)
    found = measure(quantized, exact, pixels, progress)
    name, method = str(source.get("model", type(model).__name__)), str(source.get("method", ""))
    page = Page(
        " ".join(filter(None, (name, str(quantized.bits), method))),
        f"Quantization report, {many(found.images, 'calibration image')}, Rootshift {__version__}",
    )
    view = View(page, quantized, found)
    agreed = levels.agreements(view, integer)
    _facts(view, agreed, accuracy)
    _identity(view, name, method, preprocessing, artifact)
    levels.levels(view, agreed, artifact, integer, accuracy)
    levels.errors(view)
    hard_tensors.hard_tensors(view)
    codes.codes(view)
    codes.saturation(view, artifact, saturated)
    if sensitivity:
        sensitivity_section(page, sensitivity, quantized.bits, bool(quantized.network.features))
    _again(view, source, preprocessing, command)
    page.write(path)


def weight_bytes(quantized: QuantizedNetwork) -> tuple[int, int]:
    """Bytes of the weights' codes, and of the same weights in float32."""
    sizes = [(codes.numel(), quantizer.bits) for codes, quantizer in quantized.weight.values()]
    return (sum(n * bits for n, bits in sizes) + 7) // 8, 4 * sum(n for n, _ in sizes)


def _facts(
    view: View,
    agreed: Mapping[str, Mapping[str, Any]],
    accuracy: Mapping[str, Mapping[str, Any]] | None,
) -> None:
    """The large figures."""
    codes_size, float_size = weight_bytes(view.quantized)
    facts = [
        ("Bits", escape(view.quantized.bits), "weights W, activations A, softmax codes L or A"),
        ("Weights", prefixed(codes_size, "B"),
         f"of {prefixed(float_size, 'B')} in float32, {float_size / max(codes_size, 1):.1f} times "
         "smaller"),
    ]  # fmt: skip
    for level, each in agreed.items():
        facts.append(
            (f"Same label, {level}", percent(each["label"]), "as the float model, on these images")
        )
    for level, each in (accuracy or {}).items():
        facts.append((f"Top-1, {level}", f"{each['top1']:.2f} %", "measured on labelled images"))
    for name in view.network.outputs:
        decibels = view.found.noise[name].decibels()
        if decibels is not None:
            facts.append(("Output SNR", f"{decibels:.1f} dB", f"{name}, quantized network"))
    norms = [norm.channels for norm in view.found.norms.values() if norm.site]
    if norms:
        before, after = (max(pair[at].variation() for pair in norms) for at in (0, 1))
        facts.append(
            ("LayerNorm variation", f"{before:.1f}× → {after:.1f}×",
             "widest over median channel range, worst norm before and after")
        )  # fmt: skip
    view.page.facts(facts)


def _identity(
    view: View, name: str, method: str, preprocessing: Preprocessing, artifact: Artifact | None
) -> None:
    """What was quantized, and how."""
    quantized = view.quantized
    items = {
        "Model": f"{escape(name)}, input {' x '.join(map(str, preprocessing.shape))}",
        "Method": escape(method or "unknown"),
        "Bits": f"{escape(quantized.bits.default)} {'by default' if _mixed(view) else ''}",
        "Softmax base": {"sqrt2": "√2", "2": "2"}.get(quantized.base, escape(quantized.base)),
        "Arithmetic": "integers; this network in float between the quantizers"
        if quantized.mode == "integer"
        else "float between the quantizers; there is no integer form",
        "Artifact": f"<code>{artifact.digest}</code>" if artifact else "none",
    }
    view.page.add(definitions(items))
    mixed = _mixed(view)
    if mixed:
        headers = [Header("layer"), *(Header(letter) for letter in LETTERS.values())]
        view.page.details(
            f"{many(len(mixed), 'layer')} of other widths than {quantized.bits.default}",
            table(headers, mixed, name="bits by layer"),
        )


def _mixed(view: View) -> list[list[Any]]:
    """Layers whose widths are not the default ones: name, W, A and L, None where it has none."""
    bits, rows = view.quantized.bits, []
    for layer in view.network.layers():
        fields = widths_of(layer)
        if any(getattr(bits.of(layer), f) != getattr(bits.default, f) for f in fields):
            widths = [getattr(bits.of(layer), f) if f in fields else None for f in LETTERS]
            rows.append([layer, *widths])
    return rows


def _again(
    view: View, source: Mapping[str, Any], preprocessing: Preprocessing, command: str | None
) -> None:
    """What makes the page again."""
    view.page.section("again", "To make it again")
    if command:
        view.page.add(f"<pre>{escape(command)}</pre>")
    plain = {
        key.replace("_", " "): escape(value)
        for key, value in source.items()
        if isinstance(value, str | int | float)
    }
    view.page.add(definitions({"rootshift": escape(__version__)} | plain))
    items = preprocessing.to_json().items()
    view.page.details(
        "Preprocessing",
        definitions({key.replace("_", " "): escape(value) for key, value in items}),
    )
    calibration = source.get("calibration")
    if isinstance(calibration, list) and calibration:
        rows = [[str(each.get("file", "")), str(each.get("sha256", ""))] for each in calibration]
        view.page.details(
            f"{grouped(len(rows))} calibration images",
            table([Header("file"), Header("SHA-256")], rows, name="calibration images"),
        )
