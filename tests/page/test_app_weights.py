"""The weights that the page runs on: bundled, from the Hub, or the bundled ones in place of what can't be had."""

import math
import time
from pathlib import Path

import pytest

import app

pytestmark = pytest.mark.slow


def test_the_weights_can_come_from_the_hub(hub, monkeypatch):
    from loopback_hub import Repo

    repo = hub.repos["someone/photos"] = Repo(private=False)
    bundled = Path(app.__file__).parent / "weights" / "gaussian"
    repo.commit({path.name: path.read_bytes() for path in bundled.iterdir()}, "Add weights")
    monkeypatch.setenv("DENOISER_MODEL", "someone/photos")
    monkeypatch.setenv("DENOISER_REVISION", "main")
    model, notice = app.load_model()
    assert model.weights.source == "someone/photos"
    assert notice == "Weights: someone/photos at main (licence: apache-2.0)."


@pytest.mark.parametrize("trouble", ["down", "slow"])
def test_a_hub_that_is_down_or_slow_does_not_keep_the_page_waiting(hub, monkeypatch, trouble):
    if trouble == "down":
        hub.stop()
    else:
        hub.delay(".*", 60, times=math.inf)
    monkeypatch.setattr(app, "HUB_SECONDS", 1)
    monkeypatch.setenv("DENOISER_MODEL", "someone/photos")
    started = time.monotonic()
    model, notice = app.load_model()
    assert time.monotonic() - started < 5
    assert model.weights.source == "photo" and "bundled weights instead of someone/photos" in notice


def test_a_model_that_cannot_be_had_leaves_the_page_on_the_bundled_weights(hub, monkeypatch):
    monkeypatch.setenv("DENOISER_MODEL", "someone/nothing")
    model, notice = app.load_model()
    assert model.weights.source == "photo" and "someone/nothing" in notice and "bundled" in notice
