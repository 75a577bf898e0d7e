"""Five hundred damaged files of every format: each gives a photo or a sentence, in bounded time and memory."""

import json
import subprocess
import sys
from pathlib import Path

import damaged_files
import pytest
from damaged_files import BYTES, FORMATS, damaged_file, whole_files

FILES = 500
HELPERS = Path(damaged_files.__file__).parent


@pytest.mark.long
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_files_give_a_photo_or_a_sentence(tmp_path, kind):
    outcomes, bad, first = [], [], 0
    while first < FILES:
        command = [sys.executable, "-m", "damaged_files", kind, str(first), str(FILES), str(tmp_path)]
        path = {"PYTHONPATH": f"{HELPERS}:{HELPERS.parents[1]}", "PATH": ""}
        done = subprocess.run(command, env=path, capture_output=True, text=True, timeout=900)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        finished = [line for line in lines if "outcome" in line]
        outcomes += [line["outcome"] for line in finished]
        bad += [line for line in finished if problem_of(line)]
        first = lines[-1]["number"] + 1
        if done.returncode:  # it took too long, or crashed
            bad.append({"number": first - 1, "signal": -done.returncode, "said": done.stderr[-500:]})
    assert bad == []
    assert len(outcomes) == FILES
    photos = outcomes.count("photo")
    assert photos > FILES / 50 and photos < FILES * 0.9  # both happen, so the damage goes deep enough to matter


def problem_of(line):
    sentence = line["outcome"] == "photo" or (line["outcome"].endswith(".") and "\n" not in line["outcome"])
    return not sentence or "not enough memory" in line["outcome"] or line["peak"] > BYTES


def test_a_number_always_gives_the_same_damaged_file(tmp_path):
    whole = whole_files("GIF", tmp_path)
    files = [damaged_file("GIF", number, whole) for number in range(20)]
    assert files == [damaged_file("GIF", number, whole) for number in range(20)] and len(set(files)) == 20
