"""Accuracy of quantized models, counted image by image and kept in the store."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...accuracy import Accuracy, hits_of
from ...artifact import Artifact
from ...errors import ImageError
from ...images import ImageSet
from . import tasks
from .engine import Call, Engine
from .space import Space
from .store import Store, content_key

CHUNK = 16
"""Images of a task."""


class Accuracies:
    """Counts how often the golden model is right.

    The images are those of the space in an order drawn with its seed, so that the first few stand
    for all of them.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        engine: Engine,
        share: Callable[[Artifact], object],
        counts: Counter[str],
        progress: Callable[[int, int, str], None],
    ) -> None:
        self._space, self._store, self._engine = space, store, engine
        self._share, self._counts, self._progress = share, counts, progress
        self._images: ImageSet | None = None
        self._digests: tuple[str, ...] = ()
        self._pixels: dict[range, object] = {}
        self._asked: set[str] = set()

    def few(self, artifact: Artifact) -> int:
        """Images of the first look; all of them where there are no more."""
        return min(self._space.images.few, len(self._loaded(artifact)))

    def measure(
        self, artifacts: Sequence[Artifact], limit: int | None = None
    ) -> dict[str, tuple[int, Accuracy] | str]:
        """Digest of each artifact -> images and accuracy on the first `limit` (None: all), or why
        there is none.

        Raises: ImageError where images cannot be read, or a label is beyond the model's classes.
        """
        calls: list[Call] = []
        wanted: dict[str, tuple[Artifact, list[tuple[str, range]]]] = {}
        for artifact in artifacts:
            images = self._loaded(artifact)
            end = len(images) if limit is None else min(limit, len(images))
            chunks = [(self._key(artifact, part), part) for part in self._chunks(artifact, end)]
            wanted[artifact.digest] = artifact, chunks
            for key, part in chunks:
                new = key not in self._asked
                self._asked.add(key)
                if self._store.get(key) is None:
                    shared = self._share(artifact), self._shared(artifact, part)
                    calls.append(Call(key, tasks.classify, shared))
                    self._counts["images"] += len(part)
                elif new:
                    self._counts["images kept"] += len(part)
        errors: dict[str, str] = {}
        for at, done in enumerate(self._engine.run(calls), 1):
            self._progress(at, len(calls), "groups of images")
            if done.error is None:
                self._store.put(done.key, done.value)
            else:
                errors[done.key] = done.error
        return {digest: self._count(*each, errors) for digest, each in wanted.items()}

    def _count(
        self, artifact: Artifact, chunks: list[tuple[str, range]], errors: dict[str, str]
    ) -> tuple[int, Accuracy] | str:
        labels = self._loaded(artifact).labels
        hits, images = np.zeros(2, np.int64), 0
        for key, part in chunks:
            if key in errors:
                return errors[key]
            classes = np.array(self._store.get(key), np.int64)
            hits += hits_of(classes, labels[part.start : part.stop])
            images += len(part)
        return images, Accuracy(*(100.0 * hits / images).tolist())

    def _chunks(self, artifact: Artifact, end: int) -> Iterator[range]:
        few = self.few(artifact)
        for low, high in ((0, few), (few, len(self._loaded(artifact)))):
            for start in range(low, high, CHUNK):
                if start < end:
                    yield range(start, min(start + CHUNK, high))

    def _key(self, artifact: Artifact, part: range) -> str:
        images = list(self._digests[part.start : part.stop])
        return content_key("accuracy", artifact=artifact.digest, images=images)

    def _shared(self, artifact: Artifact, part: range) -> object:
        if part not in self._pixels:
            (pixels,) = self._loaded(artifact).take(part).batches(CHUNK)
            self._pixels[part] = self._engine.share(pixels)
        return self._pixels[part]

    def _loaded(self, artifact: Artifact) -> ImageSet:
        if self._images is None:
            source, preprocessing = self._space.images, artifact.preprocessing
            if source.labels is None:
                from ...quant.digits import digits_images

                images = digits_images("test", preprocessing)
            else:
                images = ImageSet.from_csv(
                    source.labels, preprocessing, images_dir=source.folder, split="evaluation"
                )
            if source.first is not None:
                images = images.take(range(min(source.first, len(images))))
            classes = list(artifact.shapes().values())[-1][-1]
            if images.labels is None or images.labels.max() >= classes:
                raise ImageError(f"labels must be below {classes}, the model's classes")
            order = np.random.default_rng(self._space.search.seed).permutation(len(images))
            self._images = images.take(order.tolist())
            self._digests = self._images.digests()
        return self._images
