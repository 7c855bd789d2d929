"""Vision transformers quantized with RepQ-ViT, integer for integer, on generated RTL."""

__version__ = "0.1.0"
