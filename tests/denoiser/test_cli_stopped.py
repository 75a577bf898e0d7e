"""python -m denoiser, stopped by a signal or killed: no original is lost, and nothing is left behind."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import denoiser
from denoiser import Photo
from denoiser.cli import main

ROOT = Path(denoiser.__file__).parents[1]
rng = np.random.default_rng(0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["denoiser.cli.open_image", "denoiser.image_io._write", "os.fsync", "os.replace"])
def test_a_signal_prints_one_line_and_leaves_nothing_behind(photo, tmp_path, number, place, printed_lines, monkeypatch):
    shutil.copy(photo, tmp_path / "second.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def stop(*arguments, **options):
        signal.raise_signal(number)
        signal.raise_signal(number)  # somebody is impatient

    monkeypatch.setattr(place, stop)
    assert main([str(tmp_path), "-o", str(tmp_path), "--overwrite"]) == 128 + number
    assert printed_lines() == ["stopped; finished photos are complete, the others are unchanged"]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_a_signal_that_the_shell_ignores_stays_ignored(photo, tmp_path, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        real = denoiser.cli.open_image
        monkeypatch.setattr("denoiser.cli.open_image", lambda path: signal.raise_signal(signal.SIGINT) or real(path))
        assert main([str(photo), "-o", str(tmp_path / "x.png"), "--level", "0"]) == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_the_process_ends_with_the_code_of_the_signal(photo, tmp_path):
    script = "import os, sys, signal, denoiser.cli; os.fsync = lambda _: os.kill(os.getpid(), signal.SIGTERM); "
    script += f"sys.exit(denoiser.cli.main([{str(photo)!r}, '-o', {str(photo)!r}, '--overwrite', '--level', '0']))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 143 and done.stderr.count("\n") == 1 and done.stderr.startswith("stopped")


@pytest.mark.long
def test_no_original_is_lost_when_the_process_is_killed(tmp_path):
    """Twenty times, at any moment, while photos are replaced in place."""
    for number in range(30):
        suffix = ("png", "tif", "jpg", "webp", "bmp", "avif")[number % 6]
        pixels = rng.integers(0, 256, (500, 700, 3), dtype=np.uint8)
        denoiser.save_image(Photo(pixels), tmp_path / f"{number:02}.{suffix}")
    before = {path: denoiser.open_image(path).pixels for path in tmp_path.iterdir()}
    command = [str(tmp_path), "-o", str(tmp_path), "--overwrite", "--level", "0"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["denoiser.cli"])
    delays, replaced = np.random.default_rng(1), 0
    for _ in range(20):
        files = {path: path.stat().st_ino for path in before}
        process = context.Process(target=main, args=(command,))
        process.start()
        deadline = time.monotonic() + 60
        while all(path.stat().st_ino == files[path] for path in before):  # until it is at it
            assert process.is_alive() and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(delays.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        replaced += sum(path.stat().st_ino != files[path] for path in before)
        for path, pixels in before.items():
            now = denoiser.open_image(path).pixels
            assert now.shape == pixels.shape
            assert path.suffix in (".jpg", ".avif") or np.array_equal(now, pixels)
    assert 20 <= replaced < 20 * len(before)  # each time it got somewhere, and not to the end
    assert {path.suffix for path in tmp_path.iterdir() if path not in before} <= {".tmp"}
