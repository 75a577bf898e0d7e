"""A running page whose memory, files and processor time are watched. Linux only: memory is read from /proc."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

KILL_GB = 6.5  # the page is killed above this, so that nothing else on the machine suffers


class WatchedPage:
    """Watches a page that runs in another process; `peak` is in GB of memory, `most` in GB of visitors' files."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.url, self.process, self.folder, self.peak, self.most = url, process, folder, 0.0, 0.0
        self.config = httpx.get(f"{url}config").json()
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self) -> None:
        with contextlib.suppress(OSError, StopIteration):  # the process has ended
            while True:
                lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
                held = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e9
                self.peak = max(self.peak, held)
                with contextlib.suppress(OSError):  # a folder that goes while it is read
                    self.most = max(self.most, sum(size for _, size in self.files()) / 1e9)
                if held > KILL_GB:
                    self.process.kill()
                time.sleep(0.1)

    def files(self) -> Iterator[tuple[Path, int]]:
        """Yield visitors' files and their sizes."""
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file() and "examples" not in path.parts:
                    yield path, path.stat().st_size

    def cpu_seconds(self) -> float:
        """Return the seconds of processor time that the page has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_idle(self) -> bool:
        """Watch the page for a second and return whether it did next to nothing."""
        before = self.cpu_seconds()
        time.sleep(1)
        return self.cpu_seconds() - before < 0.3

    def number(self, name: str, *kinds: str) -> int:
        """Return the number of a callback by its name, which Gradio may number, and the kinds of its inputs."""
        kind_of = {item["id"]: item["type"] for item in self.config["components"]}
        for item in self.config["dependencies"]:
            inputs = tuple(kind_of[number] for number in item["inputs"])
            if (item["api_name"] or "").startswith(name) and inputs[: len(kinds)] == kinds:
                return item["id"]
        raise AssertionError(f"no callback {name} of {kinds}")
