"""The page in a process of its own, as a host runs it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running_page(**settings: object) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the page with these environment variables; yields its address, once it answers, and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings |= {"GRADIO_SERVER_PORT": port, "GRADIO_SERVER_NAME": "127.0.0.1"}
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        wait_for(lambda: answers(url), seconds=120)
        yield url, process
    finally:
        process.terminate()  # it deletes its files
        try:
            process.wait(20)
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Return whether a page is up, without loading certificates, which takes longer than asking."""
    try:
        return httpx.get(url, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 40) -> None:
    """Wait until the condition holds; fails after so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still waiting after {seconds} s"
        time.sleep(0.05)
