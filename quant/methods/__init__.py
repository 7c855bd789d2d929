"""Methods of post-training quantization, a class for each name in `rootshift.methods`."""

from .apq import Apq
from .base import Method
from .erq import RepqErq
from .gptq import RepqGptq
from .observers import MinMax, Percentile
from .ptq4vit import Ptq4Vit
from .repq import PublishedRepq, Repq

CLASSES: dict[str, type[Method]] = {
    "repq": Repq,
    "repq+erq": RepqErq,
    "repq+gptq": RepqGptq,
    "minmax": MinMax,
    "percentile": Percentile,
    "ptq4vit": Ptq4Vit,
    "apq": Apq,
}
__all__ = ["CLASSES", "Method", "PublishedRepq"]
