"""Memory images read back to the values, and the C header that describes a model."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.artifact import Artifact
from rootshift.config import AcceleratorConfig
from rootshift.hw.memory import c_header, hex_image, memory_images, tensor_width

from ..random_model import Size, random_artifact
from ..seeds import explored, generator


def readmemh(text: bytes, width: int) -> list[int]:
    """What `$readmemh` puts into a memory of `width` bits: unsigned words, one a line."""
    lines = text.decode("ascii").splitlines()
    assert all(re.fullmatch(r"[0-9a-f]+", line) for line in lines)
    words = [int(line, 16) for line in lines]
    assert all(0 <= word < 1 << width for word in words)
    return words


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return random_artifact(generator(3), Size(image=(8, 12, 3), depth=2), bits="W5A4L6")


@given(data=st.data(), width=st.integers(1, 40))
@explored(200)
def test_signed_and_unsigned_values_come_back(data: st.DataObject, width: int) -> None:
    signed = data.draw(st.booleans())
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    numbers = st.one_of(st.sampled_from([low, high, 0]), st.integers(low, high))
    values = np.array(data.draw(st.lists(numbers, max_size=20)), dtype=np.int64)
    text = hex_image(values, width)
    words = readmemh(text, width)
    back = [word - (1 << width) if signed and word >> (width - 1) else word for word in words]
    assert back == values.tolist()
    digits = -(-width // 4)
    assert {len(line) for line in text.splitlines()} <= {digits}


@pytest.mark.parametrize(
    ("values", "width", "text"),
    [
        ([[0, 1], [2, 15]], 4, b"0\n1\n2\nf\n"),
        ([0, 16, 31], 5, b"00\n10\n1f\n"),
        ([-1, -8, 7], 4, b"f\n8\n7\n"),
        ([-1], 17, b"1ffff\n"),
        ([-(2**31), 2**31 - 1], 32, b"80000000\n7fffffff\n"),
        ([], 8, b""),
    ],
)
def test_text_is_one_word_a_line(values: list, width: int, text: bytes) -> None:
    assert hex_image(np.array(values, dtype=np.int64), width) == text


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint16", "bool"])
def test_type_and_layout_of_the_array_do_not_matter(dtype: str) -> None:
    values = np.array([[1, 0, 1], [0, 1, 1]], dtype=dtype)
    assert hex_image(values, 3) == b"1\n0\n1\n0\n1\n1\n"
    assert hex_image(np.asfortranarray(values), 3) == hex_image(values, 3)
    assert hex_image(values[:, ::-1], 3) == b"1\n0\n1\n1\n1\n0\n"


@pytest.mark.parametrize(("value", "width"), [(16, 4), (-9, 4), (2, 1), (-2, 1), (2**32, 32)])
def test_a_value_that_does_not_fit_is_refused(value: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"values must fit {width} bits, not .*{value}"):
        hex_image(np.array([0, value]), width)


def test_every_array_of_the_artifact_has_an_image(artifact: Artifact) -> None:
    images = memory_images(artifact)
    arrays = {
        f"{op.name}.{key}.hex": (op, key, values)
        for op in artifact.operators
        for key, values in op.tensors().items()
    }
    assert images.keys() == arrays.keys()
    for name, (op, key, values) in arrays.items():
        width = tensor_width(op, key, values)
        words = readmemh(images[name], width)
        assert words == (values.reshape(-1).astype(np.int64) & ((1 << width) - 1)).tolist(), name


def test_codes_take_their_own_width(artifact: Artifact) -> None:
    widths = {
        f"{op.name}.{key}": tensor_width(op, key, values)
        for op in artifact.operators
        for key, values in op.tensors().items()
    }
    assert widths["patch_embed.weight"] == 8
    assert widths["block0.q.weight"] == 5
    assert widths["block0.gelu.table"] == 4
    assert widths["block0.q.weight_zero"] == widths["block0.q.multiplier"] == 16
    assert widths["block0.q.bias"] == widths["norm.offset"] == 32
    assert widths["embed.position"] == widths["norm.gain"] == 16


def defined(header: str) -> dict[str, str]:
    """Name -> value of every constant; none may be given twice."""
    pairs = re.findall(r"^#define (\w+) (\S+)$", header, re.M)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_the_header_describes_model_and_hardware(artifact: Artifact) -> None:
    config = AcceleratorConfig.for_artifact(artifact, "4x7")
    header = c_header(artifact, config)
    constants = defined(header)
    expected = {
        "IMAGE_HEIGHT": 8, "IMAGE_WIDTH": 12, "IMAGE_CHANNELS": 3, "CLASSES": 10, "WEIGHT_BITS": 5,
        "ACTIVATION_BITS": 4, "LOG_BITS": 6, "ARRAY_ROWS": 4, "ARRAY_COLS": 7, "LANES": 4,
        "OPERATORS": len(artifact.operators),
    }  # fmt: skip
    for name, value in expected.items():
        assert int(constants[f"ROOTSHIFT_{name}"]) == value, name
    step = float.fromhex(constants["ROOTSHIFT_LOGIT_STEP"])
    assert step == artifact.operators[-1].scale
    for name, shape in artifact.shapes().items():
        key = f"ROOTSHIFT_SIZE_{name.replace('.', '_').upper()}"
        assert int(constants[key]) == int(np.prod(shape)), name
    assert header.startswith("/*")
    assert header.count("#ifndef") == header.count("#endif") == 1
    assert header.endswith("\n")
