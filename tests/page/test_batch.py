"""Many photos at once: each is denoised once, within limits, and gets a name of its own in the zip."""

import zipfile

import pytest
from visitor import BATCH, Visitor, number_of

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
