"""The exceptions that callers may want to catch.

Every message says what was given, what is accepted and what to do next. The command line and the web page show it
unchanged.
"""

import struct
import zlib

# What the libraries for photo files raise on unexpected bytes or values.
LIBRARY_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class DenoiserError(Exception):
    """Base class of all errors that this package raises deliberately."""


class ImageError(DenoiserError):
    """An image, array or setting, such as a noise level, that can't be used."""


class WeightsError(DenoiserError):
    """A model folder or Hub repository that can't be loaded."""


def printable(text: str) -> str:
    """Return text as one line for a terminal. Control characters, which file names may contain, are escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
