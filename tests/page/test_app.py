"""The page in a real browser: each thing that a visitor comes for."""

import zipfile

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import choose, drop, visit
from gradio import media
from playwright.sync_api import expect
from visitor import LICENSE

import denoiser

pytestmark = pytest.mark.slow

NO_TRANSITION = "document.getAnimations().every(animation => !(animation instanceof CSSTransition))"


def shown_photo(page, element, tmp_path):
    """The second picture of a before/after slider, as the browser gets it."""
    image = page.locator(f"#{element} img").nth(1)
    image.wait_for(timeout=60_000)
    path = tmp_path / "shown.jpg"
    path.write_bytes(page.request.get(image.get_attribute("src")).body())
    return denoiser.open_image(path)


def downloaded_photo(page, element, tmp_path):
    with page.expect_download() as download:
        page.locator(f"#{element}").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path


def psnr(photo, reference):
    return denoiser.compare(photo, reference)["psnr"]


def test_a_noisy_photo_comes_back_clean_as_soon_as_it_is_dropped(page, noisy_file, clean, model, tmp_path):
    drop(page, noisy_file)
    assert page.get_by_role("status").get_by_text("Noise strength: Auto").count() == 1  # screen readers say it
    noisy = denoiser.open_image(noisy_file)
    assert psnr(shown_photo(page, "result", tmp_path), clean) > psnr(noisy, clean) + 5
    file = downloaded_photo(page, "download", tmp_path)
    assert file.name == "holiday-denoised.png"
    assert np.array_equal(denoiser.open_image(file).pixels, model(noisy).pixels)


def test_the_arrow_keys_on_the_strength_run_the_model_at_that_level(page, noisy_file, model, tmp_path):
    drop(page, noisy_file)
    slider = page.locator("#strength input[type=range]")
    level = float(slider.input_value()) + 10  # it shows what Auto found
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.get_by_text(f"Noise strength: {level:g} (Auto").wait_for(timeout=60_000)
    assert not page.locator("#auto input").is_checked()
    pixels = denoiser.open_image(downloaded_photo(page, "download", tmp_path)).pixels
    assert np.array_equal(pixels, model(denoiser.open_image(noisy_file), level).pixels)

    page.locator("#auto input").check()
    page.get_by_text("Noise strength: Auto (about").wait_for(timeout=60_000)


def test_the_amount_mixes_without_running_the_model_again(page, noisy_file, model, monkeypatch, tmp_path):
    drop(page, noisy_file)
    noisy = denoiser.open_image(noisy_file)
    restored = model(noisy)
    monkeypatch.setattr(model, "by_tile", lambda *arguments: pytest.fail("the model ran again"))
    page.locator("#amount input[type=range]").focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    page.locator('#result img[src*="after-60"]').wait_for()
    mixed = denoiser.blend(noisy, restored, 0.6)
    assert psnr(shown_photo(page, "result", tmp_path), mixed) > 35  # but for the preview's JPEG
    pixels = denoiser.open_image(downloaded_photo(page, "download", tmp_path)).pixels
    assert np.array_equal(pixels, mixed.pixels)


def test_what_was_removed_is_shown(page, noisy_file, model, tmp_path):
    drop(page, noisy_file)
    page.get_by_label("What was removed").first.check()
    image = page.locator("#residual img")
    image.wait_for()
    path = tmp_path / "residual.jpg"
    path.write_bytes(page.request.get(image.get_attribute("src")).body())
    noisy = denoiser.open_image(noisy_file)
    assert psnr(denoiser.open_image(path), denoiser.residual(noisy, model(noisy))) > 20


def test_the_format_of_the_download_can_be_chosen(page, noisy_file, tmp_path):
    drop(page, noisy_file)
    page.get_by_role("button", name="File options").click()
    page.locator("#format input").click()
    page.get_by_role("option", name="JPEG").click()
    file = downloaded_photo(page, "download", tmp_path)
    assert file.name == "holiday-denoised.jpg" and file.read_bytes()[:3] == b"\xff\xd8\xff"


def test_of_many_photos_a_bad_one_is_named_and_the_rest_is_in_the_zip(page, noisy_file, model, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("not a photo")
    page.get_by_role("tab", name="Many photos").click()
    page.locator("#uploads input[type=file]").set_input_files([noisy_file, bad, noisy_file])
    page.locator("#uploads tr").nth(2).wait_for()
    page.locator("#denoise-all").click()
    page.get_by_role("status").get_by_text("2 photos denoised.").wait_for(timeout=60_000)
    assert "'bad.png' is not a JPEG" in page.locator("#report").inner_text()
    page.wait_for_function("!document.querySelector('#zip').disabled")
    with zipfile.ZipFile(downloaded_photo(page, "zip", tmp_path)) as archive:
        assert archive.namelist() == ["holiday-denoised.png", "2-holiday-denoised.png"]
        archive.extractall(tmp_path)
    expected = model(denoiser.open_image(noisy_file)).pixels
    assert np.array_equal(denoiser.open_image(tmp_path / "2-holiday-denoised.png").pixels, expected)


@pytest.mark.parametrize("size", [(390, 844), (1280, 720)])
def test_the_result_and_its_download_are_on_the_screen_and_nothing_is_wider(browser, url, noisy_file, size):
    with browser.new_context(viewport={"width": size[0], "height": size[1]}) as context:
        page = context.new_page()
        visit(page, url)
        assert page.get_by_role("tab").evaluate_all("tabs => tabs.every(tab => tab.offsetParent)")
        drop(page, noisy_file)
        expect(page.locator("#details")).to_be_in_viewport()
        expect(page.locator("#result")).to_be_in_viewport(ratio=0.9)
        expect(page.locator("#download")).to_be_in_viewport(ratio=1)
        for tab in page.get_by_role("tab").all():
            tab.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, url, noisy_file, theme):
    def problems():
        page.wait_for_function(NO_TRANSITION)  # a button that has just been enabled is still pale
        return [(item["id"], item["nodes"][0]["html"][:200]) for item in Axe().run(page).response["violations"]]

    with browser.new_context(viewport={"width": 1280, "height": 1000}) as context:
        page = context.new_page()
        visit(page, f"{url}?__theme={theme}")
        assert problems() == []
        drop(page, noisy_file)
        expect(page.locator("#download")).to_be_enabled()
        assert problems() == []
        page.get_by_label("What was removed").first.check()
        page.locator("#residual img").wait_for()
        assert problems() == []
        for tab in ("Many photos", "Test it"):
            page.get_by_role("tab", name=tab).click()
            assert problems() == [], tab


def test_a_clean_photo_shows_what_the_denoiser_gains(page):
    page.get_by_role("tab", name="Test it").click()
    choose(page, media.get_image("tower.jpg"), "clean")
    row = page.locator("#scores tr", has_text="PSNR")
    row.wait_for(timeout=60_000)
    before, after = (float(cell.split()[0]) for cell in row.locator("td").all_inner_texts()[1:])
    assert 19 < before < 22 and after > before + 5


def test_the_name_of_a_licence_is_shown_as_it_is_written(page):
    notice = page.locator("#notice")
    assert notice.inner_text() == f"Running on the test's weights, under {' '.join(LICENSE.split())}."
    assert notice.locator("img, form, input, a, h1, code, em, del, table, .katex").count() == 0
