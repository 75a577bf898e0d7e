"""The tab for many photos, in a real browser: each has its state, and what is done can be had."""

import zipfile

import numpy as np
import pytest
from PIL import Image

import denoiser
from denoiser import Photo

pytestmark = pytest.mark.slow

DRAG = """([place, kind]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([], 'empty.png', {type: 'image/png'}));
    document.querySelector(place).dispatchEvent(new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer}));
}"""


@pytest.fixture
def photos(tmp_path):
    """Three photos of their own colours."""
    paths = [tmp_path / f"{name}.png" for name in ("one", "two", "three")]
    for number, path in enumerate(paths):
        denoiser.save_image(Photo(np.full((64, 64, 3), 60 * (number + 1), np.uint8)), path)
    return paths


def start(page, photos):
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#uploads input[type=file]").set_input_files(photos)
    page.locator("#uploads tr").nth(len(photos) - 1).wait_for()
    page.locator("#denoise-all").click()


def members(page, tmp_path):
    page.wait_for_function("!document.querySelector('#zip').disabled")
    with page.expect_download() as download:
        page.locator("#zip").click()
    download.value.save_as(tmp_path / "all.zip")
    return zipfile.ZipFile(tmp_path / "all.zip")


def test_after_cancel_what_is_done_is_in_the_zip_and_each_photo_has_its_state(page, network, photos, tmp_path):
    network.hold_after = 1
    start(page, photos)
    page.get_by_role("row", name="one.png done").wait_for()
    page.get_by_role("row", name="two.png").get_by_text("%").wait_for()
    page.get_by_role("row", name="three.png waiting").wait_for()
    page.get_by_text("Photo 2 of 3 is next, about").first.wait_for()
    page.locator("#cancel-all").click()
    for name in ("two", "three"):
        page.get_by_role("row", name=f"{name}.png cancelled").wait_for()
    assert len(network.runs) == 2
    with members(page, tmp_path) as archive:
        assert archive.namelist() == ["one-denoised.png"]


def test_photos_come_back_with_captions_and_settings_and_can_be_compared(page, network, photos, tmp_path):
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#strength-all input[type=number]").fill("40")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="File options").click()
    page.locator("#format-all input").click()
    page.get_by_role("option", name="JPEG").click()
    start(page, photos)
    page.get_by_text("3 photos denoised.").wait_for(timeout=60_000)
    assert [level for *_, level in network.runs] == [40, 40, 40]
    page.locator("#gallery button", has_text="two-denoised.jpg, noise about").click()
    page.locator("#chosen img").nth(1).wait_for()
    with members(page, tmp_path) as archive:
        assert archive.namelist() == ["one-denoised.jpg", "two-denoised.jpg", "three-denoised.jpg"]


def test_the_links_give_the_results_and_not_the_originals(page, photos, tmp_path):
    start(page, photos)
    page.get_by_text("3 photos denoised.").wait_for(timeout=60_000)
    page.evaluate(DRAG, ["#notice", "dragover"])
    assert page.locator("body.dropping").count() == 1
    page.evaluate(DRAG, ["#uploads button", "drop"])
    assert page.locator("body.dropping").count() == 0
    links = page.locator("#files a")
    assert page.locator("#uploads a").evaluate_all("links => links.every(link => !link.offsetParent)")
    with page.expect_download() as download:
        links.first.click()
    assert download.value.suggested_filename == "one-denoised.png"
    assert Image.open(download.value.path()).size == (64, 64)
