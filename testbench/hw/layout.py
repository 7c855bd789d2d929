"""Packs stream payloads: NumPy arrays of fields to and from the integers on the wires."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

# One field: its offset in bits, the width of one element, its sign, how many elements.
Field = tuple[int, int, bool, int]

# Beats unpacked at a time: each element takes 64 bytes on the way.
CHUNK = 4096


def describe(shape: Any) -> dict[str, Field]:
    """Return the fields of a payload shape, as plain values that go through JSON.

    A struct gives one field per member, named as the member, nested members joined by a dot. An
    array of scalars is one field of many elements. Any other payload is one field named "".
    """
    if isinstance(shape, data.StructLayout):
        found = {}
        for name, field in shape:
            for path, (offset, width, signed, count) in describe(field.shape).items():
                found[f"{name}.{path}".rstrip(".")] = (offset + field.offset, width, signed, count)
        return found
    if isinstance(shape, data.ArrayLayout):
        inner = describe(shape.elem_shape)
        if set(inner) != {""}:
            raise TypeError(f"array elements must be scalars or arrays, not {shape.elem_shape!r}")
        _, width, signed, count = inner[""]
        return {"": (0, width, signed, count * shape.length)}
    scalar = Shape.cast(shape)
    return {"": (0, scalar.width, scalar.signed, 1)}


def pack(fields: Mapping[str, Field], values: Any) -> list[int]:
    """Return one integer per beat.

    Parameters
    ----------
    fields : mapping
        What `describe` gave.
    values : array or mapping of arrays
        Per field an integer array `[beats]` or `[beats, elements]`; the array itself when the
        payload has a single field. A field that is not given is zero.

    Raises
    ------
    ValueError
        A field that the payload lacks, a shape that does not fit, or a value beyond the width.
    """
    given = dict(values) if isinstance(values, Mapping) else {next(iter(fields)): values}
    unknown = set(given) - set(fields)
    if unknown:
        raise ValueError(f"fields must be among {sorted(fields)}, not {sorted(unknown)}")
    arrays = {name: np.asarray(value) for name, value in given.items()}
    beats = len(next(iter(arrays.values())))
    if beats > CHUNK:
        parts = [
            pack(fields, {name: array[at : at + CHUNK] for name, array in arrays.items()})
            for at in range(0, beats, CHUNK)
        ]
        return [beat for part in parts for beat in part]
    total = max(offset + width * count for offset, width, _, count in fields.values())
    bits = np.zeros((beats, -(-total // 8) * 8), np.uint8)
    for name, array in arrays.items():
        offset, width, signed, count = fields[name]
        array = np.ascontiguousarray(array.reshape(beats, count), "<i8")
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        if array.size and (array.min() < low or array.max() > high):
            raise ValueError(
                f"{name or 'payload'} must be {low} to {high}, not {array.min()} to {array.max()}"
            )
        planes = np.unpackbits(array.view(np.uint8), axis=1, bitorder="little")
        planes = planes.reshape(beats, count, 64)[:, :, :width]
        bits[:, offset : offset + count * width] = planes.reshape(beats, count * width)
    rows = np.packbits(bits, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


def unpack(fields: Mapping[str, Field], beats: list[int]) -> dict[str, NDArray[np.int64]]:
    """Return per field an int64 array `[beats, elements]` (`[beats]` where it is one scalar)."""
    if len(beats) > CHUNK:
        parts = [unpack(fields, beats[at : at + CHUNK]) for at in range(0, len(beats), CHUNK)]
        return {name: np.concatenate([part[name] for part in parts]) for name in fields}
    total = max(offset + width * count for offset, width, _, count in fields.values())
    size = -(-total // 8)
    raw = b"".join(beat.to_bytes(size, "little") for beat in beats)
    rows = np.frombuffer(raw, np.uint8).reshape(len(beats), size)
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    found = {}
    for name, (offset, width, signed, count) in fields.items():
        planes = bits[:, offset : offset + count * width].reshape(len(beats), count, width)
        wide = np.zeros((len(beats), count, 64), np.uint8)
        wide[:, :, :width] = planes
        if signed:
            wide[:, :, width:] = planes[:, :, -1:]
        packed = np.packbits(wide.reshape(len(beats), count * 64), axis=1, bitorder="little")
        array = packed.view("<i8").astype(np.int64).reshape(len(beats), count)
        found[name] = array[:, 0] if count == 1 else array
    return found
