"""Errors that a user can cause; the command line prints each as one line and exits with 2."""


class RootshiftError(Exception):
    """Base of every error whose cause is the user's input."""


class ConfigError(RootshiftError):
    """An accelerator configuration or bit width is not legal."""


class ArtifactError(RootshiftError):
    """An artifact is missing, altered, truncated, of another schema, or out of range."""


class ImageError(RootshiftError):
    """An image, an image folder or a labels file cannot be used."""


class ModelError(RootshiftError):
    """A model or its weights cannot be loaded or used; the message names the module or key."""


class CalibrationError(RootshiftError):
    """Calibration met values that no quantizer can represent; the message names the layer."""


class ToolError(RootshiftError):
    """A program that the work needs, such as the C++ compiler, is missing or has failed."""


class OutputError(RootshiftError):
    """A file or directory cannot be written."""


class ProgramError(RootshiftError):
    """A command or program is not legal, or a model cannot be compiled for a configuration."""


class LinkError(RootshiftError):
    """A board does not answer, answers wrongly, or cannot do what it was asked."""
