"""Tensors of many images in bounded memory: what is kept, what lies in files, what is left over."""

import gc
import tempfile
import weakref
from pathlib import Path

import pytest
import torch

from rootshift.quant.chunks import Chunks, ChunkStore


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def numbers(count: int, value: float = 1.0) -> torch.Tensor:
    """float32 of `4 * count` bytes."""
    return torch.full((count,), value)


def test_chunks_are_made_anew_each_time() -> None:
    asked = []

    def make(index: int) -> torch.Tensor:
        asked.append(index)
        return numbers(2, index)

    chunks = Chunks(make, [2, 2, 2])
    assert chunks.sizes == (2, 2, 2)
    assert asked == []
    assert [float(chunk[0]) for chunk in chunks] == [0, 1, 2]
    assert [float(chunk[0]) for chunk in chunks] == [0, 1, 2]
    assert asked == [0, 1, 2] * 2


@pytest.mark.parametrize("memory", [0, 100, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.float64])
def test_what_is_put_comes_back(folder: Path, memory: int, dtype: torch.dtype) -> None:
    tensors = {key: (torch.arange(12 + key) * key).to(dtype).view(-1, 1) for key in range(6)}
    with ChunkStore(memory) as store:
        for key, value in tensors.items():
            store.put(("path", key), value)
        for key, value in tensors.items():
            assert ("path", key) in store
            found = store.get(("path", key))
            assert found.dtype == dtype
            assert torch.equal(found, value)
        assert ("path", 6) not in store
        with pytest.raises(KeyError):
            store.get(("path", 6))
    assert files(folder) == []


def test_a_part_of_a_tensor_takes_its_own_room_on_disk(folder: Path) -> None:
    whole = numbers(1_000_000)
    with ChunkStore(0) as store:
        store.put("part", whole[:10])
        assert sum(path.stat().st_size for path in files(folder)) < 10_000


def test_a_newer_tensor_takes_the_place_of_the_older(folder: Path) -> None:
    for memory in (0, 8, 10**6):
        with ChunkStore(memory) as store:
            for value, count in ((1.0, 2), (2.0, 5), (3.0, 1)):
                store.put("x", numbers(count, value))
                assert torch.equal(store.get("x"), numbers(count, value))
                assert len(files(folder)) == (4 * count > memory)


def test_what_exceeds_the_memory_lies_in_files(folder: Path) -> None:
    with ChunkStore(100) as store:
        store.put("a", numbers(20))
        assert files(folder) == []
        store.put("b", numbers(6))
        assert len(files(folder)) == 1
        store.put("c", numbers(5))
        assert len(files(folder)) == 1
        store.drop("a")
        store.put("d", numbers(20))
        assert len(files(folder)) == 1
        store.drop("b")
        assert files(folder) == []


def test_dropping_forgets_and_may_be_done_twice(folder: Path) -> None:
    for memory in (0, 10**6):
        with ChunkStore(memory) as store:
            store.put("x", numbers(3))
            for _ in range(2):
                store.drop("x")
                assert "x" not in store
                assert files(folder) == []


@pytest.mark.parametrize("memory", [0, 8])
def test_without_memory_nothing_is_kept(memory: int) -> None:
    value = numbers(3)
    left = weakref.ref(value)
    with ChunkStore(memory) as store:
        store.put("x", value)
        del value
        gc.collect()
        assert left() is None
        assert torch.equal(store.get("x"), numbers(3))


def test_files_are_gone_after_an_error(folder: Path) -> None:
    def fail() -> None:
        with ChunkStore(0) as store:
            store.put("x", numbers(3))
            assert len(files(folder)) == 1
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert list(folder.iterdir()) == []
