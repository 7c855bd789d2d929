"""Lets timm import beside a CPU torch when torchvision's compiled operators cannot load.

The torchvision wheel on PyPI is linked against CUDA libraries. Beside a CPU torch its extension
does not load, and `import torchvision` (so `import timm`) ends in "operator torchvision::nms does
not exist", because torchvision attaches metadata to two operators that only the extension declares.
Declaring them, without implementations, is all that the import needs; calling one still raises.
"""

import importlib.machinery
import importlib.util
import sys

import torch

_OPERATORS = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# torch drops an operator together with the library object that declared it.
_declared: list[torch.library.Library] = []


def ensure_torchvision_imports() -> bool:
    """Declare torchvision's detection operators if its own extension cannot; safe to call again.

    Returns:
        True if the operators are declared here, False if torchvision brings its own (or is absent).
    """
    if _declared:
        return True
    if "torchvision" in sys.modules or _extension_loads():
        return False
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        library.define(operator + _SCHEMA)
    _declared.append(library)
    return True


def _extension_loads() -> bool:
    package = importlib.util.find_spec("torchvision")
    if package is None or not package.submodule_search_locations:
        return True  # nothing to guard: the import of timm says what is missing
    extension = importlib.machinery.PathFinder.find_spec(
        "_C", list(package.submodule_search_locations)
    )
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return True
