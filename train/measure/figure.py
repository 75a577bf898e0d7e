"""Matplotlib figures for charts: made and saved, with plain errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import ConfigError


def new_chart(columns: int = 1) -> tuple[Any, list[Any]]:
    """Create a Matplotlib figure; return it with the empty axes of its columns.

    Raises ConfigError if Matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("charts need Matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(1 + 6 * columns, 4.2), dpi=120, layout="constrained")
    return figure, list(figure.subplots(1, columns, squeeze=False)[0])


def save_chart(figure: Any, path: Path) -> None:
    """Write a figure to a .png or .svg file. Raises ConfigError if that fails."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the chart can't be written to {path}: {error}; name a .png or .svg file") from error
