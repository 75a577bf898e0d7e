"""The version of the project, which the weights that it trains record."""

__version__ = "1.0.0"
