"""RepQ-ViT: scale reparameterization and log codes (arXiv 2212.08254)."""

import torch

from ..nodes import Linear, Mix, Node, PatchEmbedding
from ..quantizers import Quantizer, UniformQuantizer
from ..reparameterize import reparameterize
from ..search import search_log, search_uniform
from ..walk import Walk
from .base import Method


class Repq(Method):
    """RepQ-ViT (Li et al., ICCV 2023, arXiv 2212.08254), weights rounded to nearest.

    Percentile search of every quantizer on data quantized up to there; activations per tensor,
    weights per output channel; LayerNorm outputs per channel first, then brought to one scale
    (section 3.2), at once, so that later quantizers see the result; softmax in powers of √2
    (section 3.3).
    """

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk)
        self.norm_sites = self.network.norm_sites()

    def activation(self, node: Node, operand: int) -> Quantizer:
        found = self.search(node, operand)
        site = node.sites[operand]
        return self.reparameterize(site, found) if site in self.norm_sites else found

    def weight(self, linear: Linear) -> None:
        grid = self.grid(linear, linear.weight)
        self.store(linear, grid.codes(linear.weight), grid)

    def store(self, linear: Linear, codes: torch.Tensor, grid: UniformQuantizer) -> None:
        if isinstance(linear, PatchEmbedding) and self.network.mode == "integer":
            # The pixel that preprocessing maps to 0 contributes nothing, rounded weights or not.
            error = linear.weight - grid.dequantize(codes).double()
            linear.bias = linear.bias + error @ self.network.pixel_mean(linear)
        super().store(linear, codes, grid)

    def search(self, node: Node, operand: int) -> Quantizer:
        """The quantizer of an operand, per channel behind a LayerNorm to be reparameterized."""
        site, width = node.sites[operand], self.site_width(node, operand)
        values, quantized = self.operand(node, operand), self.quantized
        if isinstance(node, Mix) and operand == 0:
            return search_log(values, width, quantized.base, quantized.mode == "integer", site)
        return search_uniform(values, width, "last" if site in self.norm_sites else None, site)

    def reparameterize(self, site: str, channels: UniformQuantizer) -> UniformQuantizer:
        """Fold channel-wise quantizers behind a LayerNorm into both of its sides; their common
        one."""
        norm, linear = self.norm_sites[site]
        change = reparameterize(channels, self.network.mode == "integer", linear.weight.dtype)
        change.fold(norm, linear, self.network.moves_before(linear))
        return change.quantizer


class PublishedRepq(Repq):
    """RepQ-ViT as its code runs it, for comparison: channel-wise quantizers throughout the walk;
    reparameterized, and their weights searched again, only when it is over."""

    def activation(self, node: Node, operand: int) -> Quantizer:
        return self.search(node, operand)

    def complete(self) -> None:
        for site, (_, linear) in self.norm_sites.items():
            common = self.reparameterize(site, self.quantized.activation[site])
            self.quantized.activation[site] = common
            self.weight(linear)
