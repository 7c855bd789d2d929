"""Top-1 and top-5: counted as anyone would count them by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootshift.accuracy import Accuracy, count_hits, evaluate
from rootshift.errors import ImageError
from rootshift.images import ImageSet

from ..seeds import explored, generator


def image_set(labels: Sequence[int] | None, count: int | None = None) -> ImageSet:
    """Images whose every pixel is their position."""
    count = len(labels) if count is None else count
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(2, axis=1)
    numbers = None if labels is None else np.array(labels)
    return ImageSet.from_arrays([f"{i}" for i in range(count)], pixels, numbers)


def by_position(table: np.ndarray):
    """Logits that are the row of `table` whose number the image shows."""
    return lambda pixels: table[pixels[:, 0, 0, 0]]


def place(row: np.ndarray, label: int) -> int:
    """Classes before `label`: greater logits, and equal ones of lower classes."""
    before = [c for c, x in enumerate(row) if x > row[label] or (x == row[label] and c < label)]
    return len(before)


@given(data=st.data(), classes=st.integers(1, 12), images=st.integers(1, 6))
@explored(80)
def test_hits_are_counted_by_place(data: st.DataObject, classes: int, images: int) -> None:
    numbers = st.integers(-3, 3)
    logits = np.array(
        [[data.draw(numbers) for _ in range(classes)] for _ in range(images)], dtype=np.int32
    )
    labels = np.array([data.draw(st.integers(0, classes - 1)) for _ in range(images)])
    places = [place(row, label) for row, label in zip(logits, labels, strict=True)]
    first = sum(p == 0 for p in places)
    among_five = sum(p < 5 for p in places)
    assert count_hits(logits, labels).tolist() == [first, among_five]


def test_extreme_integers_keep_their_order() -> None:
    logits = np.array([[-(2**31), 2**31 - 1, 0]], np.int32)
    # -(-2^31) does not fit int32: the least logit must not turn into the greatest.
    assert count_hits(logits, np.array([1])).tolist() == [1, 1]
    assert count_hits(logits, np.array([0])).tolist() == [0, 1]


@pytest.mark.parametrize("batch", [1, 2, 5, 7, 100])
def test_percent_does_not_depend_on_batches(batch: int) -> None:
    table = generator(batch).normal(size=(7, 9))
    labels = [int(np.argsort(-row)[p]) for row, p in zip(table, (0, 0, 1, 4, 5, 8, 0), strict=True)]
    found = evaluate({"a": by_position(table)}, image_set(labels), batch=batch)
    assert found == {"a": Accuracy(pytest.approx(300 / 7), pytest.approx(500 / 7))}


def test_every_level_sees_the_same_pixels_once() -> None:
    seen: dict[str, list[int]] = {"a": [], "b": []}

    def level(name: str):
        def logits(pixels: np.ndarray) -> np.ndarray:
            assert pixels.dtype == np.uint8
            seen[name] += pixels[:, 0, 0, 0].tolist()
            return np.zeros((len(pixels), 3))

        return logits

    evaluate({"a": level("a"), "b": level("b")}, image_set([0, 1, 2, 0, 1]), batch=2)
    assert seen == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3, 4]}


def test_fewer_than_five_classes_are_all_among_five() -> None:
    found = evaluate({"a": by_position(np.zeros((3, 2)))}, image_set([0, 1, 1]))
    assert found["a"] == Accuracy(pytest.approx(100 / 3), 100.0)


def test_progress_ends_at_the_number_of_images() -> None:
    calls: list[tuple[int, int, str]] = []
    evaluate(
        {"a": by_position(np.zeros((5, 2)))},
        image_set([0] * 5),
        batch=2,
        progress=lambda *call: calls.append(call),
    )
    assert [call[:2] for call in calls] == [(2, 5), (4, 5), (5, 5)]


def test_images_without_labels_are_refused() -> None:
    with pytest.raises(ImageError, match="images must have labels to evaluate"):
        evaluate({"a": by_position(np.zeros((2, 2)))}, image_set(None, 2))


def test_a_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ImageError, match="label must be below 3, the model's classes, not 3"):
        evaluate({"a": by_position(np.zeros((2, 3)))}, image_set([0, 3]))
