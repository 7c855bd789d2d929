"""Float level: the pretrained model itself."""

import torch
from torch import Tensor, nn

from ..preprocessing import Preprocessing


class FloatModel:
    """A timm model that takes uint8 pixels.

    Parameters: `model`, in evaluation mode; `preprocessing`, whose mean and std normalize.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        self.model = model
        self._mean = torch.tensor(preprocessing.mean)
        self._std = torch.tensor(preprocessing.std)

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """float32 [images, classes] of uint8 pixels [images, H, W, C]."""
        normalized = (pixels.float() / 255 - self._mean) / self._std
        return self.model(normalized.permute(0, 3, 1, 2))
