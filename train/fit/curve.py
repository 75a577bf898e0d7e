"""The curve of a training run: PSNR on the validation photos over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..measure.figure import new_chart, save_chart


def draw_curve(lines: Sequence[dict[str, float]], path: Path) -> None:
    """Plot the validation PSNR over the steps of a run from the lines of metrics.jsonl. Raises ConfigError."""
    figure, axes = new_chart()
    names = [name for name in lines[-1] if name.startswith("psnr_")]
    for name in names:
        label = name.removeprefix("psnr_")
        label = f"level {label}" if label.isdigit() else label
        axes.plot([line["step"] for line in lines], [line.get(name, math.nan) for line in lines], "o-", label=label)
    axes.legend()
    axes.grid(alpha=0.25)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("PSNR in dB, validation photos")
    save_chart(figure, path)
