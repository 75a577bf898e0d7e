"""Everything that has taken the page down before, tried against the running page while an honest visitor uses it.

`python -m pytest -m long -s tests/page/test_app_siege.py` prints what each attack cost. It takes about ten minutes on
two cores, and memory is read from /proc: Linux only.
"""

import contextlib
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from bombs import jpeg_of_many_scans, tiff_of_huge_tiles, tiff_of_shared_bytes
from page_process import ROOT, running_page, wait_for
from PIL import Image
from visitor import BATCH, Visitor, named
from watched_page import WatchedPage

import denoiser

MAX_GB, MAX_SECONDS, MAX_WAIT = 4.0, 60, 30
KEEP_SECONDS, DISK_GB = 60, 0.6
ATTACKER = "203.0.113.7"  # an address as a proxy hands it on
VIEW = "Before / after"
RUN = "run", "uploadbutton", "textbox"  # the callback for a noisy photo

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    settings = {"DENOISER_KEEP_MINUTES": KEEP_SECONDS / 60, "DENOISER_DISK_GB": DISK_GB}
    with running_page(GRADIO_TEMP_DIR=folder, **settings) as (url, process):
        yield WatchedPage(url, process, folder)


@pytest.fixture(scope="module")
def table():
    rows = []
    yield rows
    print("\n| attack | GB at most | GB on the disk | s of work after it | s that an honest visitor waited |")
    print("|---|---|---|---|---|", *rows, sep="\n")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of so many megapixels, small as files."""
    folder = tmp_path_factory.mktemp("photos")
    for megapixels, size in {1: (1200, 833), 6: (3000, 2000), 10: (4000, 2500), 24: (6000, 4000)}.items():
        Image.new("RGB", size, (120, 110, 100)).save(folder / f"{megapixels}.jpg", quality=50)
    Image.new("RGB", (12_000, 8333), (120, 110, 100)).save(folder / "100.jpg", quality=30)
    denoiser.save_image(denoiser.Photo(np.full((4000, 4000, 3), 30_000, np.uint16)), folder / "deep.png")
    (folder / "tags.tif").write_bytes(tiff_of_shared_bytes())
    (folder / "tile.tif").write_bytes(tiff_of_huge_tiles())
    (folder / "scans.jpg").write_bytes(jpeg_of_many_scans())
    return folder


class Honest:
    """A visitor who denoises a photo of a megapixel, and moves Amount, as long as the page is besieged."""

    def __init__(self, page, photo):
        self.page, self.photo, self.waited, self.failed = page, photo, [], []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.visit, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    def visit(self):
        while not self.done.is_set() or not self.waited:
            for step in (self.denoise, self.move_amount):
                started = time.monotonic()
                try:
                    step()
                except Exception as error:
                    self.failed.append(repr(error))
                self.waited.append(time.monotonic() - started)

    def denoise(self):
        self.visitor = Visitor(self.page.url)
        upload = self.visitor.upload(self.photo)[0]
        number = self.page.number(*RUN)
        assert self.visitor.denoise(number, upload).get("data")

    def move_amount(self):
        assert self.visitor.ask(self.page.number("show_again"), self.visitor.key, 50, VIEW).get("data")


# --- attacks: each gets the page, an attacker and photos ---------------------------------------------------------


def names_files_of_the_machine(page, attacker, photos):
    for path in (photos / "1.jpg", "/etc/passwd", "/dev/zero", "https://example.org/x.png", ROOT / "app.py"):
        for meta in (True, False):
            assert "event: error" in attacker.call("denoise", named(path, meta), None)


def cancels_8_photos(page, attacker, photos):
    storm(page, attacker, attacker.upload(photos / "6.jpg")[0], 8, 1.5)


def cancels_45_photos_of_100_megapixels(page, attacker, photos):
    storm(page, attacker, attacker.upload(photos / "100.jpg")[0], 45, 0.3)


def storm(page, attacker, upload, times, seconds):
    number = page.number(*RUN)
    for _ in range(times):
        attacker.session = os.urandom(4).hex()  # in one tab, a run ends the one before it
        event = attacker.join(number, upload, None, True, 25, 100, VIEW)
        time.sleep(seconds)
        attacker.cancel(number, event)


def walks_round_the_queue(page, attacker, photos):
    upload, number = attacker.upload(photos / "24.jpg")[0], page.number(*RUN)
    bodies = [("denoise", {"data": [upload, None]})] * 16
    bodies += [("predict", {"data": [upload, None, True, 25, 100, VIEW], "fn_index": number, "session_hash": "x"})] * 16
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: attacker.http.post(f"/run/{body[0]}", json=body[1]).status_code, bodies))
    assert set(answers) == {404}


def holds_20_results(page, attacker, photos):
    for _ in range(20):
        upload = attacker.upload(photos / "deep.png")[0]
        attacker.session, attacker.key = os.urandom(4).hex(), None
        assert attacker.denoise(page.number(*RUN), upload, (False, 0, 100, VIEW)).get("data")


def joins_100_times_with_20_megabytes(page, attacker, photos):
    body = b'{"data": ["%b"], "fn_index": 1, "session_hash": "x"}' % (b"x" * 20_000_000)
    for number in range(100):
        content = body if number % 10 else (body[start : start + 65_536] for start in range(0, len(body), 65_536))
        with contextlib.suppress(httpx.TransportError):  # it hangs up while we are still talking
            assert attacker.http.post("/queue/join", content=content).status_code == 413


def sends_a_long_form_field(page, attacker, photos):
    start = b'--x\r\ncontent-disposition: form-data; name="files"\r\n\r\n'
    for _ in range(5):
        content = iter([start, *[bytes(1 << 20)] * 300, b"\r\n--x--"])
        headers = {"content-type": "multipart/form-data; boundary=x"}
        with contextlib.suppress(httpx.TransportError):
            assert attacker.http.post("/upload", content=content, headers=headers).status_code == 413


def lists_a_photo_of_100_megapixels_50_times(page, attacker, photos):
    upload = attacker.upload(photos / "100.jpg")[0]
    assert "megapixels" in attacker.ask(page.number("run", "file"), [upload] * 50, *BATCH)["error"]


def leaves_a_batch_alone(page, attacker, photos):
    photos = [photos / f"{number}.jpg" for number in (24, 10, 6, 1)]
    number, uploads = page.number("run", "file"), attacker.upload(*photos)
    event = attacker.join(number, uploads, *BATCH)
    time.sleep(30)
    attacker.cancel(number, event)


def fills_all_places(page, attacker, photos):
    upload, number = attacker.upload(photos / "24.jpg")[0], page.number(*RUN)
    tabs = [Visitor(page.url, ATTACKER) for _ in range(60)]
    events = [tab.join(number, upload, None, True, 25, 100, VIEW) for tab in tabs]
    time.sleep(30)
    for tab, event in zip(tabs, events, strict=True):
        tab.cancel(number, event)


def fills_the_disk(page, attacker, photos):
    upload = attacker.upload(photos / "deep.png")[0]
    attacker.denoise(page.number(*RUN), upload, (False, 0, 100, VIEW))
    for number in range(20):
        attacker.ask(page.number("show_again"), attacker.key, number + 1 / 3, VIEW)
        attacker.ask(page.number("make_file"), attacker.key, number / 3, "TIFF", 95, False)
    noise = np.random.default_rng(0)
    for _ in range(50):
        attacker.http.post("/upload", files={"files": ("noise.png", noise.bytes(20_000_000))})


def leaves_uploads_half_done(page, attacker, photos):
    start = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    host = httpx.URL(page.url)
    for _ in range(20):
        with socket.create_connection((host.host, host.port)) as connection:
            head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n"
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode() + start)
            connection.sendall(bytes(2_000_000))


def saves_a_photo_of_100_megapixels_in_every_format(page, attacker, photos):
    upload = attacker.upload(photos / "100.jpg")[0]
    assert attacker.denoise(page.number(*RUN), upload, (False, 0, 100, VIEW)).get("data")
    for kind in ("JPEG", "PNG", "WebP", "TIFF"):
        assert attacker.ask(page.number("make_file"), attacker.key, 50, kind, 95, False).get("data")


def compares_a_clean_photo(page, attacker, photos):
    upload = attacker.upload(photos / "10.jpg")[0]
    assert attacker.ask(page.number("run", "uploadbutton", "slider"), upload, 25).get("data")


def opens_bombs(page, attacker, photos):
    for name in ("tags.tif", "tile.tif", "scans.jpg"):
        assert "event: " in attacker.call("estimate_noise", attacker.upload(photos / name)[0])


ATTACKS = [
    names_files_of_the_machine,
    cancels_8_photos,
    cancels_45_photos_of_100_megapixels,
    walks_round_the_queue,
    holds_20_results,
    joins_100_times_with_20_megabytes,
    sends_a_long_form_field,
    lists_a_photo_of_100_megapixels_50_times,
    leaves_a_batch_alone,
    fills_all_places,
    fills_the_disk,
    leaves_uploads_half_done,
    saves_a_photo_of_100_megapixels_in_every_format,
    compares_a_clean_photo,
    opens_bombs,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_page_stands(attack, page, photos, table):
    wait_for(page.is_idle, MAX_SECONDS)
    page.peak = page.most = 0
    attacker = Visitor(page.url, ATTACKER)
    attacker.http.timeout = 300
    with Honest(page, photos / "1.jpg") as honest:
        attack(page, attacker, photos)
    ended = time.monotonic()
    wait_for(page.is_idle, 300)
    worked_on, slowest = time.monotonic() - ended, max(honest.waited)
    name = attack.__name__.replace("_", " ")
    table.append(f"| {name} | {page.peak:.2f} | {page.most:.2f} | {worked_on:.0f} | {slowest:.0f} |")
    assert honest.failed == []
    assert page.peak < MAX_GB and worked_on < MAX_SECONDS and slowest < MAX_WAIT
    assert page.most < DISK_GB * 1.2


def test_nothing_is_left_on_the_disk(page, table):
    time.sleep(KEEP_SECONDS)
    wait_for(lambda: not list(page.files()), KEEP_SECONDS)
