"""Measure the page on an otherwise idle machine: `python -m tests.helpers.benchmark_page`.

Where the time goes between dropping a photo and seeing it clean in Chromium, when a big photo is first seen and when
whole, and whether twenty visitors at once are all served in flat memory. Memory is read from /proc: Linux only.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np
import torch
from gradio import media
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, sync_playwright

import denoiser
from denoiser.memory import tune_allocator

from . import chromium
from .page_process import running_page

LEVEL, ROUNDS, WAIT_MS = 25, 5, 600_000
SAYS = "document.querySelector('#details').innerText.startsWith('{}')"
FIRST_SIGHT, WHOLE = SAYS.format("This is the middle"), SAYS.format("Noise strength: Auto")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the page: first result, a big photo, many visitors.")
    parser.add_argument("--big", type=int, default=12, help="megapixels of the big photo (default: 12)")
    parser.add_argument("--visitors", type=int, default=20, help="how many ask at once (default: 20)")
    parser.add_argument("--requests", type=int, default=200, help="how many requests in all (default: 200)")
    options = parser.parse_args()
    tune_allocator()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright, server() as (url, process):
        folder = Path(folder)
        with chromium.launch(playwright) as browser:
            print(first_result(browser, url, write_photo(folder, 1)))
            print(big_photo(browser, url, process, write_photo(folder, options.big)))
        print(load_test(url, process, write_photo(folder, 0.1), options.visitors, options.requests))


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Run the page in another process; yields its address and process id."""
    started = time.perf_counter()
    with running_page() as (url, process):
        print(f"The page is up after {time.perf_counter() - started:.1f} s, at {memory(process.pid):.2f} GB.\n")
        yield url, process.pid


def write_photo(folder: Path, megapixels: float) -> Path:
    """Write a noisy 4:3 photo of about that many megapixels as JPEG."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    tile = denoiser.open_image(media.get_image("tower.jpg")).pixels
    shape = (height, height * 4 // 3)
    pixels = np.tile(tile, (shape[0] // tile.shape[0] + 1, shape[1] // tile.shape[1] + 1, 1))[: shape[0], : shape[1]]
    path = folder / f"{megapixels:g}-megapixels.jpg"
    denoiser.save_image(denoiser.add_noise(denoiser.Photo(pixels), LEVEL), path)
    return path


def first_result(browser: Browser, url: str, path: Path) -> str:
    """Where the time goes between dropping a photo and seeing it clean."""
    model = denoiser.load()
    photo = denoiser.open_image(path)
    clean = model(photo)
    network, pixels = model.weights.model, torch.from_numpy(photo.pixels).permute(2, 0, 1)[None] / 255
    stages = {
        "the bare network, float32": torch.inference_mode()(lambda: network(pixels)),
        "open the file": lambda: denoiser.open_image(path),
        "estimate the level": lambda: model.estimate_level(photo.pixels),
        "the model, by tile": lambda: model(photo),
        "write two previews": lambda: [denoiser.save_image(item, path.with_stem("p")) for item in (photo, clean)],
    }
    seconds = {name: timed(stage) for name, stage in stages.items()}
    whole = []
    for _ in range(ROUNDS + 1):
        page = open_page(browser, url)  # the page knows a photo that it has just denoised
        whole.append(*drop(page, path, WHOLE))
        page.close()
    seconds["dropped to seen, in Chromium"] = median(whole[1:])
    bare = seconds["the bare network, float32"]
    lines = [f"| {photo.width}×{photo.height} | seconds | ÷ the bare network |", "|---|---|---|"]
    lines += [f"| {name} | {took:.2f} | {took / bare:.2f} |" for name, took in seconds.items()]
    return "\n".join(lines) + "\n"


def big_photo(browser: Browser, url: str, process: int, path: Path) -> str:
    """Measure a big photo: from dropping it to its first sight, the whole result, and the finished download."""
    page = open_page(browser, url)
    first, whole = drop(page, path, FIRST_SIGHT, WHOLE)
    started = time.perf_counter()
    with page.expect_download(timeout=WAIT_MS) as download:
        page.locator("#download").click()
    size = download.value.path().stat().st_size / 1e6
    page.close()
    waited = time.perf_counter() - started
    return (
        f"{path.stem}: first seen after {first:.1f} s, whole after {whole:.1f} s, a ratio of {first / whole:.2f}. "
        f"Downloaded ({size:.0f} MB) {waited:.1f} s after the click. The page took at most "
        f"{memory(process, peak=True):.2f} GB.\n"
    )


def load_test(url: str, process: int, path: Path, visitors: int, requests: int) -> str:
    """Measure visitors who all send requests at once, repeatedly."""
    clients = [Client(url, verbose=False) for _ in range(visitors)]
    held = {}

    def ask(number: int) -> float:
        started = time.perf_counter()
        clients[number % visitors].predict(handle_file(path), None, api_name="/denoise")
        return time.perf_counter() - started

    done, waited = 0, []
    with ThreadPoolExecutor(visitors) as pool:
        while done < requests:
            waited += pool.map(ask, range(visitors))
            done += visitors
            held[done] = memory(process)
    first, *_, last = held.values()
    return (
        f"{visitors} visitors at once: {done} of {done} requests served, {median(waited):.1f} s each on the median, "
        f"{max(waited):.1f} s at most. Memory {first:.2f} GB after {visitors}, {last:.2f} GB after {done}.\n"
    )


def timed(stage: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        stage()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


def open_page(browser: Browser, url: str):
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    chromium.visit(page, url)
    return page


def drop(page, path: Path, *stages: str) -> list[float]:
    """Return the seconds from giving the page a photo to each stage, with both pictures of the comparison decoded.

    The page itself looks, at every frame: a locator's wait_for looks twice a second.
    """
    started, seconds = time.perf_counter(), []
    chromium.choose(page, path)
    for stage in stages:
        page.wait_for_function(stage)
        page.locator("#result img").evaluate_all("images => Promise.all(images.map(image => image.decode()))")
        seconds.append(time.perf_counter() - started)
    return seconds


def memory(process: int, peak: bool = False) -> float:
    """Return the memory of a process, or its peak, in GB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM" if peak else "VmRSS")) * 1024 / 1e9


if __name__ == "__main__":
    main()
