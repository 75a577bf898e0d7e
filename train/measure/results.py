"""Results of measuring a denoiser, and how they are kept beside its weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from denoiser.weights import WEIGHTS_FILE

RESULTS_FILE = "results.json"
WEIGHTS_KEY = "weights"  # key of a result: the fingerprint of the measured weights
LEVELS = (15, 25, 50)
PROTOCOLS = ("unclipped", "8-bit")
EXPONENTIAL = "exponential"  # the noise that the reference network was trained on
REAL = "real"  # the noise of pairs


@dataclass(frozen=True)
class Result:
    """The means over one set of photos at one noise level."""

    dataset: str
    images: int
    noise: str  # one of PROTOCOLS, EXPONENTIAL or REAL
    told: bool  # whether the network was given the level, or denoised blindly
    level: float | None  # None if it is unknown (REAL) or differs among the photos (EXPONENTIAL)
    noisy_psnr: float
    psnr: float
    ssim: float
    argmax_channel_accuracy: float
    estimated_level: float

    def to_json(self) -> dict[str, Any]:
        """Return the result for JSON, which has no infinity: the PSNR of identical pictures becomes null."""
        return {key: None if value == math.inf else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Result:
        values: dict[str, Any] = {
            key: math.inf if value is None and key != "level" else value for key, value in row.items()
        }
        return cls(**values)


def read_results(folder: str | Path) -> list[Result]:
    """Return the results of the weights in the folder, without those of other weights that were there before."""
    rows = stored_rows(Path(folder, RESULTS_FILE))
    weights = fingerprint(folder) if rows else None
    return [Result.from_json(row) for measured, row in rows if measured == weights]


def stored_rows(path: Path) -> list[tuple[str | None, dict[str, Any]]]:
    """Read the rows of results.json, each with the fingerprint of the measured weights, or None if not recorded."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [(row.pop(WEIGHTS_KEY, None), row) for row in rows]


def fingerprint(folder: str | Path) -> str:
    """Return the SHA-256 of the weights file in a folder, which identifies the weights."""
    return hashlib.sha256(Path(folder, WEIGHTS_FILE).read_bytes()).hexdigest()


def markdown_table(results: Iterable[Result]) -> str:
    """Format the results as a Markdown table, one row per set, protocol and level."""
    lines = [
        "| photos | noise | level | noisy PSNR | PSNR | SSIM | argmax-channel accuracy | estimated level |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results:
        name = f"{row.dataset} ({row.images})" + (", told the level" if row.told else "")
        level = "–" if row.level is None else f"{row.level:g}"
        lines.append(
            f"| {name} | {row.noise} | {level} | {_decibels(row.noisy_psnr)} | {_decibels(row.psnr)} | {row.ssim:.4f} "
            f"| {row.argmax_channel_accuracy:.3f} | {row.estimated_level:.1f} |"
        )
    return "\n".join(lines)


def _decibels(psnr: float) -> str:
    return "∞" if psnr == math.inf else f"{psnr:.2f}"
