"""Whose files a visitor can name, how long they are kept and how much room they get."""

import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from page_process import running_page, wait_for
from PIL import ImageCms
from visitor import BATCH, Visitor, named, number_of

import app
from denoiser import DenoiserError, ImageError, Photo
from denoiser.page import display, uploads

pytestmark = pytest.mark.slow

ROOT = Path(app.__file__).parent
VIEW, FORMAT = "Before / after", "Like the upload"
FILE_KINDS = ("UploadButton", "File", "Api")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An upload folder of its own."""
    folder = tmp_path / f"{uploads.PREFIX}mine"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def put(folder, name, size=10, age=0.0):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


# --- whose files -------------------------------------------------------------------------------------------------


def callbacks_for_files(page):
    """(number, inputs) of all callbacks that take a file; what else they take has a value that is fine."""
    others = {"Checkbox": True, "Slider": 20, "Radio": VIEW, "State": None, "Dropdown": FORMAT}
    for number, callback in page.fns.items():
        kinds = [type(block).__name__ for block in callback.inputs]
        if kinds and kinds[0] in FILE_KINDS:
            rest = [20 if kind == "Api" else others[kind] for kind in kinds[1:]]
            yield number, kinds[0], rest


def test_nothing_but_an_upload_can_be_named_by_any_callback_in_any_way(tiny_page, photo, tmp_path):
    page, url = tiny_page
    visitor, folder = Visitor(url), uploads.upload_folder()
    upload = Path(visitor.upload(photo)[0]["path"])
    link, out = folder / "link.png", os.path.relpath(photo, folder)
    link.symlink_to(photo)
    names = [photo, f"{folder}/{out}", f"{upload}/../../{out}", out, link, folder, "/dev/zero", "", "\0"]
    names += [
        "https://example.org/photo.png",
        f"{url}gradio_api/file={upload}",
        f"file://{upload}",
        "http://127.0.0.1/",
    ]
    callbacks = list(callbacks_for_files(page))
    assert {kind for _, kind, _ in callbacks} == set(FILE_KINDS) and len(callbacks) == 6
    for number, kind, rest in callbacks:
        for name in names:
            for meta in (True, False):
                file = named(name, meta)
                answer = visitor.ask(number, [file] if kind == "File" else file, *rest)
                assert "hoose a photo first" in answer.get("error", ""), (number, name, meta, answer)
    link.unlink()


def test_an_upload_can_be_named_by_every_callback(tiny_page, photo):
    page, url = tiny_page
    visitor = Visitor(url)
    upload = visitor.upload(photo)[0]
    for number, kind, rest in callbacks_for_files(page):
        answer = visitor.ask(number, [upload] if kind == "File" else upload, *rest)
        assert answer.get("data"), (number, answer)


@pytest.mark.parametrize("name", [None, 5, 1.5, [], {}, "", ".", "\0", "missing.png", "x" * 5000])
def test_what_is_no_file_of_the_upload_folder_is_no_photo(folder, name):
    with pytest.raises(ImageError, match="Choose a photo first"):
        uploads.photo_file(name)


def test_links_are_resolved(folder, tmp_path):
    inside, outside = put(folder, "a/photo.png"), put(tmp_path, "photo.png")
    (folder / "in").symlink_to(inside)
    (folder / "out").symlink_to(outside)
    (folder / "loop").symlink_to(folder / "loop")
    assert uploads.photo_file(folder / "in") == inside
    for name in ("out", "loop", "../photo.png"):
        with pytest.raises(ImageError):
            uploads.photo_file(folder / name)


# --- how long ----------------------------------------------------------------------------------------------------


def test_files_go_at_their_age_and_their_folders_with_them(folder, monkeypatch):
    monkeypatch.setenv("DENOISER_KEEP_MINUTES", "0.01")  # 0.6 s
    put(folder, "old/a.png"), put(folder, "aborted-upload"), put(folder, "examples/tower.jpg")
    (folder / "empty").mkdir()
    time.sleep(0.7)
    put(folder, "new/b.png")
    uploads.sweep()
    assert {path.name for path in folder.rglob("*")} == {"new", "b.png", "examples", "tower.jpg"}


def test_what_an_earlier_run_left_goes_but_not_what_another_one_needs(folder, monkeypatch):
    monkeypatch.setenv("DENOISER_KEEP_MINUTES", "0.001")
    left, other, foreign = (folder.with_name(name) for name in (f"{uploads.PREFIX}a", f"{uploads.PREFIX}b", "x-a"))
    for place, minutes in {left: 31, other: 29, foreign: 31}.items():
        put(place, "photo.png")
        os.utime(place, (time.time() - 60 * minutes,) * 2)
    uploads.sweep()
    assert not left.exists() and other.exists() and foreign.exists()
    monkeypatch.setenv("DENOISER_KEEP_MINUTES", "600")
    assert uploads.sweep_seconds() < uploads.ALIVE_SECONDS / 2


def test_a_sweep_is_a_sign_of_life_of_the_folder_and_the_examples(folder):
    example = put(folder, "examples/tower.jpg")
    for path in (folder, example):
        os.utime(path, (0, 0))
    uploads.sweep()
    assert min(folder.stat().st_mtime, example.stat().st_mtime) > time.time() - 60


def test_nothing_of_any_tab_is_left_after_the_period(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, folder = Visitor(url), uploads.upload_folder()
    upload = visitor.upload(photo)[0]
    key_of_many = number_of(page, "run", "File")
    visitor.ask(number_of(page, "run", "UploadButton", "State"), upload, None, True, 25, 100, VIEW)
    visitor.ask(number_of(page, "show_again"), None, 40, "What was removed")
    visitor.ask(number_of(page, "make_file"), None, 40, "TIFF", 95, False)
    visitor.ask(key_of_many, [upload, upload], *BATCH)
    visitor.ask(number_of(page, "run", "UploadButton", "Slider"), upload, 25)
    for endpoint, data in {"denoise": [None], "add_noise": [20, 1]}.items():
        assert "complete" in visitor.call(endpoint, upload, *data)
    with httpx.stream("POST", f"{url}gradio_api/upload", headers={"content-type": "multipart/form-data; boundary=x"}):
        pass
    assert sum(path.is_file() for path in folder.rglob("*")) > 10
    monkeypatch.setenv("DENOISER_KEEP_MINUTES", "0.001")  # the page was told an hour, so it is swept by hand
    time.sleep(0.1)
    uploads.sweep()
    assert {path.relative_to(folder).parts[0] for path in folder.rglob("*")} == {"examples"}


def test_the_page_sweeps_by_itself_and_leaves_nothing_when_it_ends(tmp_path, photo):
    left = put(tmp_path, f"{uploads.PREFIX}of-an-earlier-run/photo.png")
    os.utime(left.parent, (0, 0))
    with running_page(GRADIO_TEMP_DIR=tmp_path, DENOISER_KEEP_MINUTES=0.05) as (url, process):
        wait_for(lambda: not left.parent.exists())
        upload = Path(Visitor(url).upload(photo)[0]["path"])
        assert upload.exists() and upload.is_relative_to(tmp_path)
        folder = tmp_path / upload.relative_to(tmp_path).parts[0]
        assert folder.stat().st_mode & 0o077 == 0
        wait_for(lambda: not upload.exists())
        Visitor(url).upload(photo)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert not folder.exists()


# --- how much room -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DENOISER_KEEP_MINUTES", "DENOISER_DISK_GB"])
@pytest.mark.parametrize("value", ["an hour", "-1", "0", "inf", "nan"])
def test_a_setting_that_is_no_amount_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(DenoiserError, match=f"{name} is '{value}'"):
        app.build_page(None, "")


def test_over_the_room_the_oldest_files_go_first(folder, monkeypatch):
    monkeypatch.setenv("DENOISER_DISK_GB", "0.002")
    kept = put(folder, "examples/a.png", 10**6)
    for name in ("one", "two", "three"):
        put(folder, f"{name}/photo.png", 900_000)
        time.sleep(0.02)
    uploads.sweep()
    assert [path.parent.name for path in sorted(folder.glob("*/photo.png"))] == ["three", "two"]
    assert kept.exists()


def test_many_small_files_take_room_too(folder, monkeypatch):
    monkeypatch.setenv("DENOISER_DISK_GB", str(100 * uploads.FILE_COST / 1e9))
    for number in range(150):
        put(folder, f"{number}/empty.png", 0)
    uploads.sweep()
    assert len(list(folder.iterdir())) == 100


def test_uploads_and_results_make_room_by_themselves(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    monkeypatch.setenv("DENOISER_DISK_GB", "0.004")
    visitor, folder = Visitor(url), uploads.upload_folder()
    number, upload = number_of(page, "run", "UploadButton", "State"), visitor.upload(photo)[0]
    visitor.ask(number, upload, None, True, 25, 100, VIEW)
    for amount in range(20):
        assert visitor.ask(number_of(page, "show_again"), None, amount, VIEW).get("data")
        assert visitor.ask(number_of(page, "make_file"), None, amount, "TIFF", 95, False).get("data")
    files = [path for path in folder.rglob("*") if path.is_file() and "examples" not in path.parts]
    assert 5 < len(files) <= 4e6 / uploads.FILE_COST + 1
    shutil.copy(photo, photo.with_name("another.png"))
    assert visitor.ask(number, visitor.upload(photo.with_name("another.png"))[0], None, True, 25, 100, VIEW).get("data")


# --- what gets lost ----------------------------------------------------------------------------------------------


@pytest.fixture
def warnings(monkeypatch):
    shown = []
    monkeypatch.setattr("gradio.Warning", shown.append)
    monkeypatch.setattr(display, "sweep", lambda: None)
    return shown


def test_what_a_format_has_no_room_for_is_said_once_and_of_results_only(tmp_path, warnings):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = Photo(np.full((8, 8, 3), 90, np.uint8), icc_profile=profile)
    display.write_preview(photo, tmp_path, "<b>")
    assert warnings == []
    for _ in range(2):
        display.write_photo(photo, tmp_path / "<b>.bmp")
    [warning] = warnings
    assert "profile" in warning and "&lt;b&gt;.bmp" in warning
