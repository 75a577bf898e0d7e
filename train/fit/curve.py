"""The curve of a training run: what was measured on the validation photos over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..measure.figure import new_chart, save_chart

PSNR = "psnr_"
# The curves in the report on the reference network: names in the log, and labels.
REPORTED = {
    "squared error": {"loss": "training", "mse_exponential": "validation"},
    "argmax-channel accuracy": {"accuracy": "training", "accuracy_exponential": "validation"},
}


def draw_curve(lines: Sequence[dict[str, float]], path: Path) -> None:
    """Plot the lines of metrics.jsonl over the steps of a run: PSNR, and for the reference's noise what it reports.

    Without lines there is no curve. Raises ConfigError if Matplotlib is missing or the file can't be written.
    """
    if not lines:
        return
    levels = [name for name in lines[-1] if name.startswith(PSNR)]
    panels = {"PSNR in dB, validation photos": {name: _label(name.removeprefix(PSNR)) for name in levels}}
    if "accuracy_exponential" in lines[-1]:
        panels |= REPORTED
    figure, axes = new_chart(len(panels))
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        for name, label in curves.items():
            panel.plot([line["step"] for line in lines], [line.get(name, math.nan) for line in lines], label=label)
        panel.legend()
        panel.grid(alpha=0.25)
        panel.set_xlabel("optimizer step")
        panel.set_ylabel(title)
    save_chart(figure, path)


def _label(noise: str) -> str:
    return f"level {noise}" if noise.isdigit() else noise
