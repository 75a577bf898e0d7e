"""What a visitor of the first tab may do to it, in a real browser: whose result is shown, and what is computed."""

import contextlib
import io
import re

import numpy as np
import pytest
from chromium import choose, drop
from gradio import media
from PIL import Image
from playwright.sync_api import Error, expect

import denoiser
from denoiser import Photo
from denoiser.page import result_cache

pytestmark = pytest.mark.slow

RED, BLUE = (200, 40, 40), (40, 40, 200)
FITTED, ZOOMED = "translate(0px, 0px) scale(1)", "scale(1.05)"


@pytest.fixture
def red(tmp_path):
    return plain_photo(tmp_path / "red.png", RED)


@pytest.fixture
def blue(tmp_path):
    return plain_photo(tmp_path / "blue.png", BLUE, side=80)


def plain_photo(path, colour, side=96):
    denoiser.save_image(Photo(np.full((side, side, 3), colour, np.uint8)), path)
    return path


def colours(page):
    """The colours of both pictures of the comparison, as the browser gets them."""
    page.wait_for_function("[...document.querySelectorAll('#result img')].every(image => image.complete)")
    sources = page.locator("#result img").evaluate_all("images => images.map(image => image.src)")
    pictures = (Image.open(io.BytesIO(page.request.get(source).body())) for source in sources)
    return [tuple(np.asarray(picture.convert("RGB")).mean((0, 1)).round()) for picture in pictures]


def downloaded(page):
    with page.expect_download() as download:
        page.locator("#download").click()
    return download.value


def wait_until(page, condition):
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it doesn't come")


def finished(page):
    page.get_by_text("Noise strength: ").wait_for(timeout=30_000)
    wait_until(page, lambda: page.locator("#download").is_enabled())


# --- whose result ------------------------------------------------------------------------------------------------


def test_a_second_photo_ends_the_run_of_the_first_and_gets_its_own_result(page, network, red, blue):
    network.held = True
    choose(page, red)
    wait_until(page, lambda: len(network.runs) == 1)
    choose(page, blue)
    wait_until(page, lambda: len(network.runs) == 2)
    assert network.stopped == 1
    network.held = False
    finished(page)
    for colour in colours(page):
        assert np.abs(np.subtract(colour, BLUE)).max() <= 3
    assert downloaded(page).suggested_filename == "blue-denoised.png"


def test_of_two_examples_the_second_is_shown(page, network):
    page.locator("#examples-noisy button").nth(1).click()
    page.locator("#examples-noisy button").nth(2).click()
    lion = denoiser.open_image(media.get_image("lion.jpg"))
    wait_until(page, lambda: network.runs and network.runs[-1][:2] == (lion.height, lion.width))
    finished(page)
    assert downloaded(page).suggested_filename == "lion-with-noise-denoised.png"


def test_an_upload_says_so_and_gives_way_to_what_is_chosen_next(page, network, red, blue):
    leave, sent = "window.dispatchEvent(new Event('beforeunload', {cancelable: true}))", []
    page.route(re.compile(r"/gradio_api/upload(\?|$)"), lambda route: sent.append(route))  # until it is let go on
    choose(page, red)
    wait_until(page, lambda: sent)
    assert page.locator("#details").inner_text() == "Uploading your photo…" and not page.evaluate(leave)
    choose(page, blue)
    wait_until(page, lambda: len(sent) == 2)
    sent[1].continue_()
    page.locator("#details", has_text="80×80 pixels").wait_for()
    finished(page)
    assert [run[:2] for run in network.runs] == [(80, 80)] and page.locator(".upload-note").count() == 0
    choose(page, red)
    wait_until(page, lambda: len(sent) == 3)
    page.locator("#cancel").click()
    page.locator("#details").get_by_text("80×80 pixels").wait_for()
    choose(page, blue)
    wait_until(page, lambda: len(sent) == 4)
    sent[3].fulfill(status=500)
    page.locator("#details").get_by_text("80×80 pixels").wait_for()
    assert page.evaluate(leave)
    for late in (sent[0], sent[2]):
        with contextlib.suppress(Error):  # the browser has given it up
            late.continue_()
    page.wait_for_timeout(300)
    assert len(network.runs) == 1 and downloaded(page).suggested_filename == "blue-denoised.png"


def test_after_cancel_the_next_photo_is_computed(page, network, red, blue):
    network.held = True
    choose(page, red)
    wait_until(page, lambda: network.runs)
    page.get_by_text("s left").wait_for()
    page.locator("#cancel").click()
    page.get_by_text("Cancelled. Press Denoise").wait_for()
    wait_until(page, lambda: network.stopped == 1)
    assert page.locator("#result img").count() == 0
    network.held = False
    page.locator("#denoise").click()
    finished(page)
    assert downloaded(page).suggested_filename == "red-denoised.png"
    choose(page, blue)
    finished(page)
    assert downloaded(page).suggested_filename == "blue-denoised.png"


def test_a_bad_file_leaves_nothing_of_the_photo_before_it(page, red):
    drop(page, red)
    choose(page, {"name": "bad.jpg", "mimeType": "image/jpeg", "buffer": b"not a photo"})
    page.locator("#details", has_text="is not a JPEG").wait_for()
    assert page.locator("#result img").count() == 0
    expect(page.locator("#download")).to_be_disabled()
    page.locator("#denoise").click()
    page.get_by_text("Choose a photo first.").wait_for()


def test_a_photo_that_is_chosen_again_is_shown_again(page, network, red):
    drop(page, red)
    page.get_by_label("Actual size").check()
    choose(page, red)
    page.wait_for_timeout(1000)
    finished(page)
    expect(page.locator("#result img")).to_have_count(2)
    assert len(network.runs) == 1


def test_what_the_browser_cannot_show_is_taken_by_its_name_and_shown(page):
    import pillow_heif

    pillow_heif.register_heif_opener()
    widths = "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth)))"
    for side, name in ((96, "photo.heic"), (97, "photo.HEIC"), (98, "photo.tif")):
        file = io.BytesIO()
        Image.new("RGB", (side, side), RED).save(file, "TIFF" if name.endswith("tif") else "HEIF")
        choose(page, {"name": name, "mimeType": "", "buffer": file.getvalue()})
        page.locator("#details", has_text=f"{side}×{side} pixels").wait_for()
        finished(page)
        assert page.locator("#result img").evaluate_all(widths) == [side, side]


# --- what is computed, and when ----------------------------------------------------------------------------------


def test_nothing_is_computed_that_nobody_asked_for(page, network, red):
    page.wait_for_timeout(500)
    assert network.runs == []
    drop(page, red)
    page.locator("#strength input[type=range]").click(trial=True)
    for view in ("Actual size", "What was removed", "Before / after"):
        page.get_by_label(view, exact=True).first.check()
    page.locator("#amount input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    downloaded(page)
    page.locator("#cancel").click()
    page.locator("#denoise").click()  # the result is there
    page.wait_for_timeout(500)
    assert len(network.runs) == 1


def test_dragging_the_strength_computes_once_and_keeps_the_picture_and_the_zoom(page, network, noisy_file):
    drop(page, noisy_file)
    x, y, width, height = page.locator("#result").bounding_box().values()
    page.mouse.move(x + width / 2 + 60, y + height / 2)
    page.mouse.wheel(0, -100)
    image = page.locator("#result img").first
    wait_until(page, lambda: ZOOMED in image.get_attribute("style"))
    network.held = True
    left, top, wide, high = page.locator("#strength input[type=range]").bounding_box().values()
    page.mouse.move(left + wide * 0.3, top + high / 2)
    page.mouse.down()
    for share in (0.4, 0.5, 0.6, 0.7):
        page.mouse.move(left + wide * share, top + high / 2)
        page.wait_for_timeout(100)
    assert len(network.runs) == 1
    page.mouse.up()
    wait_until(page, lambda: len(network.runs) == 2)
    assert page.locator("#result img").evaluate_all("images => images.every(image => image.naturalWidth)")
    before = image.get_attribute("src")
    network.held = False
    level = page.locator("#strength input[type=range]").input_value()
    page.get_by_text(f"Noise strength: {level} (Auto").wait_for()
    wait_until(page, lambda: image.get_attribute("src") != before)
    page.wait_for_timeout(300)
    assert ZOOMED in image.get_attribute("style")
    assert len(network.runs) == 2 and network.runs[1][2] == float(level)


def test_reset_of_the_strength_means_auto(page, network, red):
    drop(page, red)
    found = page.locator("#strength input[type=range]").input_value()
    page.locator("#strength input[type=number]").fill("65")
    page.keyboard.press("Enter")
    page.get_by_text("Noise strength: 65 (Auto").wait_for()
    page.locator("#strength button").click()
    page.get_by_text("Noise strength: Auto (").wait_for()
    assert page.locator("#auto input").is_checked()
    assert page.locator("#strength input[type=range]").input_value() == found
    assert [level for *_, level in network.runs] == [None, 65, None]


def test_the_strength_can_be_moved_during_the_first_run(page, network, red):
    network.held = True
    choose(page, red)
    wait_until(page, lambda: network.runs)
    page.locator("#strength input[type=number]").fill("70")
    page.keyboard.press("Enter")
    wait_until(page, lambda: len(network.runs) == 2)
    network.held = False
    page.get_by_text("Noise strength: 70 (Auto").wait_for()
    assert page.locator("#strength input[type=range]").input_value() == "70"
    assert not page.locator("#auto input").is_checked() and network.stopped == 1


def test_typed_nonsense_is_corrected(page, red):
    drop(page, red)
    finished(page)
    page.wait_for_timeout(500)  # Gradio shows the last updates of a run a little later
    for typed, kept in (("", None), ("250", "100"), ("-7", "0"), ("33.4", "33")):
        for name in ("strength", "amount"):
            number = page.locator(f"#{name} input[type=number]")
            before = number.input_value()
            number.fill(typed)
            number.press("Enter")
            expect(number).to_have_value(before if kept is None else kept)
            page.wait_for_timeout(300)
            assert page.get_by_test_id("toast-body").count() == 0


def test_what_is_chosen_during_a_run_holds_for_its_result(page, network, red):
    network.held = True
    choose(page, red)
    page.locator("#details", has_text="% denoised").wait_for()  # the photo itself has arrived, and the view with it
    page.get_by_label("What was removed").first.check()
    page.locator("#amount input[type=number]").fill("50")
    network.held = False
    page.locator('#residual img[src*="residual-50"]').wait_for()


def test_an_expired_result_says_so_and_can_be_had_again(page, network, red, monkeypatch):
    drop(page, red)
    with monkeypatch.context() as patched:
        patched.setattr(result_cache, "HOLD_SECONDS", -1)
        page.get_by_label("What was removed").first.check()
        page.get_by_text("has expired. Press Denoise again.").first.wait_for()
    page.locator("#denoise").click()
    wait_until(page, lambda: len(network.runs) == 2)
    finished(page)


def test_of_a_big_photo_the_middle_comes_first_at_actual_size(page, network, tmp_path):
    pixels = np.zeros((1200, 1600, 3), np.uint8)
    pixels[300:900, 400:1200] = RED
    denoiser.save_image(Photo(pixels), tmp_path / "big.png")
    network.hold_after = 1  # the middle's run; the whole photo's goes on until it has been looked at
    choose(page, tmp_path / "big.png")
    page.get_by_text("This is the middle of your photo").wait_for()
    wait_until(page, lambda: page.locator("#result.actual-size img").count() == 2)
    assert page.get_by_label("Actual size").is_checked() and page.locator("#download").is_disabled()
    network.hold_after = 1000
    finished(page)
    assert [run[:2] for run in network.runs] == [(640, 928), (1200, 1600)]


# --- seeing ------------------------------------------------------------------------------------------------------


def test_a_result_is_there_on_arrival_and_its_controls_work(page, network):
    assert page.locator("#result img").count() == 2
    page.get_by_label("What was removed").first.check()
    page.locator("#residual img").wait_for()
    assert downloaded(page).suggested_filename == "groot-with-noise-denoised.png" and network.runs == []


# --- coming and going --------------------------------------------------------------------------------------------


def test_a_photo_can_be_dropped_and_pasted_anywhere(page, red, blue):
    give = """([kind, name, bytes]) => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], name, {type: 'image/png'}));
        const options = {bubbles: true, cancelable: true};
        const event = kind === 'drop' ? new DragEvent(kind, {...options, dataTransfer: data})
                                      : new ClipboardEvent(kind, {...options, clipboardData: data});
        document.querySelector('#notice').dispatchEvent(event);
    }"""
    for kind, path, side in (("drop", red, 96), ("paste", blue, 80)):
        page.evaluate(give, [kind, path.name, list(path.read_bytes())])
        page.get_by_text(f"{side}×{side} pixels").wait_for()
        finished(page)
        assert downloaded(page).suggested_filename == f"{path.stem}-denoised.png"


def test_leaving_during_a_run_asks_first_and_a_reload_says_what_happened(page, network, red):
    asked = []
    page.on("dialog", lambda dialog: asked.append(dialog.type) or dialog.accept())
    network.held = True
    choose(page, red)
    wait_until(page, lambda: network.runs)
    page.wait_for_timeout(300)
    page.locator("#notice").click()  # browsers ask only those who have touched the page
    page.evaluate("location.reload()")
    page.get_by_text("The page was reloaded, so your photo is gone.").wait_for()
    assert asked == ["beforeunload"]
    wait_until(page, lambda: network.stopped == 1)
    page.reload(wait_until="domcontentloaded")
    page.get_by_text("An example: drag the divider").wait_for()
    assert len(asked) == 1
