"""Results as tables, as JSON and on the card."""

import json

import numpy as np
import pytest
from identity_denoiser import Identity

from train.measure.evaluate import measure
from train.measure.results import Result, markdown_table


class Perfect(Identity):
    """A denoiser that knows the answer."""

    def __init__(self, clean):
        super().__init__()
        self.clean = clean

    def denoise(self, pixels, level=None):
        return (self.clean / 255).astype(np.float32)


def test_an_infinite_psnr_is_written_as_valid_json(photos):
    (row,) = measure(Perfect(photos[0]), "set", photos[:1], [25], show_progress=False)
    assert row.ssim == pytest.approx(1) and row.argmax_channel_accuracy == 1 and row.psnr > 100
    json.loads(json.dumps(row.to_json()), parse_constant=pytest.fail)


RESULTS = [
    Result("cbsd68", 68, "unclipped", False, 25.0, 20.17, 30.98765, 0.87654, 0.9321, 24.06),
    Result("cbsd68", 68, "8-bit", True, 12.5, 24.61, 33.5, 0.9, 0.95, 14.96),
]


def test_the_table_parses_back():
    header, rule, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in _lines(RESULTS))
    assert header[:5] == ["photos", "noise", "level", "noisy PSNR", "PSNR"] and set(rule) == {"---"}
    assert len(rows) == len(RESULTS) and {len(row) for row in (header, rule, *rows)} == {8}
    for cells, result in zip(rows, RESULTS, strict=True):
        assert cells[0].startswith("cbsd68 (68)") and ("told the level" in cells[0]) == result.told
        assert cells[1] == result.noise
        values = (result.level, result.noisy_psnr, result.psnr, result.ssim, result.argmax_channel_accuracy)
        tolerances = (0, 0.005, 0.005, 5e-5, 5e-4, 0.05)
        for cell, value, tolerance in zip(cells[2:], (*values, result.estimated_level), tolerances, strict=True):
            assert float(cell) == pytest.approx(value, abs=tolerance + 1e-9)


def _lines(results):
    return markdown_table(results).splitlines()


def test_the_card_shows_the_printed_table(photos):
    results = measure(Identity(), "set", photos, [15, 25], show_progress=False)
    kept = [Result.from_json(row) for row in json.loads(json.dumps([row.to_json() for row in results]))]
    assert kept == results and markdown_table(kept) == markdown_table(results)
