"""Shared by the tests of the page: the page on the bundled weights, a browser, and a noisy photo."""

import os
import threading
import time

import chromium
import pytest
from gradio import media
from page_process import wait_for
from playwright.sync_api import sync_playwright
from visitor import LICENSE

import app
import denoiser
from denoiser import Photo
from denoiser.page import scheduler

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
    """A tall piece of a photo, so that at actual size it is higher than a screen: 200×600 pixels."""
    return denoiser.Photo(denoiser.open_image(media.get_image("tower.jpg")).pixels[:, 80:280])


@pytest.fixture(scope="session")
def noisy_file(clean, tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "holiday.png"
    denoiser.save_image(denoiser.add_noise(clean, LEVEL), path)
    return path


@pytest.fixture(scope="module")  # no longer: its event loop is in the way of tests that run their own
def browser():
    if chromium.CHROMIUM is None:
        assert not os.environ.get("REQUIRE_BROWSER"), "this run must drive a browser, and there is no chromium"
        pytest.skip("needs chromium (apt-get install chromium-headless-shell)")
    with sync_playwright() as playwright, chromium.launch(playwright) as started:
        yield started


@pytest.fixture(scope="module")
def context(browser):
    """A browser's profile: it loads the page's scripts once."""
    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        yield context


@pytest.fixture
def page(context, url):
    """A visitor's tab; the test fails if it asks for anything from elsewhere."""
    addresses = []
    with context.new_page() as page:
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


class EndlessNetwork:
    """Stands in for the network's work on a photo: endless until it is let go on, and it notes what happens."""

    def __init__(self, monkeypatch):
        self.events, self.go_on = [], threading.Event()
        open_image = denoiser.open_image
        monkeypatch.setattr(denoiser, "open_image", lambda path: self.events.append("opened") or open_image(path))
        monkeypatch.setattr(denoiser.Denoiser, "by_tile", lambda model, photo, level=None: self.by_tile(photo))
        monkeypatch.setattr(scheduler, "SLICE_SECONDS", 0)

    def by_tile(self, photo):
        self.events.append("started")
        try:
            while not self.go_on.is_set():
                time.sleep(0.01)
                yield 1, 100
        except GeneratorExit:
            self.events.append("stopped")
            raise
        self.events.append("done")
        return photo


@pytest.fixture
def endless_network(tiny_page, monkeypatch):
    network = EndlessNetwork(monkeypatch)
    yield network
    network.go_on.set()
    wait_for(lambda: not tiny_page[0].service.network._turns)


@pytest.fixture
def photo(tmp_path, photo_pixels):
    path = tmp_path / "holiday.png"
    denoiser.save_image(Photo(photo_pixels), path)
    return path
