"""python -m denoiser: which file goes where, what is refused, and what the exit code says."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from gradio import media
from PIL import Image

import denoiser
from denoiser import ImageError
from denoiser.cli import main, plan

ROOT = Path(denoiser.__file__).parents[1]
rng = np.random.default_rng(0)


@pytest.mark.slow
def test_one_photo_to_one_file_equals_the_python_api(photo, tmp_path):
    target = tmp_path / "clean.png"
    assert main([str(photo), "-o", str(target), "--level", "25"]) == 0
    expected = denoiser.load()(denoiser.open_image(photo), 25)
    assert np.array_equal(denoiser.open_image(target).pixels, expected.pixels)


def test_a_bundled_model_is_found_by_name_from_any_folder(photo, tmp_path, monkeypatch):
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


def test_an_existing_file_is_replaced_only_with_overwrite(photo, capsys):
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
def test_a_bad_model_or_device_exits_with_2(photo, tmp_path, extra, said, capsys):
    assert main([str(photo), "-o", str(tmp_path / "x.png"), *extra]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_photos_and_a_file_for_many_are_refused(photo, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no photos"):
        plan([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(ImageError, match="need a folder"):
        plan([photo, tmp_path / "other.png"], photo)


def test_a_folder_without_photos_does_not_stop_the_rest(photo, tmp_path, printed_lines):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty"), str(photo), "-o", str(tmp_path / "out"), "--level", "0"]) == 1
    assert (tmp_path / "out" / "photo.png").exists()
    assert printed_lines()[0] == f"failed: There are no photos in {str(tmp_path / 'empty')!r}. " + (
        "Its subfolders are not searched."
    )


def test_it_works_where_nobody_reads_its_messages(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    assert main([str(photo), "-o", str(tmp_path / "x.png"), "--level", "0"]) == 0


@pytest.mark.slow
def test_the_command_runs_as_the_readme_says(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["denoiser", media.get_image("lion.jpg"), "-o", str(tmp_path / "clean.jpg")])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("denoiser", run_name="__main__", alter_sys=True)
    assert not end.value.code
    assert denoiser.open_image(tmp_path / "clean.jpg").pixels.shape == (256, 256, 3)


@pytest.mark.parametrize("name", ["clean.heic", "clean.gif", "clean.xyz", "clean.jpg2"])
def test_an_output_that_cannot_be_written_is_refused_and_makes_no_folder(photo, tmp_path, name, capsys):
    assert main([str(photo), "-o", str(tmp_path / name)]) == 2
    assert ".png, .jpg, .jpeg, .webp, .tif, .tiff, .bmp, .avif" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def test_an_ending_without_a_name_is_refused_and_makes_no_folder(photo, tmp_path, capsys):
    assert main([str(photo), "-o", str(tmp_path / ".png")]) == 2
    assert "as in 'clean.png'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("name", ["out.heic", "out.png", "out.gif"])
def test_the_folder_for_many_photos_must_not_look_like_a_picture(photo, tmp_path, name):
    shutil.copy(photo, tmp_path / "second.png")
    for inputs in ([tmp_path], [photo, tmp_path / "second.png"]):
        with pytest.raises(ImageError, match="2 photos need a folder"):
            plan(inputs, tmp_path / name)


def test_an_existing_file_without_a_photo_s_suffix_is_refused_as_output(photo, tmp_path, capsys):
    (tmp_path / "notes").write_text("not a photo")
    assert main([str(photo), "-o", str(tmp_path / "notes"), "--overwrite"]) == 2
    assert "the name must end in .png" in capsys.readouterr().err
    assert (tmp_path / "notes").read_text() == "not a photo"


@pytest.mark.parametrize(
    ("program", "shown"), [("bin/denoise", "denoise"), ("denoiser/__main__.py", "python -m denoiser")]
)
def test_help_shows_the_command_as_it_was_called(program, shown, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [program])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {shown} [-h]")


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


def test_warnings_of_the_libraries_are_not_shown(tmp_path, capfd, recwarn):
    exif = b"II*\0\x08\0\0\0\5\0" + bytes(20)  # announces five tags and has one
    Image.new("RGB", (24, 16)).save(tmp_path / "x.png", exif=exif)
    assert main([str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png"), "--level", "0"]) == 0
    assert capfd.readouterr().err == "" and not recwarn.list


def test_a_name_that_is_too_long_does_not_stop_the_rest(photo, tmp_path, printed_lines):
    out = tmp_path / "out"
    assert main([str(tmp_path / ("x" * 300 + ".png")), str(photo), "-o", str(out), "--level", "0"]) == 1
    assert [path.name for path in out.iterdir()] == ["photo.png"]
    [failed, summary] = printed_lines()
    assert "File name too long" in failed and summary == "1 of 2 failed"
    assert main([str(photo), "-o", str(tmp_path / ("x" * 300 + ".png")), "--level", "0"]) == 1
    assert "File name too long" in printed_lines()[0]


def test_a_folder_that_cannot_be_read_does_not_stop_the_rest(photo, tmp_path, printed_lines, monkeypatch):
    locked, real = tmp_path / "locked", Path.iterdir
    locked.mkdir()

    def iterdir(path):
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # because root may read every folder
    assert main([str(locked), str(photo), "-o", str(tmp_path / "out"), "--level", "0"]) == 1
    assert (tmp_path / "out" / "photo.png").exists()
    assert printed_lines() == [f"failed: {str(locked)!r} can't be used: Permission denied.", "1 of 2 failed"]
    assert main([str(locked), "-o", str(tmp_path / "other")]) == 1
    assert printed_lines()[-1] == "1 of 1 failed" and not (tmp_path / "other").exists()


def test_an_output_folder_that_cannot_be_used_fails_photo_by_photo(photo, tmp_path, printed_lines, monkeypatch):
    shutil.copy(photo, tmp_path / "second.png")
    inputs = [str(photo), str(tmp_path / "second.png")]
    assert main([*inputs, "-o", str(photo / "below a file"), "--level", "0"]) == 1
    assert len(printed_lines()) == 3

    locked, real = tmp_path / "locked", Path.exists

    def exists(path):
        if locked in (path, *path.parents):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    locked.mkdir()
    monkeypatch.setattr(Path, "exists", exists)
    assert main([*inputs, "-o", str(tmp_path / "locked"), "--level", "0"]) == 1
    lines = printed_lines()
    assert len(lines) == 3 and lines[0].endswith("can't be used: Permission denied.")


def test_names_with_control_characters_are_escaped(photo, tmp_path, printed_lines):
    for name in ("new\nline.png", "\x1b[2Jclear.png", "\u202egnp.exe.png", "bell\x07\r.png", "\udcff.png"):
        (tmp_path / name).write_bytes(b"no photo")
        assert main([str(tmp_path / name), "-o", str(tmp_path / "out.png")]) == 1
        assert len(printed_lines()) == 2
        with pytest.raises(SystemExit):
            main([str(photo), "-o", "x.png", f"--{name}"])
        assert printed_lines()[-1].startswith("python -m denoiser: error: ")
        assert main([str(photo), "-o", str(tmp_path / "out.png"), "--model", name]) == 2
        assert len(printed_lines()) == 1


def animation(path):
    frames = [Image.new("RGB", (24, 16), colour) for colour in ("white", "black")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_a_file_that_is_read_only_in_part_is_never_replaced(tmp_path, suffix, printed_lines):
    path = animation(tmp_path / f"x.{suffix}")
    before = path.read_bytes()
    (tmp_path / f"link.{suffix}").symlink_to(path)
    for inputs, output in (([path], path), ([tmp_path], tmp_path), ([path], tmp_path / f"link.{suffix}")):
        assert main([*map(str, inputs), "-o", str(output), "--overwrite", "--level", "0"]) == 1
        assert "is not replaced, because part of it would be lost. Only the first" in printed_lines()[0]
        assert path.read_bytes() == before
    assert main([str(path), "-o", str(tmp_path / "first.png"), "--overwrite", "--level", "0"]) == 0
    assert printed_lines()[0].startswith(f"note: Only the first {'page' if suffix == 'tif' else 'frame'} of 'x.")


def test_what_the_new_file_has_no_room_for_is_printed(tmp_path, printed_lines):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.new("RGB", (24, 16)).save(tmp_path / "x.jpg", exif=exif)
    assert main([str(tmp_path / "x.jpg"), "-o", str(tmp_path / "x.bmp"), "--level", "0"]) == 0
    assert printed_lines() == ["note: 'x.bmp' lacks the EXIF: BMP has no room for it."]
