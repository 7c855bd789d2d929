"""The compiler: from an artifact to the program that runs it, `docs/accelerator.md`."""

from .compile import compile_program

__all__ = ["compile_program"]
