"""Image sets: the order, labels, splits and refusals that calibration and evaluation rely on."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rootshift.errors import ImageError
from rootshift.images import ImageSet, Preprocessing, load_pixels

SMALL = Preprocessing(
    height=8,
    width=8,
    channels=3,
    resize_height=9,
    resize_width=9,
    interpolation="bilinear",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)
LABELLED = "file,label,split\nb.png,3,evaluation\na.png,0,calibration\nsub/c.png,7,evaluation\n"


@pytest.fixture
def folder(tmp_path):
    """Three images, one in a sub-folder, beside a hidden one and a text file."""
    (tmp_path / "sub").mkdir()
    for shade, name in enumerate(("a.png", "b.png", "sub/c.png", ".hidden.png")):
        image = Image.new("RGB", (12, 10 + shade), (shade * 60, 10, 200 - shade))
        image.save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def from_text(folder, text, **options) -> ImageSet:
    path = folder / "labels.csv"
    path.write_text(text)
    return ImageSet.from_csv(path, SMALL, **options)


def test_import_needs_neither_torch_nor_pillow():
    code = "import rootshift.images, sys; assert not {'torch', 'timm', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_folder_lists_images_by_name_without_labels(folder):
    images = ImageSet.from_folder(folder, SMALL)
    assert images.names == ("a.png", "b.png", "sub/c.png")
    assert len(images) == 3
    assert images.labels is None
    assert images.shape == (8, 8, 3)
    np.testing.assert_array_equal(images.pixels(2), load_pixels(folder / "sub/c.png", SMALL))


def test_csv_keeps_its_order_and_labels(folder):
    images = from_text(folder, LABELLED)
    assert images.names == ("b.png", "a.png", "sub/c.png")
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [3, 0, 7]


def test_splits_share_no_image_and_miss_none(folder):
    calibration = from_text(folder, LABELLED, split="calibration")
    evaluation = from_text(folder, LABELLED, split="evaluation")
    assert calibration.names == ("a.png",)
    assert evaluation.names == ("b.png", "sub/c.png")
    assert evaluation.labels.tolist() == [3, 7]


def test_evaluation_takes_every_row_where_there_is_no_split(folder):
    images = from_text(folder, "file,label\na.png,1\nb.png,2\n", split="evaluation")
    assert images.labels.tolist() == [1, 2]


def test_calibration_rows_need_no_labels(folder):
    images = from_text(folder, "file,split\na.png,calibration\n", split="calibration")
    assert images.names == ("a.png",)
    assert images.labels is None


def test_images_may_lie_in_another_folder(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    path.write_text("\ufefflabel , file\n4,./sub/../a.png\n", encoding="utf-8")
    images = ImageSet.from_csv(path, SMALL, images_dir=folder)
    assert images.names == ("a.png",)
    assert images.labels.tolist() == [4]


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_batches_hold_all_pixels_in_order(folder, size):
    images = from_text(folder, LABELLED)
    batches = list(images.batches(size))
    assert all(len(batch) == size for batch in batches[:-1])
    expected = np.stack([images.pixels(i) for i in range(len(images))])
    np.testing.assert_array_equal(np.concatenate(batches), expected)


def test_batches_can_be_left_early(folder):
    images = from_text(folder, LABELLED)
    assert next(images.batches(1)).shape == (1, 8, 8, 3)


def test_undecodable_file_ends_the_batches_by_name(folder):
    (folder / "b.png").write_bytes(b"\x89PNG")
    images = ImageSet.from_folder(folder, SMALL)
    with pytest.raises(ImageError, match=r"b\.png: cannot be decoded"):
        list(images.batches(2))


def test_digests_tell_files_apart_and_follow_their_bytes(folder):
    images = ImageSet.from_folder(folder, SMALL)
    before = images.digests()
    assert before[0] == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert len(set(before)) == 3
    Image.new("RGB", (12, 12), "white").save(folder / "a.png")
    after = images.digests()
    assert after[0] != before[0]
    assert after[1:] == before[1:]
    (folder / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png"):
        images.digests()


def test_take_keeps_names_labels_and_pixels_together(folder):
    images = from_text(folder, LABELLED)
    taken = images.take([2, 0])
    assert taken.names == ("sub/c.png", "b.png")
    assert taken.labels.tolist() == [7, 3]
    np.testing.assert_array_equal(taken.pixels(0), images.pixels(2))
    for indices in ([], [1, 1]):
        with pytest.raises(ValueError, match="indices must be different positions"):
            images.take(indices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.png,1\n", "no column file"),
        ("file,split\na.png,evaluation\n", "no column label"),
        ("", "no column file and no column label"),
        ("file,label\n", "no row in it"),
        ("file,label\na.png,1\nz.png,1\n", r"row 3: file z\.png is not in the images folder"),
        ("file,label\nsub,1\n", "row 2: file sub is not in the images folder"),
        ("file,label\n,1\n", "row 2: no file"),
        ("file,label\na.png,cat\n", "row 2: label must be a class number from 0, not 'cat'"),
        ("file,label\na.png,-1\n", "row 2: label must be a class number from 0, not '-1'"),
        ("file,label\na.png,1.5\n", "row 2: label must be a class number from 0, not '1.5'"),
        ("file,label\na.png\n", "row 2: label must be a class number from 0, not ''"),
        ("file,label\na.png,1\n./a.png,1\n", r"row 3: file a\.png is listed twice"),
        ("file,label\n../a.png,1\n", r"row 2: file \.\./a\.png must be inside the images folder"),
        ("file,label\nsub/../../a.png,1\n", "row 2: file .* must be inside the images folder"),
        ("file,label\n/a.png,1\n", "row 2: file /a.png must be inside the images folder"),
        ('file,label\n"a.png,1\n', "cannot be read as CSV"),
    ],
)
def test_bad_csv_is_refused_by_file_and_row(folder, text, message):
    with pytest.raises(ImageError, match=r"labels\.csv") as caught:
        from_text(folder, text)
    assert caught.match(message)


def test_calibration_without_such_rows_is_refused(folder):
    with pytest.raises(ImageError, match="no column split"):
        from_text(folder, "file,label\na.png,1\n", split="calibration")
    with pytest.raises(ImageError, match="no calibration row in it"):
        from_text(folder, "file,label,split\na.png,1,evaluation\n", split="calibration")
    with pytest.raises(ValueError, match="split must be calibration or evaluation or None"):
        from_text(folder, LABELLED, split="train")


def test_missing_or_binary_csv_and_missing_folder_are_refused(folder):
    with pytest.raises(ImageError, match=r"absent\.csv: no such file"):
        ImageSet.from_csv(folder / "absent.csv", SMALL)
    with pytest.raises(ImageError, match=r"a\.png: cannot be read as CSV"):
        ImageSet.from_csv(folder / "a.png", SMALL)
    with pytest.raises(ImageError, match=r"images folder .*nowhere: no such folder"):
        ImageSet.from_csv(folder / "labels.csv", SMALL, images_dir=folder / "nowhere")
    with pytest.raises(ImageError, match=r"images folder .*nowhere: no such folder"):
        ImageSet.from_folder(folder / "nowhere", SMALL)
    (folder / "nothing").mkdir()
    with pytest.raises(ImageError, match=r"nothing: no .* file in it"):
        ImageSet.from_folder(folder / "nothing", SMALL)


def test_arrays_are_served_as_they_are():
    pixels = np.arange(2 * 8 * 8 * 1, dtype=np.uint8).reshape(2, 8, 8, 1)
    images = ImageSet.from_arrays(["x", "y"], pixels, np.array([1, 0], dtype=np.int32))
    np.testing.assert_array_equal(np.concatenate(list(images.batches(1))), pixels)
    assert images.labels.dtype == np.int64
    assert images.shape == (8, 8, 1)
    assert images.digests()[1] == hashlib.sha256(pixels[1].tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("names", "pixels", "labels", "error", "message"),
    [
        (["x"], np.zeros((1, 8, 8, 3)), None, TypeError, "pixels must be uint8, not float64"),
        (["x"], np.zeros((8, 8, 3), np.uint8), None, ValueError, r"pixels must be \[N, H, W, C\]"),
        ([], np.zeros((0, 8, 8, 3), np.uint8), None, ValueError, "not empty"),
        (["x"], np.zeros((2, 8, 8, 3), np.uint8), None, ValueError, "names must be 2 different"),
        (["x", "x"], np.zeros((2, 8, 8, 3), np.uint8), None, ValueError, "different names, not 1"),
        (["x"], np.zeros((1, 8, 8, 3), np.uint8), [0.5], TypeError, "labels must be integers"),
        (["x"], np.zeros((1, 8, 8, 3), np.uint8), [1, 2], ValueError, "labels must be 1 class"),
        (["x"], np.zeros((1, 8, 8, 3), np.uint8), [-1], ValueError, "class numbers from 0"),
    ],
)
def test_bad_arrays_are_refused(names, pixels, labels, error, message):
    with pytest.raises(error, match=message):
        ImageSet.from_arrays(names, pixels, labels)


def test_batch_size_below_one_is_refused(folder):
    with pytest.raises(ValueError, match="batch size must be at least 1, not 0"):
        ImageSet.from_folder(folder, SMALL).batches(0)


def test_real_labels_split_32_to_468(shared):
    path = shared / "data" / "imagenet_samples" / "labels.csv"
    calibration = ImageSet.from_csv(path, SMALL, split="calibration")
    evaluation = ImageSet.from_csv(path, SMALL, split="evaluation")
    assert (len(calibration), len(evaluation)) == (32, 468)
    assert not set(calibration.names) & set(evaluation.names)


def test_a_path_is_a_folder_or_a_csv(folder):
    assert ImageSet.from_path(folder, SMALL).names == ImageSet.from_folder(folder, SMALL).names
    (folder / "labels.CSV").write_text(LABELLED)
    assert ImageSet.from_path(folder / "labels.CSV", SMALL, "calibration").names == ("a.png",)


def test_decoded_images_need_their_files_no_more(folder):
    images = from_text(folder, LABELLED)
    pixels, digests = next(images.batches(3)), images.digests()
    decoded = images.decoded()
    for name in images.names:
        (folder / name).unlink()
    assert decoded.names == images.names
    assert decoded.labels.tolist() == [3, 0, 7]
    assert np.array_equal(next(decoded.batches(3)), pixels)
    # Those of the files: an artifact's source says which files it was calibrated on.
    assert decoded.digests() == digests
    assert decoded.take([2, 0]).digests() == (digests[2], digests[0])
