"""The program: commands and memory image that run a model on one accelerator, and its files.

A folder of three: `program.bin`, the memory from ENTRY on; `map.json`, what lies where and which
values each command makes; `program.asm`, the commands as text.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .assembly import disassemble
from .config import AcceleratorConfig
from .errors import ConfigError, ProgramError
from .isa import COMMAND_BYTES, Command, decode, encode
from .output import write_folder

SCHEMA = 2
IMAGE, MAP, TEXT = "program.bin", "map.json", "program.asm"
LOGIT_BYTES = 4

_FIELDS = {
    "schema": int, "config": dict, "commands": list, "channels": list, "images": int,
    "classes": int, "input": dict, "output": dict, "segments": dict, "shapes": dict, "rows": dict,
    "image_sha256": str, "map_sha256": str,
}  # fmt: skip
_PLACED_FIELDS = {"operators": list, "image": int, "channels": int, "head": int, "token": int}
_AREA_FIELDS = {"offset": int, "stride": int, "bytes": int}


@dataclass(frozen=True, eq=False)
class Placed:
    """A command and the values that it makes.

    Fields:
        operators: names of the artifact's operators whose values it makes, in the order of making.
        image: number of the image.
        channels: int32, the channel at each place of the outputs, or -1; None where it makes none.
        head: number of the attention head.
        token: first token of the tensor that the command works on.
    """

    command: Command
    operators: tuple[str, ...] = ()
    image: int = 0
    channels: np.ndarray | None = None
    head: int = 0
    token: int = 0


@dataclass(frozen=True)
class Area:
    """Where things of each image lie: `offset` of the first from ENTRY, `stride` from one to the
    next, and `bytes` of each."""

    offset: int
    stride: int
    bytes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Program:
    """A model compiled for one configuration.

    Fields:
        config: the accelerator.
        commands: in program order, END last.
        image: the bytes from ENTRY on: commands, constants, zeros for input images and logits.
        images, classes: how many images a run infers, and logits of each.
        input, output: where images (uint8 [H][W][C]) and logits (int32) lie.
        segments: name -> offset and size, the memory map.
        shapes: tensor -> shape of one image's, all that the artifact's operators make.
        rows: tensor that has the values of another, from a row of it on -> that tensor and the row.
    Raises: ProgramError where the image is shorter than its areas, these are shorter than what they
    hold, the image does not begin with the commands, or these do not end with the one END.
    """

    config: AcceleratorConfig
    commands: tuple[Placed, ...]
    image: bytes = field(repr=False)
    images: int
    classes: int
    input: Area
    output: Area
    segments: Mapping[str, tuple[int, int]]
    shapes: Mapping[str, tuple[int, ...]]
    rows: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, area in (("input", self.input), ("output", self.output)):
            end = area.offset + (self.images - 1) * area.stride + area.bytes
            if min(asdict(area).values()) < 0 or end > len(self.image):
                raise ProgramError(
                    f"{name} must lie within the image of {len(self.image)} bytes, not end at {end}"
                )
            if not 0 < area.bytes <= area.stride:
                raise ProgramError(
                    f"{name} must have from 1 byte to its stride of {area.stride}, not {area.bytes}"
                )
        if self.images < 1:
            raise ProgramError(f"images must be at least 1, not {self.images}")
        most = self.output.bytes // LOGIT_BYTES
        if not 0 < self.classes <= most:
            raise ProgramError(f"classes must be from 1 to the output's {most}, not {self.classes}")
        for name, (offset, size) in self.segments.items():
            if offset < 0 or size < 0 or offset + size > len(self.image):
                raise ProgramError(
                    f"segment {name} must lie within the image of {len(self.image)} bytes, "
                    f"not end at {offset + size}"
                )
        size = prod(self.shapes.get("pixels", (0,)))
        if size != self.input.bytes:
            raise ProgramError(f"input must have the {size} bytes of the pixels' shape")
        if not self.image.startswith(self.code):
            raise ProgramError("image must begin with the commands and their checks")
        if [placed.command.name for placed in self.commands].count("END") != 1 or (
            self.commands[-1].command.name != "END"
        ):
            raise ProgramError("commands must be as many as the image holds, up to END")

    @property
    def code(self) -> bytes:
        """The encoded commands, with their checks."""
        return encode(placed.command for placed in self.commands)

    def memory(self, pixels: np.ndarray) -> bytearray:
        """The image with input images in their places.

        Parameters: `pixels` uint8 [images, H, W, C].
        Raises: TypeError or ValueError where they have another type or shape.
        """
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
        shape = (self.images, *self.shapes["pixels"])
        if pixels.shape != shape:
            raise ValueError(f"pixels must have shape {list(shape)}, not {list(pixels.shape)}")
        memory = bytearray(self.image)
        for number, image in enumerate(pixels):
            start = self.input.offset + number * self.input.stride
            memory[start : start + self.input.bytes] = image.tobytes()
        return memory

    def logits(self, memory: bytes | bytearray) -> np.ndarray:
        """int32 [images, classes] out of the memory after a run."""
        starts = (self.output.offset + n * self.output.stride for n in range(self.images))
        rows = [np.frombuffer(memory, "<i4", self.classes, start) for start in starts]
        return np.stack(rows).astype(np.int32)

    def files(self) -> dict[str, bytes]:
        """Name -> content of the files that `save` writes."""
        text = disassemble(self.code).encode()
        return {IMAGE: self.image, MAP: _render(self._map()), TEXT: text}

    def save(self, directory: str | Path) -> None:
        """Write atomically: `directory` is the old program or the new one, never a part of it.

        Raises: ProgramError where `directory` exists and is not a program, or cannot be written.
        """
        target, files = Path(directory), self.files()
        try:
            if target.exists() and (
                not target.is_dir() or {entry.name for entry in target.iterdir()} - files.keys()
            ):
                raise ProgramError(f"{target} must be a new, empty or program directory")
            write_folder(target, files)
        except OSError as error:
            known = "Not a directory" if isinstance(error, FileExistsError) else error.strerror
            raise ProgramError(f"{target}: cannot be written: {known or error}") from None

    @classmethod
    def load(cls, directory: str | Path) -> "Program":
        """Read and check schema, digests, fields and commands.

        Raises: ProgramError that says which of them is wrong.
        """
        path = Path(directory)
        table = _read_map(path / MAP)
        try:
            image = (path / IMAGE).read_bytes()
        except OSError as error:
            raise ProgramError(f"{path / IMAGE}: cannot be read: {error.strerror}") from None
        if hashlib.sha256(image).hexdigest() != table["image_sha256"]:
            raise ProgramError(f"{path / IMAGE}: altered or truncated: digest does not match")
        try:
            return _from_map(table, image)
        except (ProgramError, ConfigError, TypeError, ValueError, IndexError) as error:
            raise ProgramError(f"{path}: {error}") from None

    def _map(self) -> dict[str, Any]:
        # Commands of many images share their channels.
        kinds: dict[bytes, int] = {}
        commands = []
        for placed in self.commands:
            key = -1
            if placed.channels is not None:
                key = kinds.setdefault(placed.channels.tobytes(), len(kinds))
            commands.append(
                {
                    "operators": list(placed.operators),
                    "image": placed.image,
                    "channels": key,
                    "head": placed.head,
                    "token": placed.token,
                }
            )
        table = {
            "schema": SCHEMA,
            "config": asdict(self.config),
            "commands": commands,
            "channels": [np.frombuffer(key, np.int32).tolist() for key in kinds],
            "images": self.images,
            "classes": self.classes,
            "input": asdict(self.input),
            "output": asdict(self.output),
            "segments": {name: list(place) for name, place in self.segments.items()},
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "rows": {name: list(row) for name, row in self.rows.items()},
            "image_sha256": hashlib.sha256(self.image).hexdigest(),
        }
        return table | {"map_sha256": hashlib.sha256(_render(table)).hexdigest()}


def _render(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, separators=(",", ":"), sort_keys=True) + "\n").encode()


def _read_map(path: Path) -> dict[str, Any]:
    try:
        content = path.read_bytes()
        table = json.loads(content)
    except OSError as error:
        raise ProgramError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ProgramError(f"{path}: altered or truncated: not JSON") from None
    if not isinstance(table, dict) or "schema" not in table:
        raise ProgramError(f"{path}: not the map of a program")
    if type(table["schema"]) is not int or table["schema"] != SCHEMA:
        raise ProgramError(f"{path}: schema must be {SCHEMA}, not {table['schema']!r}")
    body = {key: value for key, value in table.items() if key != "map_sha256"}
    digest = hashlib.sha256(_render(body)).hexdigest()
    if table.get("map_sha256") != digest or content != _render(table):
        raise ProgramError(f"{path}: altered or truncated: digest does not match")
    _check_fields(str(path), table, _FIELDS)
    return table


def _check_fields(owner: str, item: Any, kinds: Mapping[str, type]) -> None:
    """Refuse what is not a JSON object of exactly these fields and kinds."""
    if not isinstance(item, dict):
        raise ProgramError(f"{owner} must be of type dict, not {item!r}")
    for key in sorted(kinds.keys() ^ item.keys()):
        raise ProgramError(f"{owner}: field {key!r} is {'missing' if key in kinds else 'unknown'}")
    for key, kind in kinds.items():
        if type(item[key]) is not kind:
            raise ProgramError(f"{owner}: {key} must be of type {kind.__name__}, not {item[key]!r}")


def _check_integers(owner: str, items: Iterable[Any], low: int, length: int | None = None) -> None:
    """Refuse what is not lists of 32-bit integers from `low` on, `length` of them if given."""
    for item in items:
        if not (
            isinstance(item, list)
            and length in (None, len(item))
            and all(type(value) is int and low <= value < 1 << 31 for value in item)
        ):
            number = "" if length is None else f"{length} "
            raise ProgramError(
                f"{owner} must be lists of {number}integers from {low} to 2^31 - 1, not {item!r}"
            )


def _from_map(table: Mapping[str, Any], image: bytes) -> Program:
    _check_integers("channels", table["channels"], -1)
    _check_integers("segments", table["segments"].values(), 0, 2)
    _check_integers("shapes", table["shapes"].values(), 1)
    channels = [np.array(places, np.int32) for places in table["channels"]]
    commands = []
    for number, entry in enumerate(table["commands"]):
        _check_fields(f"command {number}", entry, _PLACED_FIELDS)
        at, which = number * COMMAND_BYTES, entry["channels"]
        try:
            command = decode(image[at : at + COMMAND_BYTES])
        except ProgramError as error:
            raise ProgramError(f"command {number}: {error}") from None
        found = channels[which] if which >= 0 else None
        commands.append(
            Placed(
                command, tuple(entry["operators"]), entry["image"], found, entry["head"],
                entry["token"],
            )
        )  # fmt: skip
    for name in ("input", "output"):
        _check_fields(name, table[name], _AREA_FIELDS)
    return Program(
        config=AcceleratorConfig(**table["config"]),
        commands=tuple(commands),
        image=image,
        images=table["images"],
        classes=table["classes"],
        input=Area(**table["input"]),
        output=Area(**table["output"]),
        segments={name: (offset, size) for name, (offset, size) in table["segments"].items()},
        shapes={name: tuple(shape) for name, shape in table["shapes"].items()},
        rows={name: (source, row) for name, (source, row) in table["rows"].items()},
    )
