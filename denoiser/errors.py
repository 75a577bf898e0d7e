"""The exceptions a caller may want to catch.

Every message says what came, what is accepted and what to do next, in words fit for the person at the other end:
the command line and the web page show it as it is.
"""

import struct
import zlib

# What the libraries that read and write photo files raise on bytes or values that they don't expect.
LIBRARY_ERRORS = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
LIBRARY_ERRORS += (AssertionError, RuntimeError, struct.error, zlib.error)


class DenoiserError(Exception):
    """Base of everything this package raises on purpose."""


class ImageError(DenoiserError):
    """A picture, an array or a noise level that can't be used."""


class WeightsError(DenoiserError):
    """A model folder or Hub repository that can't be loaded."""


def printable(text: str) -> str:
    """The text as one line for a terminal: names of files and columns can't move its cursor or colour it."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
