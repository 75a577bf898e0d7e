"""Chart PSNR against CPU time, compared with published networks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from denoiser.weights import BUNDLED

from ..config import ConfigError
from .benchmark import REFERENCE, Cost
from .figure import new_chart, save_chart
from .results import RESULTS_FILE, read_results

TICKS = (0.1, 0.2, 0.5, 1, 2, 5)
DATASET, LEVEL = "cbsd68", 25
# PSNR on CBSD68 at level 25, unclipped, as published, and whether the network has to be told the level.
PUBLISHED = {
    "DnCNN-C": (31.23, False),  # CDnCNN-B in Zhang et al. 2018, "FFDNet", table 6
    "FFDNet": (31.21, True),  # the same
    "DRUNet": (31.69, True),  # Zhang et al. 2021, "Plug-and-Play Image Restoration with Deep Denoiser Prior", table 2
}


def draw_chart(costs: Iterable[Cost], path: Path) -> None:
    """Plot the measured costs against the PSNR of our bundled weights and the published PSNR of the others.

    Raises ConfigError if Matplotlib or the results of our weights are missing.
    """
    figure, (axes,) = new_chart()
    from matplotlib.ticker import FixedLocator, NullLocator

    for cost in costs:
        ours = cost.network not in PUBLISHED
        psnr, told = (own_psnr(cost.network), False) if ours else PUBLISHED[cost.network]
        axes.plot(cost.time_ratio, psnr, "o", color="tab:blue" if ours else "tab:grey", markersize=9 if ours else 6)
        label = f"{cost.network}{', told the level' if told else ', blind'}"
        offset = -17 if ours else 8  # in points, so that the names of similar networks don't overlap
        axes.annotate(
            label, (cost.time_ratio, psnr), xytext=(0, offset), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(TICKS))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.15, y=0.15)
    axes.grid(alpha=0.25)
    axes.set_xlabel(f"CPU time, {REFERENCE} = 1 (logarithmic)")
    axes.set_ylabel(f"PSNR in dB, {DATASET.upper()}, level {LEVEL}")
    save_chart(figure, path)


def own_psnr(name: str) -> float:
    """Return the blind PSNR of the bundled weights `name`, as saved beside them by `evaluate --save`."""
    folder = BUNDLED / name
    for row in read_results(folder):
        if (row.dataset, row.noise, row.level, row.told) == (DATASET, "unclipped", LEVEL, False):
            return row.psnr
    raise ConfigError(
        f"{folder / RESULTS_FILE} has no blind result for {DATASET} at level {LEVEL}: run `evaluate --save` first"
    )
