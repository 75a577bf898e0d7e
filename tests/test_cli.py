"""python -m denoiser: which file goes where, what is refused, and what the exit code says."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gradio import media

import denoiser
from denoiser import ImageError, Photo
from denoiser.cli import main, plan

ROOT = Path(__file__).parent.parent
rng = np.random.default_rng(0)


@pytest.fixture
def photo(tmp_path):
    """A small noisy photo."""
    path = tmp_path / "photo.png"
    denoiser.save_image(Photo(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)), path)
    return path


def test_one_photo_to_one_file_equals_the_python_api(photo, tmp_path):
    target = tmp_path / "clean.png"
    assert main([str(photo), "-o", str(target), "--level", "25"]) == 0
    expected = denoiser.load()(denoiser.open_image(photo), 25)
    assert np.array_equal(denoiser.open_image(target).pixels, expected.pixels)


def test_a_bundled_model_is_taken_by_its_name_from_anywhere(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(photo), "-o", "clean.png", "--model", "classic"]) == 0
    expected = denoiser.load("classic")(denoiser.open_image(photo))
    assert np.array_equal(denoiser.open_image("clean.png").pixels, expected.pixels)


def test_level_0_copies_the_pixels(photo, tmp_path):
    assert main([str(photo), "-o", str(tmp_path / "same.png"), "--level", "0"]) == 0
    assert np.array_equal(denoiser.open_image(tmp_path / "same.png").pixels, denoiser.open_image(photo).pixels)


def test_a_folder_goes_to_a_folder_and_bad_files_do_not_stop_the_rest(photo, tmp_path, capsys):
    shutil.copy(photo, tmp_path / "second.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    (tmp_path / "notes.txt").write_text("not a photo, and not counted as one")
    output = tmp_path / "out"
    assert main([str(tmp_path), "-o", str(output)]) == 1
    assert sorted(path.name for path in output.iterdir()) == ["photo.png", "second.png"]
    errors = capsys.readouterr().err
    assert "broken.jpg" in errors and "1 of 3" in errors


def test_an_existing_file_is_replaced_only_when_told_to(photo, capsys):
    before = photo.read_bytes()
    assert main([str(photo), "-o", str(photo)]) == 1
    assert "--overwrite" in capsys.readouterr().err and photo.read_bytes() == before
    assert main([str(photo), "-o", str(photo.parent)]) == 1 and photo.read_bytes() == before
    assert main([str(photo), "-o", str(photo), "--overwrite"]) == 0 and photo.read_bytes() != before


def test_formats_that_cannot_be_written_become_png(tmp_path):
    assert plan([Path("a.gif"), Path("b.jpg")], tmp_path)[0][1] == tmp_path / "a.png"


def test_two_photos_never_share_a_target(tmp_path):
    with pytest.raises(ImageError, match="Several photos"):
        plan([Path("a/x.jpg"), Path("b/x.jpg")], tmp_path)


@pytest.mark.parametrize("level", ["-1", "101", "nan", "strong"])
def test_a_bad_level_is_a_usage_error(photo, level, capsys):
    with pytest.raises(SystemExit) as exit:
        main([str(photo), "-o", "x.png", f"--level={level}"])
    assert exit.value.code == 2 and "0 to 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "said"),
    [(["--model", "no such folder"], "neither a model folder"), (["--device", "abacus"], "no device")],
)
def test_what_stops_everything_exits_with_2(photo, tmp_path, extra, said, capsys):
    assert main([str(photo), "-o", str(tmp_path / "x.png"), *extra]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_photos_and_a_file_for_many_are_refused(photo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no photos"):
        plan([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ImageError, match="need a folder"):
        plan([photo, tmp_path / "other.png"], photo)


def test_the_command_runs_as_the_readme_says(tmp_path):
    command = [sys.executable, "-m", "denoiser", media.get_image("lion.jpg"), "-o", str(tmp_path / "clean.jpg")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert denoiser.open_image(tmp_path / "clean.jpg").pixels.shape == (256, 256, 3)
