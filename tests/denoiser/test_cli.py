"""python -m denoiser: which file goes where, what is refused, and what the exit code says."""

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
from gradio import media
from PIL import Image

import denoiser
from denoiser import ImageError, Photo
from denoiser.cli import main, plan

ROOT = Path(denoiser.__file__).parents[1]
rng = np.random.default_rng(0)


@pytest.fixture
def photo(tmp_path):
    """A small noisy photo."""
    path = tmp_path / "photo.png"
    denoiser.save_image(Photo(rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)), path)
    return path


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_command_runs_as_the_readme_says(tmp_path):
    command = [sys.executable, "-m", "denoiser", media.get_image("lion.jpg"), "-o", str(tmp_path / "clean.jpg")]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
    assert denoiser.open_image(tmp_path / "clean.jpg").pixels.shape == (256, 256, 3)


@pytest.mark.parametrize("name", ["clean.heic", "clean.gif", "clean.xyz", "clean.jpg2"])
def test_an_output_that_cannot_be_written_is_refused_and_makes_no_folder(photo, tmp_path, name, capsys):
    assert main([str(photo), "-o", str(tmp_path / name)]) == 2
    assert ".png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp, .avif" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("name", ["out.heic", "out.png", "out.gif"])
def test_many_photos_make_no_folder_that_looks_like_a_picture(photo, tmp_path, name):
    shutil.copy(photo, tmp_path / "second.png")
    for inputs in ([tmp_path], [photo, tmp_path / "second.png"]):
        with pytest.raises(ImageError, match="2 photos need a folder"):
            plan(inputs, tmp_path / name)


def test_an_existing_file_without_a_photo_s_name_is_no_output(photo, tmp_path, capsys):
    (tmp_path / "notes").write_text("not a photo")
    assert main([str(photo), "-o", str(tmp_path / "notes"), "--overwrite"]) == 2
    assert "the name must end in .png" in capsys.readouterr().err
    assert (tmp_path / "notes").read_text() == "not a photo"


@pytest.mark.parametrize("names", [["", "-o", "x.png"], ["photo.png", "-o", ""]])
def test_an_empty_name_does_not_mean_the_current_folder(photo, names, capsys, monkeypatch):
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    with pytest.raises(SystemExit) as exit:
        main([*names, "--overwrite"])
    assert exit.value.code == 2 and "the name is empty" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_a_folder_may_have_a_dot_in_its_name(photo, tmp_path):
    (tmp_path / "v1.0").mkdir()
    assert plan([photo], tmp_path / "v1.0") == [(photo, tmp_path / "v1.0" / "photo.png")]
    assert plan([tmp_path], tmp_path / "2024.05")[0][1].parent == tmp_path / "2024.05"
    assert plan([photo], tmp_path / "new")[0][1].parent == tmp_path / "new"


def lines_of(capsys):
    """What was printed, line by line: nothing of it is a traceback or moves the cursor."""
    lines = capsys.readouterr().err.splitlines()
    assert all(line.isprintable() and "Traceback" not in line for line in lines), lines
    return lines


def test_what_the_libraries_think_of_a_file_is_not_shown(tmp_path, capfd, recwarn):
    exif = b"II*\0\x08\0\0\0\5\0" + bytes(20)  # of five tags all but one are missing
    Image.new("RGB", (24, 16)).save(tmp_path / "x.png", exif=exif)
    assert main([str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png"), "--level", "0"]) == 0
    assert capfd.readouterr().err == "" and not recwarn.list


def test_a_name_that_is_too_long_does_not_stop_the_rest(photo, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(tmp_path / ("x" * 300 + ".png")), str(photo), "-o", str(out), "--level", "0"]) == 1
    assert [path.name for path in out.iterdir()] == ["photo.png"]
    [failed, summary] = lines_of(capsys)
    assert "File name too long" in failed and summary == "1 of 2 photos failed"
    assert main([str(photo), "-o", str(tmp_path / ("x" * 300 + ".png")), "--level", "0"]) == 1
    assert "File name too long" in lines_of(capsys)[0]


def test_a_folder_that_cannot_be_read_does_not_stop_the_rest(photo, tmp_path, capsys, monkeypatch):
    locked, real = tmp_path / "locked", Path.iterdir
    locked.mkdir()

    def iterdir(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # for root may read every folder
    assert main([str(locked), str(photo), "-o", str(tmp_path / "out"), "--level", "0"]) == 1
    assert (tmp_path / "out" / "photo.png").exists()
    assert lines_of(capsys) == [f"failed: {str(locked)!r} can't be used: Permission denied.", "1 of 2 photos failed"]
    assert main([str(locked), "-o", str(tmp_path / "other")]) == 1
    assert lines_of(capsys)[-1] == "1 of 1 photos failed" and not (tmp_path / "other").exists()


def test_an_output_folder_that_cannot_be_used_fails_photo_by_photo(photo, tmp_path, capsys, monkeypatch):
    shutil.copy(photo, tmp_path / "second.png")
    inputs = [str(photo), str(tmp_path / "second.png")]
    assert main([*inputs, "-o", str(photo / "below a file"), "--level", "0"]) == 1
    assert len(lines_of(capsys)) == 3

    locked, real = tmp_path / "locked", Path.exists

    def exists(path):
        if locked in (path, *path.parents):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    locked.mkdir()
    monkeypatch.setattr(Path, "exists", exists)
    assert main([*inputs, "-o", str(tmp_path / "locked"), "--level", "0"]) == 1
    lines = lines_of(capsys)
    assert len(lines) == 3 and lines[0].endswith("can't be used: Permission denied.")


def test_names_cannot_play_tricks_on_the_terminal(photo, tmp_path, capsys):
    for name in ("new\nline.png", "\x1b[2Jclear.png", "\u202egnp.exe.png", "bell\x07\r.png", "\udcff.png"):
        (tmp_path / name).write_bytes(b"no photo")
        assert main([str(tmp_path / name), "-o", str(tmp_path / "out.png")]) == 1
        assert len(lines_of(capsys)) == 2
        with pytest.raises(SystemExit):
            main([str(photo), "-o", "x.png", f"--{name}"])
        assert lines_of(capsys)[-1].startswith("python -m denoiser: error: ")
        assert main([str(photo), "-o", str(tmp_path / "out.png"), "--model", name]) == 2
        assert len(lines_of(capsys)) == 1


def animation(path):
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("white", "black")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_a_file_of_which_only_a_part_is_read_is_never_replaced_by_it(tmp_path, suffix, capsys):
    path = animation(tmp_path / f"x.{suffix}")
    before = path.read_bytes()
    (tmp_path / f"link.{suffix}").symlink_to(path)
    for inputs, output in (([path], path), ([tmp_path], tmp_path), ([path], tmp_path / f"link.{suffix}")):
        assert main([*map(str, inputs), "-o", str(output), "--overwrite", "--level", "0"]) == 1
        assert "is not replaced, because part of it would be lost. Only the first" in lines_of(capsys)[0]
        assert path.read_bytes() == before
    assert main([str(path), "-o", str(tmp_path / "first.png"), "--overwrite", "--level", "0"]) == 0
    assert lines_of(capsys)[0].startswith(f"note: Only the first {'page' if suffix == 'tif' else 'frame'} of 'x.")


def test_what_the_new_file_has_no_room_for_is_said(tmp_path, capsys):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.new("RGB", (24, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert main([str(tmp_path / "x.jpg"), "-o", str(tmp_path / "x.bmp"), "--level", "0"]) == 0
    assert lines_of(capsys) == ["note: 'x.bmp' lacks the EXIF: BMP has no room for it."]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("place", ["denoiser.cli.open_image", "denoiser.image_io._write", "os.fsync", "os.replace"])
def test_a_signal_ends_the_work_in_one_line_and_leaves_nothing_behind(
    photo, tmp_path, number, place, capsys, monkeypatch
):
    shutil.copy(photo, tmp_path / "second.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def stop(*arguments, **options):
        signal.raise_signal(number)
        signal.raise_signal(number)  # somebody is impatient

    monkeypatch.setattr(place, stop)
    assert main([str(tmp_path), "-o", str(tmp_path), "--overwrite"]) == 128 + number
    assert lines_of(capsys) == ["stopped; finished photos are complete, the others are unchanged"]
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
