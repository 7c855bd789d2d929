"""Image files: pixels, or one line that names the file; whatever bytes they hold."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from rootshift.errors import ImageError
from rootshift.images import ImageSet
from rootshift.preprocessing import Preprocessing, load_pixels

from ..seeds import explored
from .damage import damaged
from .tally import attempt

SMALL = Preprocessing(
    height=8, width=8, channels=3, resize_height=9, resize_width=9, interpolation="bicubic",
    mean=(0.5,) * 3, std=(0.5,) * 3,
)  # fmt: skip
SQUASHED = Preprocessing(
    height=8, width=4, channels=1, resize_height=9, resize_width=5, interpolation="nearest",
    mean=(0.5,), std=(0.5,), crop_mode="squash",
)  # fmt: skip
BOMB_BYTES = 1 << 20
MEMORY = 3 << 30
"""Address space of a child that reads a bomb: far below what one decoded whole would take."""


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    """A picture of 13 x 11 pixels."""
    noise = np.random.default_rng(5).integers(0, 256, (11, 13, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, kind, **options)
    return file.getvalue()


FILES = {
    "png": [encoded("PNG"), encoded("PNG", "P"), encoded("PNG", "LA")],
    "jpeg": [encoded("JPEG"), encoded("JPEG", "L", progressive=True), encoded("JPEG", "CMYK")],
    "bmp": [encoded("BMP"), encoded("BMP", "1")],
    "ppm": [encoded("PPM"), encoded("PPM", "L")],
    "tiff": [encoded("TIFF"), encoded("TIFF", compression="tiff_lzw"), encoded("TIFF", "CMYK")],
    "webp": [encoded("WEBP"), encoded("WEBP", lossless=True)],
}


def decodes_or_refuses(kind: str, content: bytes, path: Path) -> None:
    path.write_bytes(content)
    for preprocessing in (SMALL, SQUASHED):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning is a line too many on the user's screen
            pixels = attempt(f"image, {kind}", lambda p=preprocessing: load_pixels(path, p))
        if pixels is not None:
            assert (pixels.dtype, pixels.shape) == (np.uint8, preprocessing.shape)


@pytest.mark.parametrize("kind", FILES)
def test_the_originals_are_read(kind: str, work: Path) -> None:
    for number, content in enumerate(FILES[kind]):
        path = work / f"{number}.{kind}"
        path.write_bytes(content)
        assert load_pixels(path, SMALL).shape == SMALL.shape


@pytest.mark.parametrize("kind", FILES)
@explored(300)
@given(data=st.data())
def test_damaged_files(
    data: st.DataObject, kind: str, work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content = data.draw(st.sampled_from(FILES[kind]).flatmap(damaged))
    decodes_or_refuses(kind, content, work / f"x.{kind}")
    # Nor do decoders say anything behind Python's back, but for libtiff, which nothing can quiet.
    assert kind == "tiff" or capfd.readouterr().err == ""


@explored(200)
@given(data=st.data())
def test_damaged_chunks_with_right_sums(data: st.DataObject, work: Path) -> None:
    """PNG guards each chunk by a CRC; here that is right, and what it guards is not."""
    content, at, made = FILES["png"][0], 8, [FILES["png"][0][:8]]
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        name, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        if data.draw(st.integers(0, 2)) == 0:
            name = data.draw(st.sampled_from([name, name, b"tRNS", b"PLTE", b"zTXt", b"iCCP"]))
            body = data.draw(damaged(body))
        made.append(chunk(name, body))
        at += 12 + size
    decodes_or_refuses("png", b"".join(made), work / "x.png")


@explored(100)
@given(content=st.one_of(st.binary(max_size=200), st.sampled_from([b"%!PS-Adobe-3.0 EPSF-3.0\n"])))
def test_any_bytes(content: bytes, work: Path) -> None:
    decodes_or_refuses("any bytes", content, work / "x.png")


def chunk(name: bytes, body: bytes) -> bytes:
    crc = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)


def png(width: int, height: int, data: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = [chunk(b"IHDR", header), *more, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


BOMBS = {
    "pixels by the billion": png(60_000, 60_000, zlib.compress(bytes(BOMB_BYTES))),
    "a side of 2^31": png((1 << 31) - 1, 1, zlib.compress(b"")),
    "a text of a gigabyte": png(
        4, 4, zlib.compress(bytes(20)), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 28)))
    ),
    "a profile of a gigabyte": png(
        4, 4, zlib.compress(bytes(20)), chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(1 << 28)))
    ),
    "a pnm of a billion": b"P5 60000 60000 255\n" + bytes(1000),
    "a bmp of a billion": encoded("BMP")[:18]
    + struct.pack("<ii", 60_000, 60_000)
    + encoded("BMP")[26:],
}
READ_BOMB = """
import resource, sys, warnings
warnings.simplefilter("error")
from rootshift.errors import ImageError
from rootshift.preprocessing import Preprocessing, load_pixels
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
one = Preprocessing(height=8, width=8, channels=3, resize_height=9, resize_width=9,
                    interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
for path in sys.argv[2:]:
    try:
        print("read", load_pixels(path, one).shape)
    except ImageError as error:
        print("refused", error)
"""


def test_bombs_are_refused_in_little_memory(work: Path) -> None:
    paths = []
    for number, content in enumerate(BOMBS.values()):
        paths.append(work / f"bomb{number}.png")
        paths[-1].write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", READ_BOMB, str(MEMORY), *map(str, paths)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = dict(zip(BOMBS, done.stdout.splitlines(), strict=True))
    print(lines)
    for what, line in lines.items():
        attempt("image, bombs", lambda line=line: told(line))
        harmless = what.startswith(("a text", "a profile"))  # what is beside the pixels is left out
        assert line.startswith("refused") or harmless, what


def told(line: str) -> str:
    """What the child said, as it was in the child."""
    if line.startswith("refused"):
        raise ImageError(line)
    return line


@pytest.mark.parametrize("suffix", [".png", ".eps", ".jpg"])
def test_no_program_is_run_for_a_picture(
    suffix: str, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    calls = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **_: calls.append(args))
    monkeypatch.setattr(subprocess, "check_call", lambda *args, **_: calls.append(args))
    path = work / f"picture{suffix}"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
        b"(touched) (w) file closefile\n%%EOF\n"
    )
    with pytest.raises(ImageError, match=f"image {path}: cannot be decoded"):
        load_pixels(path, SMALL)
    assert not calls


def test_a_size_beyond_all_numbers_is_refused() -> None:
    """An artifact's own preprocessing is input, too."""
    fields = SMALL.to_json() | {"resize_height": 10**400, "resize_width": 10**400}
    with pytest.raises(ValueError, match="resize_height must be at most 65536, not 1000000"):
        Preprocessing.from_json(fields)


@explored(100)
@given(data=st.data())
def test_a_folder_with_damaged_files_is_told_by_name(data: st.DataObject, work: Path) -> None:
    """Decoding is done by threads; the first error comes out, and nothing hangs."""
    folder = work / "folder"
    folder.mkdir(exist_ok=True)
    for number in range(3):
        content = FILES["png"][number]
        if data.draw(st.booleans()):
            content = data.draw(damaged(content))
        (folder / f"{number}.png").write_bytes(content)
    images = ImageSet.from_folder(folder, SMALL)
    found = attempt("image folder", lambda: list(images.batches(2)))
    assert found is None or [len(batch) for batch in found] == [2, 1]
