"""The chart shows every network of the benchmark at its time and PSNR."""

import pytest

from train.config import ConfigError
from train.measure import chart
from train.measure.benchmark import NETWORKS, Cost


def test_every_network_gets_a_point(tmp_path):
    costs = [Cost(name, 1, 1.0, 1.0, ratio, 0.1) for ratio, name in enumerate(NETWORKS, start=1)]
    chart.draw_chart(costs, tmp_path / "chart.svg")
    drawn = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    for name in NETWORKS:
        assert f"<!-- {name}, " in drawn  # Matplotlib's comment on the text that it draws as outlines


def test_our_psnr_is_that_saved_by_evaluate():
    assert 25 < chart.own_psnr("gaussian") < 35


def test_without_results_it_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.setattr(chart, "BUNDLED", tmp_path)
    with pytest.raises(ConfigError, match="evaluate --save"):
        chart.own_psnr("gaussian")


def test_a_format_that_cant_be_drawn_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\.png or \.svg"):
        chart.draw_chart([Cost("DnCNN-C", 1, 1.0, 1.0, 1.0, 0.1)], tmp_path / "chart.xyz")
