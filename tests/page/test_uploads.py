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
from visitor import BATCH, RUN, Visitor, named, number_of

import app
from denoiser import DenoiserError, ImageError, Photo
from denoiser.page import display, uploads

pytestmark = pytest.mark.slow

ROOT = Path(app.__file__).parent
VIEW, FORMAT = "Before / after", "Like the upload"
FILE_KINDS = ("UploadButton", "File", "Api")
REFUSED = "Choose them again"  # whether it was there or not


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
    others = {"Checkbox": True, "Slider": 20, "Radio": VIEW, "Textbox": None, "Dropdown": FORMAT}
    for number, callback in page.fns.items():
        kinds = [type(block).__name__ for block in callback.inputs]
        if kinds and (kinds[0] in FILE_KINDS or (kinds[0] == "Textbox" and callback.name == "run")):
            rest = [20 if kind == "Api" else others[kind] for kind in kinds[1:]]
            yield number, kinds[0], rest


def given(kind, file):
    """A file as a component of that kind passes it on."""
    return [file] if kind == "File" else file["path"] if kind == "Textbox" else file


def test_nothing_but_an_upload_can_be_named_by_any_callback_in_any_way(tiny_page, photo, tmp_path):
    page, url = tiny_page
    visitor, folder = Visitor(url), uploads.upload_folder()
    upload = Path(visitor.upload(photo)[0]["path"])
    link, out = folder / "link.png", os.path.relpath(photo, folder)
    link.symlink_to(photo)
    names = [photo, f"{folder}/{out}", f"{upload}/../../{out}", out, link, folder, "/dev/zero", "/dev/nothing", "\0"]
    names += [
        "https://example.org/photo.png",
        f"{url}gradio_api/file={upload}",
        f"file://{upload}",
        "http://127.0.0.1/",
    ]
    callbacks = list(callbacks_for_files(page))
    assert {kind for _, kind, _ in callbacks} == {*FILE_KINDS, "Textbox"} and len(callbacks) == 10
    for number, kind, rest in callbacks:
        for name in names:
            for meta in (True,) if kind == "Textbox" else (True, False):
                answer = visitor.ask(number, given(kind, named(name, meta)), *rest)
                assert REFUSED in str(answer), (number, name, meta, answer)
                assert "error" in answer or kind == "File", (number, name, meta, answer)
    link.unlink()


def test_an_upload_can_be_named_by_every_callback(tiny_page, photo):
    page, url = tiny_page
    visitor = Visitor(url)
    upload = visitor.upload(photo)[0]
    for number, kind, rest in callbacks_for_files(page):
        answer = visitor.ask(number, given(kind, upload), *rest)
        assert answer.get("data"), (number, answer)


@pytest.mark.parametrize("name", [None, 5, 1.5, [], {}, "", ".", "\0", "missing.png", "x" * 5000])
def test_what_is_no_file_of_the_upload_folder_is_no_photo(folder, name):
    with pytest.raises(ImageError, match=REFUSED if name else "Choose a photo first"):
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
    names = [f"{uploads.PREFIX}left", f"{uploads.PREFIX}other", f"{uploads.PREFIX}backup", "x-left"]
    left, other, unmarked, foreign = places = [folder.with_name(name) for name in names]
    for place in places:
        put(place, "photo.png")
        if place != unmarked:
            put(place, uploads.MARKER)
        os.utime(place, (time.time() - 60 * (29 if place == other else 31),) * 2)
    uploads.sweep()
    assert not left.exists() and other.exists() and unmarked.exists() and foreign.exists()
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
    visitor.denoise(number_of(page, *RUN), upload)
    visitor.ask(number_of(page, "show_again"), visitor.key, 40, "What was removed")
    visitor.ask(number_of(page, "make_file"), visitor.key, 40, "TIFF", 95, False)
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
    put(left.parent, uploads.MARKER)
    os.utime(left.parent, (0, 0))
    with running_page(GRADIO_TEMP_DIR=tmp_path, DENOISER_KEEP_MINUTES=0.05) as (url, process):
        wait_for(lambda: not left.parent.exists())
        upload = Path(Visitor(url).upload(photo)[0]["path"])
        assert upload.exists() and upload.is_relative_to(tmp_path)
        folder = tmp_path / upload.relative_to(tmp_path).parts[0]
        assert folder.stat().st_mode & 0o077 == 0 and (folder / uploads.MARKER).exists()
        wait_for(lambda: not upload.exists())
        Visitor(url).upload(photo)
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert not folder.exists()


@pytest.mark.parametrize(
    ("minutes", "words"),
    [("60", "an hour"), ("120", "2 hours"), ("90", "90 minutes"), ("1", "1 minute"), ("0.25", "0.25 minutes")],
)
def test_the_period_is_said_in_words(monkeypatch, minutes, words):
    monkeypatch.setenv("DENOISER_KEEP_MINUTES", minutes)
    assert uploads.keep_words() == words and f"after {words}, or" in uploads.gone()


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
    number, upload = number_of(page, *RUN), visitor.upload(photo)[0]
    visitor.denoise(number, upload)
    for amount in range(20):
        assert visitor.ask(number_of(page, "show_again"), visitor.key, amount, VIEW).get("data")
        assert visitor.ask(number_of(page, "make_file"), visitor.key, amount, "TIFF", 95, False).get("data")
    files = [path for path in folder.rglob("*") if path.is_file() and "examples" not in path.parts]
    assert 5 < len(files) <= 4e6 / uploads.FILE_COST + 1
    shutil.copy(photo, photo.with_name("another.png"))
    assert visitor.denoise(number, visitor.upload(photo.with_name("another.png"))[0]).get("data")


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
