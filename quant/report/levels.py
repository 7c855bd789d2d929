"""The sections on error: agreement and accuracy by level, and noise by layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...artifact import Artifact
from ...pages import (
    Header,
    Line,
    Stop,
    legend,
    line_chart,
    percent,
    table,
)
from .statistics import Noise, agreement
from .view import OTHER, View, block_of, many, role_of

NAMES = {"float": "float model", "fake": "quantized network, in float", "integer": "integer"}
"""Levels as people read them; others keep their name."""


def agreements(view: View, integer: Mapping[str, np.ndarray] | None) -> dict[str, dict[str, Any]]:
    """Level -> agreement of its logits with the float model's; empty for a feature extractor.

    Parameters: `integer`, outputs of the integer level by name, `[images, 1, classes]`.
    Raises: ValueError where these are not of the calibration images.
    """
    found = view.found
    if view.network.features:
        return {}
    ((name, exact),) = found.exact.items()
    exact = exact.flatten(1)
    levels = {"fake": agreement(exact, found.fake[name].flatten(1))}
    if integer is not None:
        logits = torch.from_numpy(np.asarray(integer[name], np.float64)).flatten(1)
        if logits.shape != exact.shape:
            raise ValueError(
                f"integer logits must have shape {list(exact.shape)}, not {list(logits.shape)}"
            )
        levels["integer"] = agreement(exact, logits)
    return levels


def levels(
    view: View,
    agreed: Mapping[str, Mapping[str, Any]],
    artifact: Artifact | None = None,
    integer: Mapping[str, np.ndarray] | None = None,
    accuracy: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """How good each level is."""
    view.page.section("levels", "Levels", "The float model, the quantized network and integers.")
    images = many(view.found.images, "calibration image")
    if agreed:
        headers = [
            Header("level"),
            Header("same label", percent, "as the float model, share of the images"),
            Header("float label among five", percent),
            Header("correlation of logits", lambda value: f"{value:.4f}", "Pearson's r"),
        ]
        rows = [[_name(level), *each.values()] for level, each in agreed.items()]
        content = table(headers, rows, name="agreement with the float model")
        view.page.figure(
            content, "Agreement with the float model", f"on {images}, on which no label is needed; "
            "the quantizers have seen them, so that other images may agree less"
        )  # fmt: skip
    else:
        _features(view, artifact, integer)
    if accuracy:
        headers = [
            Header("level"), Header("top-1, %", "{:.2f}".format),
            Header("top-5, %", "{:.2f}".format), Header("images"),
        ]  # fmt: skip
        rows = [
            [_name(level), each["top1"], each["top5"], each.get("images")]
            for level, each in accuracy.items()
        ]
        view.page.figure(table(headers, rows, name="accuracy"), "Accuracy", "on labelled images")


def errors(view: View) -> None:
    """Signal-to-noise ratio of every tensor that no fold changes."""
    found = view.found.noise
    view.page.section(
        "errors",
        "Error by layer",
        "Power of a tensor in the float model over the power of what the quantized network adds "
        "to it, errors of the layers before included. 20 dB are a tenth of the amplitude.",
    )
    nodes = [node for node in view.network.nodes if node.name in found]
    shown = [node for node in nodes if role_of(node)]
    roles = dict.fromkeys(role_of(node) for node in shown)
    values = {node.name: found[node.name].decibels() for node in nodes}
    lines = [
        Line(
            name,
            [values[node.name] if role_of(node) == (name, colour) else None for node in shown],
            colour,
            joined=(name, colour) != OTHER,
        )
        for name, colour in roles
    ]
    if any(value is not None for line in lines for value in line.values):
        chart = line_chart(
            [Stop(node.name, block_of(node.name)) for node in shown], lines, "dB",
            lambda value: f"{value:.3g}", height=340,
        )  # fmt: skip
        view.page.figure(
            legend(list(roles)) + chart,
            "Signal-to-noise ratio",
            "in order of execution, behind the embedding",
        )
    headers = [
        Header("tensor"), Header("made by"), Header("SNR, dB", "{:.2f}".format),
        Header("error, share of the power", percent),
    ]  # fmt: skip
    rows = []
    for node in nodes:
        noise, decibels = found[node.name], values[node.name]
        share = float(f"{noise.error / noise.signal:.6g}") if noise.signal else None
        shown_value = None if decibels is None else round(decibels, 4)
        rows.append([node.name, type(node).__name__, shown_value, share])
    view.page.details("All tensors", table(headers, rows, name="error by tensor"))


def _features(
    view: View, artifact: Artifact | None, integer: Mapping[str, np.ndarray] | None
) -> None:
    """Noise of the feature maps by level."""
    rows = []
    for name, exact in view.found.exact.items():
        row: list[Any] = [name, view.found.noise[name].decibels(), None]
        if integer is not None and artifact is not None:
            noise = Noise()
            values = np.asarray(integer[name], np.float32) * np.float32(artifact[name].scale)
            noise.add(exact, torch.from_numpy(values).reshape(exact.shape))
            row[2] = noise.decibels()
        rows.append(row)
    headers = [Header("feature map"), *(
        Header(f"{NAMES[level]}: SNR, dB", "{:.2f}".format) for level in ("fake", "integer")
    )]  # fmt: skip
    view.page.figure(
        table(headers, rows, name="features"), "Feature maps", "against the float model"
    )


def _name(level: str) -> str:
    return NAMES.get(level, level)
