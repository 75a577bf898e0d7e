"""Measure the peak memory of a call, on Linux."""

import re
from pathlib import Path

import pytest


def peak_of(work):
    """Call `work`; return its result and the most bytes by which the process grew meanwhile."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        pytest.skip("the system doesn't say how much memory a process took")
    reset.write_text("5")  # sets the peak back to what is taken now

    def reading(name):
        return int(re.search(rf"{name}:\s+(\d+) kB", status.read_text())[1]) * 1024

    before = reading("VmRSS")
    result = work()
    return result, reading("VmHWM") - before
