"""The results that the page holds: within a budget of memory, one per visitor, and not for ever."""

from pathlib import Path

import numpy as np
import pytest
from visitor import ONE, RUN, Visitor, number_of

import denoiser
from denoiser import DenoiserError, Photo
from denoiser.page import result_cache
from denoiser.page.result_cache import CachedResult, ResultCache

pytestmark = pytest.mark.slow

VIEW = "Before / after"


def held(side, value=0, alpha=False):
    pixels = np.full((side, side, 3), value, np.uint8)
    photo = Photo(pixels, pixels[..., 0] if alpha else None)
    return CachedResult(photo, Photo(pixels.copy()), None, None)


def test_over_the_budget_the_oldest_results_go_and_the_newest_stays(monkeypatch):
    kept, size = ResultCache(), held(100).bytes
    assert size == 2 * 100 * 100 * 3
    monkeypatch.setattr(result_cache, "HOLD_BYTES", 2 * size)
    keys = [kept.put(held(100)) for _ in range(2)]
    kept.get(keys[0])  # is used, and so is the newer one now
    keys.append(kept.put(held(100)))
    assert kept.get(keys[0]) and kept.get(keys[2])
    with pytest.raises(DenoiserError, match="has expired.*Press Denoise"):
        kept.get(keys[1])
    assert kept.get(kept.put(held(500)))
    with pytest.raises(DenoiserError):
        kept.get(keys[2])


def test_a_visitor_holds_one_result_and_not_for_ever(monkeypatch):
    kept = ResultCache()
    first = kept.put(held(10))
    second = kept.put(held(10), instead_of=first)
    with pytest.raises(DenoiserError):
        kept.get(first)
    monkeypatch.setattr(result_cache, "HOLD_SECONDS", 0)
    with pytest.raises(DenoiserError):
        kept.get(second)


def test_the_page_says_that_a_result_is_no_longer_held(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, other = Visitor(url), Visitor(url)
    number, amount = number_of(page, *RUN), number_of(page, "show_again")
    assert visitor.ask(amount, visitor.key, 50, VIEW).get("data")  # there was none yet
    upload = visitor.upload(photo)[0]
    visitor.denoise(number, upload)
    monkeypatch.setattr(result_cache, "HOLD_BYTES", 1)
    other.denoise(number, upload)
    assert "Press Denoise again" in visitor.ask(amount, visitor.key, 50, VIEW)["error"]
    assert (
        "Press Denoise again" in visitor.ask(number_of(page, "make_file"), visitor.key, 50, "PNG", 95, False)["error"]
    )
    assert other.ask(amount, other.key, 50, VIEW).get("data")
    Path(upload["path"]).unlink()
    again = visitor.ask(number_of(page, "run", "Textbox", "Textbox"), upload["path"], visitor.key, *ONE)
    assert "Uploads are deleted after an hour" in again["error"]


def test_amounts_are_whole_and_nothing_is_written_twice(tiny_page, photo):
    page, url = tiny_page
    visitor = Visitor(url)
    show, make = number_of(page, "show_again"), number_of(page, "make_file")
    visitor.denoise(number_of(page, *RUN), visitor.upload(photo)[0])
    shown = {visitor.ask(show, visitor.key, 50 + n / 1000, VIEW)["data"][0]["value"][1]["path"] for n in range(5)}
    made = {visitor.ask(make, visitor.key, 50 + n / 1000, "TIFF", 95, False)["data"][0]["path"] for n in range(5)}
    assert len(shown) == len(made) == 1


def test_two_visitors_get_only_their_own_whatever_the_server_forgets(tiny_page, tmp_path):
    page, url = tiny_page
    run, make = number_of(page, *RUN), number_of(page, "make_file")
    visitors = {}
    for name, colour in {"red": (200, 40, 40), "blue": (40, 40, 200)}.items():
        denoiser.save_image(Photo(np.full((64, 64, 3), colour, np.uint8)), tmp_path / f"{name}.png")
        visitors[name] = visitor = Visitor(url)
        upload = visitor.upload(tmp_path / f"{name}.png")[0]
        assert visitor.denoise(run, upload)["data"]
    page.state_holder.session_data.clear()
    for name, visitor in visitors.items():
        file = visitor.ask(make, visitor.key, 0, "Like the upload", 95, False)["data"][0]
        assert file["path"].endswith(f"/{name}-denoised.png")
        original = denoiser.open_image(tmp_path / f"{name}.png").pixels
        assert np.array_equal(denoiser.open_image(file["path"]).pixels, original)
    newcomer = Visitor(url)
    assert newcomer.ask(make, newcomer.key, 0, "Like the upload", 95, False)["data"][0]["path"].endswith(
        "groot-with-noise-denoised.png"
    )
    for key in ("", "0" * 32):  # there is no result: it is not the example instead
        assert "error" in newcomer.ask(make, key, 0, "Like the upload", 95, False)
    assert "session was lost" in newcomer.ask(number_of(page, "zip_files"), None)["error"]
