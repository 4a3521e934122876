"""Errors a user of the package can act on; each message names the value and the fix."""


class SdcpcError(Exception):
    """Base of every error this package raises on purpose; the command line turns it into exit code 2."""


class ConfigError(SdcpcError, ValueError):
    """A setting, argument or label set that cannot work."""


class InputError(SdcpcError, ValueError):
    """An image, video, bag or data set that cannot be read or does not fit."""


class CheckpointError(SdcpcError):
    """A file that is not a checkpoint, or whose tensors are not those of its model."""


class OutputError(SdcpcError):
    """A result that cannot be written: no permission, no space, or the file exists."""


class MissingDependencyError(SdcpcError):
    """An optional library is absent; the message says which extra installs it."""
