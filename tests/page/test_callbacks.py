"""How the network is run for the page, on a Space that lends GPUs and elsewhere."""

import pickle

import numpy as np
import pytest
import spaces
from toy_training import build

import denoiser
from denoiser.page import callbacks
from denoiser.weights import Weights


@pytest.fixture
def model(tiny_config):
    return denoiser.Denoiser(Weights(build(tiny_config), "tiny"))


def result_of(model, opened, level):
    *steps, result = callbacks.network_runner(model)(opened, level)
    assert steps and all(step is None or len(step) == 2 for step in steps)
    return result


def test_the_decorator_of_spaces_changes_nothing_elsewhere(model, photo):
    opened = denoiser.open_image(photo)
    assert callbacks.on_gpu is spaces.GPU
    assert np.array_equal(result_of(model, opened, 20).clean.pixels, model(opened, 20).pixels)


def test_what_a_lent_gpu_does_comes_back_through_another_process(model, photo, monkeypatch):
    def lent(work):  # as Spaces do it: each thing that is yielded is copied, and what is returned is lost
        def run(*arguments, **options):
            for item in work(*pickle.loads(pickle.dumps(arguments)), **options):
                yield pickle.loads(pickle.dumps(item))

        return run

    monkeypatch.setattr(callbacks, "on_gpu", lent)
    opened = denoiser.open_image(photo)
    result = result_of(model, opened, 20)
    assert np.array_equal(result.clean.pixels, model(opened, 20).pixels)
    assert result.level == model.estimate_level(opened.pixels)
