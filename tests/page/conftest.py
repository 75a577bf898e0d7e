"""Shared by the tests of the page: the page on the bundled weights, a browser, and a noisy photo."""

import os

import chromium
import pytest
from gradio import media
from playwright.sync_api import sync_playwright
from visitor import LICENSE

import app
import denoiser

LEVEL = 25


@pytest.fixture(scope="session")
def model():
    return denoiser.load()


@pytest.fixture(scope="session")
def url(model):
    """The address of the running page."""
    page = app.build_page(model, f"Running on the test's weights, under {LICENSE}.")
    app.launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    yield page.local_url
    page.close()


@pytest.fixture(scope="session")
def clean():
    return denoiser.open_image(media.get_image("tower.jpg"))


@pytest.fixture(scope="session")
def noisy_file(clean, tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "holiday.png"
    denoiser.save_image(denoiser.add_noise(clean, LEVEL), path)
    return path


@pytest.fixture(scope="module")  # no longer: its event loop is in the way of tests that run their own
def browser():
    if chromium.CHROMIUM is None:
        assert not os.environ.get("REQUIRE_BROWSER"), "this run must drive a browser, and there is no chromium"
        pytest.skip("needs chromium (apt-get install chromium)")
    with sync_playwright() as playwright, chromium.launch(playwright) as started:
        yield started


@pytest.fixture
def page(browser, url):
    """A visitor's page; the test fails if it asks for anything from elsewhere."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page, addresses = context.new_page(), []
        page.on("request", lambda request: addresses.append(request.url))
        chromium.visit(page, url)
        yield page
        assert not [address for address in addresses if not address.startswith((url, "data:", "blob:"))]


class Network:
    """Counts the runs of the network. While `held`, a run goes on without end, and so do those after `hold_after`.

    `stopped` counts the runs that were ended before their end.
    """

    def __init__(self, model, patch):
        self.runs, self.stopped, self.held, self.hold_after, by_tile = [], 0, False, 1000, model.by_tile

        def counted(photo, level=None):
            self.runs.append((photo.height, photo.width, level))
            try:
                while self.held or len(self.runs) > self.hold_after:
                    yield 1, 1000
                return (yield from by_tile(photo, level))
            except GeneratorExit:
                self.stopped += 1
                raise

        patch.setattr(model, "by_tile", counted)
        patch.setattr("denoiser.page.scheduler.SLICE_SECONDS", 0.05)


@pytest.fixture
def network(model, monkeypatch):
    network = Network(model, monkeypatch)
    yield network
    network.held, network.hold_after = False, 1000
