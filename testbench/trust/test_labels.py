"""Labels files: rows that name images inside the folder, or one line that names file and row."""

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from PIL import Image

from rootshift.images import ImageSet
from rootshift.preprocessing import Preprocessing

from ..seeds import explored
from .damage import damaged
from .tally import attempt

SMALL = Preprocessing(
    height=4, width=4, channels=3, resize_height=4, resize_width=4, interpolation="nearest",
    mean=(0.5,) * 3, std=(0.5,) * 3,
)  # fmt: skip
NAMES = ["a.png", "b.png", "sub/c.png", "é.png"]
FIELDS = st.one_of(
    st.sampled_from([*NAMES, "./a.png", "sub/../a.png", "A.PNG", " a.png ", "sub", ""]),
    st.sampled_from(
        [
            "../secret.png", "sub/../../secret.png", "/etc/passwd", "//etc/passwd", "~/x.png",
            "a.png\0", "\0", "..", ".", "/", "link.png", "..\\secret.png", "file:///etc/passwd",
            "a.png\n", "\r", "x" * 300, "x/" * 3000, "y" * 200_000, "\u202egnp.a", "\ud800",
        ]
    ),
    st.sampled_from(["0", "1", "-1", "1.5", "nan", "٣", "²", "9" * 30, "0x1", "1e3", " 2 ", "+1"]),
    st.sampled_from(["calibration", "evaluation", " calibration ", "CALIBRATION", '"', "'", ","]),
    st.text(max_size=6),
)  # fmt: skip
HEADERS = ["file,label,split", "label,file", "file,split", "file,file,label", " file , label", ""]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32", "cp500"]


@pytest.fixture(scope="module")
def folder(work: Path) -> Path:
    """Images, and one beside their folder that no labels file may reach."""
    inside = work / "images"
    (inside / "sub").mkdir(parents=True)
    for name in [*(f"images/{name}" for name in NAMES), "secret.png"]:
        Image.new("RGB", (4, 4), (200, 0, 0) if "secret" in name else (0, 90, 0)).save(work / name)
    return inside


def lists_or_refuses(content: bytes, folder: Path) -> None:
    path = folder / "labels.csv"
    path.write_bytes(content)
    for split in (None, "calibration", "evaluation"):
        images = attempt("labels CSV", lambda s=split: ImageSet.from_csv(path, SMALL, split=s))
        if images is None:
            continue
        inside = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert set(images.names) <= inside
        assert len(set(images.names)) == len(images) > 0
        assert images.labels is None or images.labels.dtype == np.int64
        found = attempt("labels CSV", lambda i=images: next(i.batches(8)))
        assert found is None or not found[..., 0].any(), "a secret was read"


@explored(300)
@given(data=st.data())
def test_fields(data: st.DataObject, folder: Path) -> None:
    header = data.draw(st.sampled_from(HEADERS))
    rows = data.draw(st.lists(st.lists(FIELDS, max_size=4).map(quoted), max_size=4))
    text = data.draw(st.sampled_from(["\n", "\r\n", "\r"])).join([header, *rows, ""])
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "utf-8", *ENCODINGS]))
    lists_or_refuses(text.encode(encoding, "replace"), folder)


def quoted(fields: list[str]) -> str:
    """A row; some fields in quotes, some so that they break it."""
    return ",".join(f'"{each}"' if len(each) % 3 == 1 else each for each in fields)


@explored(200)
@given(data=st.data())
def test_damaged_bytes(data: st.DataObject, folder: Path) -> None:
    rows = "".join(f"{name},{n},{'calibration' * (n % 2)}\n" for n, name in enumerate(NAMES))
    lists_or_refuses(data.draw(damaged(("file,label,split\n" + rows).encode())), folder)
