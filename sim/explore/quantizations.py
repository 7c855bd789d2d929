"""The quantized models of a space: each made once, kept in the store."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...artifact import Artifact
from ...images import ImageSet
from ...preprocessing import Preprocessing
from . import tasks
from .engine import Call, Engine
from .point import Quantization
from .space import Space
from .store import Store, content_key

if TYPE_CHECKING:
    from ...quant.quantize import Calibration


class Quantizations:
    """Makes and keeps artifacts.

    Loads model and calibration images at once, so that what is wrong with them is known before
    anything runs. Raises: ModelError, ImageError as loading does.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        engine: Engine,
        counts: Counter[str],
        progress: Callable[[int, int, str], None],
    ) -> None:
        from ...quant.quantize import state_digest

        self._store, self._engine = store, engine
        self._counts, self._progress = counts, progress
        self._calibration = _load(space)
        self._content = {
            "model": space.model.name,
            "weights": state_digest(self._calibration.model),
            "preprocessing": self._calibration.preprocessing.to_json(),
            "images": list(self._calibration.images.digests()),
        }
        self._shared: object = None

    def artifacts(self, wanted: Sequence[Quantization]) -> dict[Quantization, Artifact | str]:
        """The artifact of each, or why there is none."""
        found: dict[Quantization, Artifact | str] = {}
        missing: dict[str, Quantization] = {}
        for each in dict.fromkeys(wanted):
            key = self._key(each)
            artifact = self._store.artifact(key)
            if artifact is None:
                missing[key] = each
            else:
                found[each] = artifact
        if missing and self._shared is None:
            whole = replace(self._calibration, images=self._calibration.images.decoded())
            self._shared = self._engine.share(whole)
        self._counts["quantizations"] += len(missing)
        self._counts["quantizations kept"] += len(found)
        calls = (Call(key, tasks.quantize, (self._shared, each)) for key, each in missing.items())
        for at, done in enumerate(self._engine.run(calls), 1):
            self._progress(at, len(missing), "quantizations")
            each = missing[done.key]
            if done.error is None:
                self._store.keep_artifact(done.key, done.value)
            found[each] = done.value if done.error is None else done.error
        return found

    def _key(self, quantization: Quantization) -> str:
        return content_key(
            "quantization",
            **self._content,
            bits=quantization.bits.to_json(),
            method=quantization.method,
            base=quantization.base,
        )


def _load(space: Space) -> "Calibration":
    from ...quant.quantize import Calibration

    def images(preprocessing: Preprocessing) -> ImageSet:
        if space.images.calibration is None:
            from ...quant.digits import digits_images

            return digits_images("calibration", preprocessing)
        return ImageSet.from_path(space.images.calibration, preprocessing, split="calibration")

    return Calibration.load(
        space.model.name, space.model.weights, images, image_size=space.model.image_size
    )
