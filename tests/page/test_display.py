"""Looking at a result in a real browser: the divider, actual size, panning and fullscreen."""

import pytest
from chromium import drop, visit

pytestmark = pytest.mark.slow


def test_at_actual_size_a_pixel_is_a_pixel_and_the_picture_can_be_moved(page, noisy_file):
    page.set_viewport_size({"width": 1280, "height": 640})
    drop(page, noisy_file)
    page.get_by_label("Actual size").check()
    page.locator("#result.actual-size").wait_for()
    images = page.locator("#result img")
    places = (
        "images => images.map(image => [getComputedStyle(image).objectFit, getComputedStyle(image).objectPosition])"
    )
    assert images.evaluate_all(places) == [["none", "50% 50%"]] * 2
    x, y, width, height = images.first.bounding_box().values()
    page.mouse.move(x + 30, y + height / 2)
    page.mouse.down()
    page.mouse.move(x + 30, y + height / 2 + 20)
    page.mouse.up()
    dragged = images.evaluate_all(places)
    assert dragged[0] == dragged[1] != ["none", "50% 50%"]
    page.locator("#result [role=slider]").focus()
    page.keyboard.press("Shift+ArrowUp")
    moved = images.evaluate_all(places)
    assert moved[0] == moved[1] != dragged[0]
    page.get_by_label("Before / after").first.check()
    page.locator("#result:not(.actual-size)").wait_for()
    assert images.first.evaluate("image => getComputedStyle(image).objectFit") == "contain"


def test_the_divider_moves_by_the_arrow_keys(page, noisy_file):
    drop(page, noisy_file)
    divider = page.get_by_role("slider", name="Divider between before and after")
    divider.focus()
    before = divider.bounding_box()["x"]
    page.keyboard.press("ArrowRight")
    assert divider.bounding_box()["x"] == pytest.approx(before + 20, abs=2)
    assert int(divider.get_attribute("aria-valuenow")) > 50
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "0"  # and no less


def test_both_sides_have_names(page):
    text = "(frame, side) => getComputedStyle(frame, side).content"
    frame = page.locator("#result .slider-wrap")
    assert [frame.evaluate(f"frame => ({text})(frame, '::{side}')") for side in ("before", "after")] == [
        '"Before"',
        '"After"',
    ]


def test_fullscreen_fills_the_screen(page):
    page.locator("#result").get_by_label("Fullscreen").click()
    page.wait_for_function(
        "document.querySelector('#result .slider-wrap').clientHeight >= 0.95 * document.documentElement.clientHeight"
    )
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('#result').clientHeight < 900")


@pytest.mark.parametrize("pixel_ratio", [1, 2])
def test_actual_size_is_actual_after_a_zoom_and_on_a_fine_screen(browser, url, noisy_file, pixel_ratio):
    with browser.new_context(viewport={"width": 1280, "height": 800}, device_scale_factor=pixel_ratio) as context:
        page = context.new_page()
        visit(page, url)
        drop(page, noisy_file)
        x, y, width, height = page.locator("#result").bounding_box().values()
        page.mouse.move(x + width / 2, y + height / 2)
        page.mouse.wheel(0, -100)
        page.get_by_label("Actual size").check()
        page.locator("#result.actual-size").wait_for()
        styles = page.locator("#result img").evaluate_all(
            "images => images.map(getComputedStyle).map(style => [style.objectFit, new DOMMatrix(style.transform).a])"
        )
        assert styles == [["none", 1 / pixel_ratio]] * 2
        frame = page.locator("#result .content").bounding_box()
        assert [image.bounding_box() for image in page.locator("#result img").all()] == [frame] * 2
