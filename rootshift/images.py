"""Named sets of images: from a folder, from a labels CSV, or from arrays in memory."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np

from .errors import ImageError
from .preprocessing import Preprocessing, load_pixels, prepare

__all__ = ["EMBEDDED", "ImageSet", "Preprocessing", "load_pixels", "prepare"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
EMBEDDED = "digits"
"""The model that brings its own calibration and test images."""
SPLITS = ("calibration", "evaluation")

_DECODING_THREADS = min(4, os.cpu_count() or 1)


class ImageSet:
    """An ordered set of named images, all of one shape, with a label each or none at all.

    Files are decoded when their pixels are asked for and not kept. Made by `from_folder`,
    `from_csv` and `from_arrays`.

    Members:
        names: str per image, unique: the path below the images folder with '/', or the name given.
        labels: int64 [len], class numbers from 0, or None.
        shape: (height, width, channels) of every image.
    """

    def __init__(
        self,
        names: Sequence[str],
        sources: Sequence[Path] | Sequence[np.ndarray],
        labels: np.ndarray | None,
        shape: tuple[int, int, int],
        preprocessing: Preprocessing | None,
    ) -> None:
        """For the constructors below: `sources` are files, or uint8 arrays already prepared."""
        self.names = tuple(names)
        self.labels = labels
        self.shape = shape
        self._sources = tuple(sources)
        self._preprocessing = preprocessing
        self._digests: tuple[str, ...] = ()

    @classmethod
    def from_folder(cls, folder: str | Path, preprocessing: Preprocessing) -> ImageSet:
        """Every image file in `folder` and below it, in order of name, without labels.

        An image file is one whose suffix is in `IMAGE_SUFFIXES`; hidden files are left out.

        Raises:
            ImageError: `folder` is no folder or holds no image file.
        """
        folder = _existing_folder(folder)
        paths = {
            path.relative_to(folder): path
            for path in folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        }
        visible = {
            relative.as_posix(): path
            for relative, path in paths.items()
            if not any(part.startswith(".") for part in relative.parts)
        }
        if not visible:
            raise ImageError(f"images folder {folder}: no {', '.join(IMAGE_SUFFIXES)} file in it")
        names = sorted(visible)
        sources = [visible[name] for name in names]
        return cls(names, sources, None, preprocessing.shape, preprocessing)

    @classmethod
    def from_csv(
        cls,
        csv_path: str | Path,
        preprocessing: Preprocessing,
        images_dir: str | Path | None = None,
        split: str | None = None,
    ) -> ImageSet:
        """The images that a labels file lists, in its order.

        Parameters:
            csv_path: a CSV with a header: `file` (path below the images folder), `label` (class
                number from 0) and optionally `split`.
            images_dir: the images folder; the CSV's own by default.
            split: `calibration` takes the rows that say so in `split`, and needs no labels;
                `evaluation` takes all others, all rows if there is no such column; None takes all.

        Raises:
            ValueError: `split` is something else.
            ImageError: a column is missing, a label is no class number, a file is missing, listed
                twice or outside the folder, or no row is left; the message names CSV and row.
        """
        if split is not None and split not in SPLITS:
            raise ValueError(f"split must be {' or '.join(SPLITS)} or None, not {split!r}")
        csv_path = Path(csv_path)
        folder = _existing_folder(csv_path.parent if images_dir is None else images_dir)
        columns, rows = _read_rows(csv_path)
        required = {"file", "split" if split == "calibration" else "label"}
        if missing := sorted(required - set(columns)):
            raise ImageError(f"labels file {csv_path}: no column {' and no column '.join(missing)}")

        sources: dict[str, Path] = {}
        labels: list[int] = []
        for number, row in rows:
            where = f"labels file {csv_path}, row {number}"
            is_calibration = (row.get("split") or "").strip() == "calibration"
            if split is not None and is_calibration != (split == "calibration"):
                continue
            name, path = _listed_file(row["file"], folder, where)
            if name in sources:
                raise ImageError(f"{where}: file {name} is listed twice")
            sources[name] = path
            if "label" in columns:
                labels.append(_class_number(row["label"], where))
        if not sources:
            raise ImageError(f"labels file {csv_path}: no {split + ' ' if split else ''}row in it")
        label_array = np.array(labels, dtype=np.int64) if labels else None
        return cls(
            list(sources), list(sources.values()), label_array, preprocessing.shape, preprocessing
        )

    @classmethod
    def from_path(
        cls, path: str | Path, preprocessing: Preprocessing, split: str | None = None
    ) -> ImageSet:
        """`from_csv` where `path` ends in .csv, `from_folder` otherwise."""
        path = Path(path)
        if path.suffix.lower() == ".csv":
            return cls.from_csv(path, preprocessing, split=split)
        return cls.from_folder(path, preprocessing)

    @classmethod
    def from_arrays(
        cls, names: Sequence[str], pixels: np.ndarray, labels: np.ndarray | None = None
    ) -> ImageSet:
        """Images already prepared: `pixels` uint8 [N, H, W, C], `labels` integers [N] or None.

        Raises:
            TypeError: pixels are not uint8, or labels not integers.
            ValueError: shapes do not fit, a name comes twice, or there is no image.
        """
        pixels = np.asarray(pixels)
        if pixels.dtype != np.uint8:
            raise TypeError(f"pixels must be uint8, not {pixels.dtype}")
        if pixels.ndim != 4 or pixels.size == 0:
            raise ValueError(f"pixels must be [N, H, W, C] and not empty, not {pixels.shape}")
        if len(names) != len(pixels) or len(set(names)) != len(names):
            raise ValueError(f"names must be {len(pixels)} different names, not {len(set(names))}")
        if labels is not None:
            labels = np.asarray(labels)
            if not np.issubdtype(labels.dtype, np.integer):
                raise TypeError(f"labels must be integers, not {labels.dtype}")
            if labels.shape != (len(pixels),) or labels.min() < 0:
                raise ValueError(f"labels must be {len(pixels)} class numbers from 0")
            labels = labels.astype(np.int64)
        return cls(names, list(pixels), labels, pixels.shape[1:], None)

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, index: int) -> np.ndarray:
        """Pixels of one image: uint8 [H, W, C].

        Raises:
            ImageError: its file cannot be decoded.
        """
        source = self._sources[index]
        return load_pixels(source, self._preprocessing) if isinstance(source, Path) else source

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Pixels of all images in order, uint8 [B, H, W, C], B = `size` but for a shorter last one.

        A few threads decode the next batch while the caller works on this one.

        Raises:
            ValueError: `size` is below 1.
            ImageError: a file cannot be decoded.
        """
        if size < 1:
            raise ValueError(f"batch size must be at least 1, not {size}")
        return self._decoded_batches(size)

    def _decoded_batches(self, size: int) -> Iterator[np.ndarray]:
        with ThreadPoolExecutor(_DECODING_THREADS) as pool:
            starts = range(0, len(self), size)

            def decode(start: int) -> list:
                stop = min(start + size, len(self))
                return [pool.submit(self.pixels, index) for index in range(start, stop)]

            ahead = decode(0)
            try:
                for start in starts:
                    current = ahead
                    ahead = decode(start + size) if start + size < len(self) else []
                    yield np.stack([future.result() for future in current])
            finally:
                for future in ahead:
                    future.cancel()

    def take(self, indices: Sequence[int]) -> ImageSet:
        """The images at these positions, in this order.

        Raises:
            ValueError: no position is given, or one comes twice.
        """
        if len(indices) == 0 or len(set(indices)) != len(indices):
            raise ValueError(f"indices must be different positions, at least one, not {indices!r}")
        found = ImageSet(
            [self.names[i] for i in indices],
            [self._sources[i] for i in indices],
            None if self.labels is None else self.labels[list(indices)],
            self.shape,
            self._preprocessing,
        )
        if self._digests:
            found._digests = tuple(self._digests[i] for i in indices)
        return found

    def decoded(self) -> ImageSet:
        """The same images with their pixels in memory; names, labels and digests stay.

        Raises:
            ImageError: a file cannot be decoded.
        """
        pixels = [image for batch in self.batches(_DECODING_THREADS) for image in batch]
        found = ImageSet(self.names, pixels, self.labels, self.shape, None)
        found._digests = self.digests()
        return found

    def digests(self) -> tuple[str, ...]:
        """SHA-256 per image in hexadecimal: of the file's bytes, or of the array's in C order.

        Raises:
            ImageError: a file cannot be read.
        """
        return self._digests or tuple(_digest(source) for source in self._sources)


def _digest(source: Path | np.ndarray) -> str:
    if isinstance(source, np.ndarray):
        return hashlib.sha256(source.tobytes()).hexdigest()
    try:
        return hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise ImageError(f"image {source}: {error.strerror}") from error


def _existing_folder(folder: str | Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"images folder {folder}: no such folder")
    return folder


def _read_rows(csv_path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and (line number, row) of every row of a CSV."""
    try:
        with csv_path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            return columns, [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise ImageError(f"labels file {csv_path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImageError(f"labels file {csv_path}: cannot be read as CSV: {error}") from error


def _listed_file(listed: str | None, folder: Path, where: str) -> tuple[str, Path]:
    """Name and path of a listed file, which must be below the folder as written and exist."""
    listed = (listed or "").strip()
    if not listed:
        raise ImageError(f"{where}: no file")
    relative = PurePosixPath(os.path.normpath(listed))
    if relative.is_absolute() or ".." in relative.parts:
        raise ImageError(f"{where}: file {listed} must be inside the images folder {folder}")
    path = folder / relative
    try:
        found = path.is_file()
    except OSError:  # a name too long for any file system
        found = False
    if not found:
        raise ImageError(f"{where}: file {listed} is not in the images folder {folder}")
    return str(relative), path


def _class_number(label: str | None, where: str) -> int:
    label = (label or "").strip()
    if not (label.isascii() and label.isdigit() and len(label) < 10):
        raise ImageError(f"{where}: label must be a class number from 0, not {label!r}")
    return int(label)
