"""The browser that drives the page: the system's Chromium, through Playwright."""

import shutil
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the first is the lightest
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def launch(playwright: Any) -> Any:
    """Start it; close it by using it as a context manager."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


def visit(page: Any, url: str) -> None:
    """Open the page and wait until its script has run, which names the divider of the comparison."""
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#result [role=slider]").wait_for()


def choose(page: Any, file: Any, upload: str = "noisy") -> None:
    """Choose a photo: a path, or a name, type and bytes as Playwright takes them."""
    page.locator(f"input[type=file]:has(+ #{upload})").set_input_files(file)


def drop(page: Any, file: Any) -> None:
    """Choose a noisy photo and wait until it is denoised."""
    choose(page, file)
    page.get_by_text("Noise strength: Auto (about").wait_for(timeout=60_000)
