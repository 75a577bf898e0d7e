"""The exceptions a caller may want to catch.

Every message says what came, what is accepted and what to do next, in words fit for the person at the other end:
the command line and the web page show it as it is.
"""


class DenoiserError(Exception):
    """Base of everything this package raises on purpose."""


class ImageError(DenoiserError):
    """A picture, an array or a noise level that can't be used."""


class WeightsError(DenoiserError):
    """A model folder or Hub repository that can't be loaded."""
