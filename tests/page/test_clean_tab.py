"""The tab for a clean photo, in a real browser: it runs by itself, and scores never stand beside another photo."""

import pytest
from chromium import choose
from gradio import media

pytestmark = pytest.mark.slow


@pytest.fixture
def tab(page):
    page.get_by_role("tab", name="Test it").click()
    return page


def psnr(page):
    return page.locator("#scores tr", has_text="PSNR")


def test_an_example_and_the_slider_run(tab, network):
    assert tab.locator("#tried img").count() == 2  # on arrival
    tab.locator("#examples-clean button").nth(1).click()
    psnr(tab).wait_for()
    tab.locator("#added input[type=range]").focus()
    tab.keyboard.press("ArrowRight")
    tab.get_by_text("Noise added: 26").wait_for()
    assert len(network.runs) == 2


def test_scores_go_when_another_photo_comes(tab, network):
    choose(tab, media.get_image("lion.jpg"), "clean")
    psnr(tab).wait_for()
    network.held = True
    choose(tab, media.get_image("tower.jpg"), "clean")
    psnr(tab).wait_for(state="detached")
    assert tab.locator("#tried img").count() == 0
    network.held = False
    psnr(tab).wait_for()
    choose(tab, {"name": "bad.jpg", "mimeType": "", "buffer": b"not a photo"}, "clean")
    tab.locator("#scores", has_text="is not a JPEG").wait_for()
    assert psnr(tab).count() == 0 and tab.locator("#tried img").count() == 0
