"""Every error samebits raises on purpose.

SamebitsError                 exit code 2: the user can mend it; one message, no traceback
|-- UsageError                a wrong option, path or combination of them
|-- DataError                 physics data: file, shape, NaN, labels
|-- ModelError                a model file or graph that cannot be read or compiled
|   `-- UnsupportedError      a layer, operator, option or backend that samebits does not have
|-- FormatError               a fixed-point format, shape or attribute that makes no sense
|-- BuildError                a build directory: missing, damaged, or holding something else
|-- ToolError                 an outside program or package failed
|   `-- MissingToolError      ... or is not there; names what to install
`-- MismatchError             exit code 1: two engines disagree by at least one bit
"""

__all__ = [
    "BuildError",
    "DataError",
    "FormatError",
    "MismatchError",
    "MissingToolError",
    "ModelError",
    "SamebitsError",
    "ToolError",
    "UnsupportedError",
    "UsageError",
]


class SamebitsError(Exception):
    """Base of all errors that samebits raises on purpose.

    The text says what is wrong, where, and what to do.
    """

    exit_code = 2


class UsageError(SamebitsError):
    """A wrong option, path or combination of them."""


class DataError(SamebitsError):
    """Physics data that cannot be used: file, shape, NaN, labels."""


class ModelError(SamebitsError):
    """A model file or graph that cannot be read or compiled."""


class UnsupportedError(ModelError):
    """A layer, operator, option or backend that samebits does not have."""


class FormatError(SamebitsError):
    """A fixed-point format, shape or attribute that makes no sense."""


class BuildError(SamebitsError):
    """A build directory that is missing, damaged, or holds something else."""


class ToolError(SamebitsError):
    """An outside program or package failed."""


class MissingToolError(ToolError):
    """An outside program or package is not there; the text names what to install."""


class MismatchError(SamebitsError):
    """Two engines disagree by at least one bit."""

    exit_code = 1
