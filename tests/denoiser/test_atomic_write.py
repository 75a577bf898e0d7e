"""Replacing a file: completely or not at all, with its links and permissions."""

import os

import numpy as np
import pytest

from denoiser.errors import ImageError
from denoiser.image_io import Photo, open_image, save_image


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    ("name", "photo", "words"),
    [
        ("x.jpg", Photo(noise(6, 9, 3), noise(6, 9)), "transparency"),
        ("x.bmp", Photo(noise(6, 9, 3), noise(6, 9)), "transparency"),
        ("x.tif", Photo(noise(6, 9), exif=b"Exif\0\0no EXIF block"), "written"),
        ("x.webp", Photo(noise(1, 16_384)), "16,383"),
        ("x.jpg", Photo(noise(65_501, 1)), "65,500"),
        ("x.gif", Photo(noise(6, 9)), r"\.png, \.jpg"),
        ("x", Photo(noise(6, 9)), r"\.png, \.jpg"),
        ("missing/x.png", Photo(noise(6, 9)), "folder"),
    ],
)
def test_a_save_that_fails_leaves_the_folder_as_it_was(tmp_path, name, photo, words):
    if (tmp_path / name).parent == tmp_path:
        (tmp_path / name).write_bytes(b"what was there")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ImageError, match=words) as caught:
        save_image(photo, tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert str(tmp_path) not in str(caught.value)


def test_a_save_cut_short_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(source, target):
        raise OSError(28, "No space left on device", str(source))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ImageError, match="No space left"):
        save_image(Photo(noise(6, 9)), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "x.png"
    path.touch()
    path.chmod(mode)
    save_image(Photo(noise(6, 9)), path)
    assert path.stat().st_mode & 0o7777 == mode and open_image(path).width == 9


def test_a_private_file_stays_private_while_it_is_replaced(tmp_path, monkeypatch):
    path, seen, replace = tmp_path / "x.png", [], os.replace
    path.touch()
    path.chmod(0o600)
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_mode & 0o7777))
    monkeypatch.setattr(os, "replace", lambda *names: seen.append("replaced") or replace(*names))
    save_image(Photo(noise(6, 9)), path)
    assert seen == [0o600, "replaced"]  # and it is on the disk by then


@pytest.mark.parametrize("exists", [True, False])
def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path, exists):
    target, link = tmp_path / "folder" / "photo", tmp_path / "x.png"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"what was there")
    link.symlink_to(os.path.join("folder", "photo"))
    save_image(Photo(noise(6, 9)), link)
    assert link.is_symlink() and open_image(target).width == 9
    assert [path.name for path in target.parent.iterdir()] == ["photo"] and len(list(tmp_path.iterdir())) == 2


def test_only_regular_files_are_replaced(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").symlink_to("pipe")
    (tmp_path / "circle.png").symlink_to("circle.png")
    for name in ("folder.png", "x.png", "circle.png"):
        with pytest.raises(ImageError, match=f"'{name}' can't be written"):
            save_image(Photo(noise(6, 9)), tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4


def test_opaque_alpha_is_dropped_and_a_new_file_has_ordinary_permissions(tmp_path):
    save_image(Photo(noise(6, 9, 3), np.full((6, 9), 255, np.uint8)), tmp_path / "x.jpg")
    (tmp_path / "plain").touch()
    assert (tmp_path / "x.jpg").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert open_image(tmp_path / "x.jpg").alpha is None
