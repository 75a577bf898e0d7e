"""The browser that drives the page: the system's Chromium, through Playwright."""

import shutil
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def launch(playwright: Any) -> Any:
    """Start it; close it by using it as a context manager."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
