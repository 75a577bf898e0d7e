"""Tile by tile: progress, threads, and work that is stopped."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from stub_network import Stub, wrap

from denoiser import (
    Photo,
)

pytestmark = pytest.mark.usefixtures("float32_on_any_machine")


# Progress

WIDE = np.full((4, 6000), 128, np.uint8)  # three tiles


def test_progress_counts_the_tiles(model):
    calls = []
    model.denoise(WIDE, on_progress=lambda *call: calls.append(call))
    model(Photo(WIDE), None, lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)] * 2


def test_progress_that_raises_stops_the_work():
    stub = Stub()

    def stop(done, total):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        wrap(stub).denoise(WIDE, on_progress=stop)
    assert len(stub.given) == 1


# Tile by tile, and what a page makes of the result


def finish(steps):
    """Run a generator to its end: (what it yielded, what it returned)."""
    yielded = []
    while True:
        try:
            yielded.append(next(steps))
        except StopIteration as end:
            return yielded, end.value


def test_tile_by_tile_gives_the_same_as_a_call(model):
    photo = Photo(WIDE, exif=b"Exif")
    yielded, clean = finish(model.by_tile(photo))
    assert np.array_equal(clean.pixels, model(photo).pixels) and clean.exif == photo.exif
    assert [done for done, _ in yielded] == list(range(1, yielded[0][1] + 1)) and len(yielded) > 1


def test_each_tile_may_run_in_another_thread(model):
    steps = model.by_tile(Photo(WIDE))
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        for thread in (one, other):
            thread.submit(next, steps).result()
        assert not torch.is_inference_mode_enabled()
        _, clean = other.submit(finish, steps).result()
    assert np.array_equal(clean.pixels, model.denoise(WIDE))


def test_closing_after_a_tile_computes_no_more_tiles():
    stub = Stub()
    steps = wrap(stub).by_tile(Photo(WIDE))
    next(steps)
    steps.close()
    assert len(stub.given) == 1 and finish(steps) == ([], None)
