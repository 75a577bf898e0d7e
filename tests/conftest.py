"""Shared by the tests: networks small enough for any machine, and a photo."""

import numpy as np
import pytest
import skimage.data
import torch
from loopback_hub import hub  # noqa: F401 - a fixture
from toy_training import CLASSIC, TINY, build, toy_photos, toy_run  # noqa: F401 - fixtures


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Run on one thread, here and in other processes: threads that wait for each other keep a busy machine busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_config():
    """The smallest network with the shape of the default: three levels, one block each."""
    return TINY


@pytest.fixture(scope="session")
def tiny_classic_config():
    """The smallest network with the shape of `classic`."""
    return CLASSIC


@pytest.fixture
def tiny_model(tiny_config, photo_tensor):
    """A steerable network with random weights, in eval mode, that removes as much as a trained one."""
    model, sigma = build(tiny_config), torch.full((1, 1, 1, 1), 0.1)
    with torch.no_grad():  # a fresh network is near the identity
        model.body.tail.weight.mul_(0.1 / (model(photo_tensor, sigma) - photo_tensor).std())
    return model


@pytest.fixture
def tiny_classic(tiny_classic_config):
    """A classic network with random weights and batch statistics, in eval mode."""
    model = build(tiny_classic_config)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            drawn = torch.rand(buffer.shape, generator=generator)
            buffer.copy_(drawn + 0.5 if name.endswith("var") else drawn - 0.5)
    return model


@pytest.fixture(scope="session")
def photo_pixels():
    """A photo with smooth and busy parts: 200×180×3 uint8, read-only, since all tests share it."""
    pixels = np.ascontiguousarray(skimage.data.astronaut()[:200, 140:320])
    pixels.flags.writeable = False
    return pixels


@pytest.fixture(scope="session")
def photo_tensor(photo_pixels):
    """The same photo as input of the networks: (1, 3, 200, 180) float32 on [0, 1]."""
    return torch.from_numpy(photo_pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def untouched_global_generators():
    """Fails the test if PyTorch's or NumPy's global random state has changed by its end."""
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002 - it is what is guarded
    yield
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_equal(np.random.get_state(), numpy_state)  # noqa: NPY002


@pytest.fixture(scope="session")
def tiny_page(tiny_config):
    """A running page with the tiny network: (page, address)."""
    import app
    from denoiser import Denoiser
    from denoiser.weights import Weights

    page = app.build_page(Denoiser(Weights(build(tiny_config), "tiny")), "")
    app.launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield page, page.local_url
    page.close()
