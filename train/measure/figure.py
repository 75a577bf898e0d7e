"""Matplotlib figures for charts: made and saved, with plain errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import ConfigError


def new_chart() -> tuple[Any, Any]:
    """Create an empty Matplotlib figure with axes. Raises ConfigError if Matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("charts need Matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    return figure, figure.add_subplot()


def save_chart(figure: Any, path: Path) -> None:
    """Write a figure to a .png or .svg file. Raises ConfigError if that fails."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the chart can't be written to {path}: {error}; name a .png or .svg file") from error
