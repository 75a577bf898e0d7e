"""Many photos at once: each is denoised once, within limits, and gets a name of its own in the zip."""

import os
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from visitor import BATCH, Visitor, number_of

from denoiser import Denoiser
from denoiser.page import batch, uploads

pytestmark = pytest.mark.slow


def test_a_photo_that_is_listed_again_and_again_is_denoised_once(tiny_page, photo, endless_network):
    page, url = tiny_page
    endless_network.go_on.set()
    visitor = Visitor(url)
    answer = visitor.ask(number_of(page, "run", "File"), visitor.upload(photo) * 50, *BATCH)
    assert endless_network.events == ["opened", "started", "done"]
    assert len({item["caption"] for item in answer["data"][0]}) == 50
    zipped = visitor.ask(number_of(page, "zip_files"), None)
    with zipfile.ZipFile(zipped["data"][0]["path"]) as archive:
        assert len(set(archive.namelist())) == 50


def test_more_photos_than_the_limit_are_refused_and_counted(tiny_page, photo):
    page, url = tiny_page
    visitor, number = Visitor(url), number_of(page, "run", "File")
    upload = visitor.upload(photo)
    refused = visitor.ask(number, upload * (batch.MAX_PHOTOS + 1), *BATCH)["error"]
    assert f"You chose {batch.MAX_PHOTOS + 1} photos. Choose at most {batch.MAX_PHOTOS} at once." == refused
    assert visitor.ask(number, upload * batch.MAX_PHOTOS, *BATCH).get("data")


def test_too_many_pixels_at_once_are_refused(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, number = Visitor(url), number_of(page, "run", "File")
    monkeypatch.setattr(batch, "MAX_MEGAPIXELS", 0.1)  # the photo has 0.036
    upload = visitor.upload(photo)
    assert visitor.ask(number, upload * 2, *BATCH).get("data")
    assert "megapixels together" in visitor.ask(number, upload * 3, *BATCH)["error"]


def test_the_period_counts_from_the_last_photo_and_what_is_gone_is_said_to_be_gone(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, photos = Visitor(url), [shutil.copy(photo, photo.with_name(f"{number}.png")) for number in range(3)]
    given = visitor.upload(*map(Path, photos))

    def age(model, opened, level=None):
        """Empty folders go meanwhile, as does the last upload, and all other files get old."""
        for path in [Path(given[2]["path"]), *uploads.upload_folder().iterdir()]:
            if path.is_file():
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for path in uploads.upload_folder().rglob("*"):
            os.utime(path, (0, 0))
        yield 1, 1
        return opened

    monkeypatch.setattr(Denoiser, "by_tile", age)
    gallery, summary, report, files, *_ = visitor.ask(number_of(page, "run", "File"), given, *BATCH)["data"]
    results = [item["image"]["path"] for item in gallery] + [item["path"] for item in files["value"]]
    kept = [Path(path) for path in [*results, given[0]["path"], given[1]["path"]]]
    assert len(kept) == 6 and min(path.stat().st_mtime for path in kept) > time.time() - 60
    assert summary.startswith("2 photos denoised.") and "have these photos" in report
    kept[2].unlink()
    answer = visitor.ask(number_of(page, "zip_files"), None)
    assert "Uploads are deleted after an hour" in answer["error"]


def test_members_of_a_zip_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    names = ["a.png", "a.png", "2-a.png", "A.png", "2-A.PNG", "a.png", "b.png", "3-a.png"]
    done = batch.Batch(uploads.own_folder(), {})
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / name
        path.write_text(str(number))
        done.add(path, ("before.jpg", "after.jpg"), 25, times=1)
    with zipfile.ZipFile(batch.zip_files(done)) as made:
        assert made.namelist()[:3] == ["a.png", "2-a.png", "2-2-a.png"]
        assert len({name.lower() for name in made.namelist()}) == len(names)
        assert [made.read(name).decode() for name in made.namelist()] == list("01234567")
