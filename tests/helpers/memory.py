"""How much memory something takes at its peak; on Linux."""

import re
from pathlib import Path

import pytest


def peak_of(work):
    """Do the work; returns what it returns, and the bytes by which the process grew meanwhile at most."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        pytest.skip("the system doesn't say how much memory a process took")
    reset.write_text("5")  # sets the peak back to what is taken now

    def reading(name):
        return int(re.search(rf"{name}:\s+(\d+) kB", status.read_text())[1]) * 1024

    before = reading("VmRSS")
    result = work()
    return result, reading("VmHWM") - before
