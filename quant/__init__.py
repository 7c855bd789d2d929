"""PyTorch and timm front end: calibrate, reparameterize, export integers."""

from .torchvision_guard import ensure_torchvision_imports

ensure_torchvision_imports()
