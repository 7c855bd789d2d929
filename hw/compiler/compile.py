"""Compiles a model for an accelerator."""

from math import prod

from ...artifact import Artifact
from ...buffers import code_tensors, pooling
from ...config import AcceleratorConfig
from ...errors import ProgramError
from ...formats import zero_code
from ...isa import COUNT_WIDTH
from ...operators import Log2Softmax
from ...program import Program
from .emitter import Emitter
from .graph import Patches, Step, steps_of
from .lower import Lowering


def compile_program(
    artifact: Artifact,
    config: AcceleratorConfig,
    images: int = 1,
    norm_bands: int | None = None,
    batch: int = 1,
) -> Program:
    """The program that infers `images` images, `batch` of them side by side.

    Weights of the blocks are streamed once for a batch; those of the patch embedding once for each
    of its bands, and those of the head once for each image. The first images of the next batch are
    cut into patches as soon as the code buffer has room for them.

    Parameters: `images`, a multiple of `batch`; `norm_bands`, bands of tokens in which a LayerNorm
    works beside the product that makes its rows, and the one that takes them; more than one streams
    a few of their weights anew for each band. None: four, or fewer where bands would be shorter
    than a tile's loading.
    Raises: ProgramError or ConfigError for an artifact that the accelerator cannot run: the
    operator or buffer, what it needs and what there is; ProgramError for a number of images,
    bands or a batch that is less than one, and for images that fill no whole batches.
    """
    if images < 1:
        raise ProgramError(f"images must be at least 1, not {images}")
    if norm_bands is not None and norm_bands < 1:
        raise ProgramError(f"norm_bands must be at least 1, not {norm_bands}")
    if batch < 1:
        raise ProgramError(f"batch must be at least 1, not {batch}")
    if images % batch:
        raise ProgramError(f"images must be a multiple of the batch, {batch}, not {images}")
    steps = steps_of(artifact)
    _check_widths(artifact, config)
    shape = artifact.preprocessing.shape
    classes = list(artifact.shapes().values())[-1][-1]
    emitter = Emitter(config, images, prod(shape), classes)
    first = steps[0]
    if not isinstance(first, Patches):
        raise ProgramError(f"{first.operators()[0].name}: the first operator must be a patchify")
    lowering = Lowering(artifact, config, emitter, batch, first, norm_bands)
    bands = lowering.bands
    config.check_fits(artifact, batch)
    ahead, split = range(bands.ahead), _split(artifact, steps, lowering)
    for number in ahead:
        bands.patchify(0, number)
    for image in range(0, images, batch):
        if image == batch:
            _check_images(emitter, images, batch)
        lowering.steps(steps[:split], image)
        if image + batch < images:
            for number in ahead:
                bands.patchify(image + batch, number)
        lowering.steps(steps[split:], image)
    return emitter.program(artifact)


def _check_images(emitter: Emitter, images: int, batch: int) -> None:
    """Refuse more images than commands can be counted of; those of a batch have been emitted."""
    each = "each" if batch == 1 else f"for each batch of {batch}"
    for unit, events in emitter.tracker.events.items():
        if len(events) * (images // batch) >= 1 << COUNT_WIDTH:
            most = ((1 << COUNT_WIDTH) - 1) // len(events) * batch
            raise ProgramError(
                f"images must be at most {most}, with {len(events)} commands of {unit.name} "
                f"{each}, not {images}"
            )


def _split(artifact: Artifact, steps: list[Step], lowering: Lowering) -> int:
    """The first step from which on the words of patches are free: the one behind the pool."""
    place = {operator.name: at for at, operator in enumerate(artifact.operators)}
    free, plan = pooling(artifact), lowering.plan
    if any(plan.tensors[name].end >= free for name in plan.body):
        return len(steps)
    late = (at for at, step in enumerate(steps) if place[step.operators()[0].name] >= free)
    return next(late, len(steps))


def _check_widths(artifact: Artifact, config: AcceleratorConfig) -> None:
    """Refuse codes wider than the code buffer's, and other log codes than the hardware's.

    Weights of any width, and the patches, go by digits.
    """
    for tensor in code_tensors(artifact, config.rows):
        width = artifact[tensor.name].output_width
        if width > config.activation_width:
            raise ProgramError(
                f"{tensor.name}: codes must have at most {config.activation_width} bits, "
                f"as activation_width, not {width}"
            )
    for operator in artifact.operators:
        if isinstance(operator, Log2Softmax):
            same = {
                "base": operator.base == config.base,
                # Wide log codes end at the same code of zero.
                "log_width": zero_code(operator.log_width, operator.base) == config.log_zero,
            }
            for name, equal in same.items():
                if not equal:
                    raise ProgramError(
                        f"{operator.name}: {name} must be the hardware's, "
                        f"{getattr(config, name)}, not {getattr(operator, name)}"
                    )
