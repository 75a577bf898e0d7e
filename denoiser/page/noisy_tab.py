"""The tab for one noisy photo: it is denoised as soon as it is chosen, and compared with the upload."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

import denoiser
from denoiser import Denoiser, ImageError, Photo

from .callbacks import (
    NETWORK,
    QUICK,
    SKIP,
    Service,
    by_index,
    if_chosen,
    network_runner,
    newest_run_callback,
    open_photo,
    report_progress,
    result_callback,
)
from .display import (
    ACTUAL_SIZE,
    CLICK,
    COMPARISON,
    VIEWS,
    before_after_slider,
    describe_level,
    download_button,
    escape_markdown,
    file_options,
    photo_button,
    residual_image,
    result_name,
    show_result,
    strength_controls,
    write_result,
)
from .result_cache import CachedResult, ResultCache
from .samples import example_row, noisy_examples, sample_pair
from .scheduler import NewestRuns
from .uploads import NO_PHOTO, own_folder

SAMPLE_TEXT = "An example: drag the divider, then choose a photo of your own."
FIRST_SIDES = 640, 928  # height and width in pixels of the part of a big photo that is shown first: one tile
BIG_PIXELS = 1_500_000
FIRST_SIGHT = "This is the middle of your photo, at actual size. The whole photo follows."
CANCELLED = "Cancelled. Press Denoise to start again."
SHOW_RESULT, TEXT_ON_ARRIVAL = "() => window.showResult()", "text => window.textOnArrival(text)"  # in page.js


def noisy_tab(page: gr.Blocks, model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for a noisy photo."""
    run, show_again, make_file = noisy_callbacks(model, service.results)
    newest, examples = NewestRuns(), noisy_examples()
    key, photo = gr.State(), gr.State()  # the key of the visitor's result in the cache, and the path of the upload
    yes, no = gr.State(True), gr.State(False)
    with gr.Row(elem_classes="work"):
        with gr.Column(elem_classes="choose", min_width=0):
            upload = photo_button("Choose, drop or paste a photo", elem_id="noisy")
            example = example_row(examples, elem_id="examples-noisy")
        with gr.Column(elem_classes="picture", min_width=0):
            pair = before_after_slider("Before / after", elem_id="result", value=sample_pair(model))
            residual = residual_image()
            with gr.Row(elem_classes="outcome"):
                save, file = download_button()
                details = gr.Markdown(SAMPLE_TEXT, elem_id="details", min_height=60)
            options = file_options()
        with gr.Column(elem_classes="settings", min_width=0):
            automatic, strength = strength_controls()
            amount = gr.Slider(0, 100, 100, step=1, label="Amount (%)", info="0 shows the original.", elem_id="amount")
            view = gr.Radio(
                list(VIEWS),
                value=COMPARISON,
                label="View",
                info="Scroll or pinch to zoom, drag to move.",
                elem_id="view",
            )
            with gr.Row():
                start = gr.Button("Denoise", elem_id="denoise", min_width=80)
                stop = gr.Button("Cancel", elem_id="cancel", min_width=80)

    settings = [automatic, strength, amount, view]
    outputs = [key, photo, pair, residual, view, details, automatic, strength, save]

    def cleared(text: str = "") -> tuple:
        nothing = gr.ImageSlider(None, visible=True), gr.Image(None, visible=False)
        return None, None, *nothing, SKIP, text, SKIP, SKIP, gr.Button(interactive=False)

    def cancelled(key: str | None) -> tuple:
        """Stop the run. What is shown is complete or goes, and the settings are those of what is shown."""
        newest.stop()
        shown = service.results.find(key)
        if shown is None:
            _, _, *others = cleared(CANCELLED)
            return None, SKIP, *others
        return *[SKIP] * 5, "Cancelled. This is the result from before.", shown.auto, shown.level, SKIP

    busy = {**NETWORK, "show_progress_on": details, "api_visibility": "private", "trigger_mode": "multiple"}
    quick = {**QUICK, "api_visibility": "private"}
    new_photo = newest_run_callback(service.network, newest, run, cleared)
    same_photo = newest_run_callback(service.network, newest, run)
    for started in (
        upload.upload(new_photo, [upload, yes, key, *settings], outputs, **busy),
        example.click(by_index(new_photo, examples), [example, yes, key, *settings], outputs, **busy),
    ):
        started.success(None, js=SHOW_RESULT, api_visibility="private")
    page.load(None, details, details, js=TEXT_ON_ARRIVAL, api_visibility="private")
    start.click(same_photo, [photo, no, key, *settings], outputs, **busy)
    changed = [automatic.input, strength.release]
    gr.on(changed, if_chosen(same_photo), [photo, no, key, *settings], outputs, **busy)
    stop.click(cancelled, key, outputs, queue=False, api_visibility="private")
    gr.on(
        [amount.input, view.input],
        result_callback(service, show_again),
        [key, amount, view],
        [pair, residual],
        trigger_mode="always_last",
        show_progress="hidden",
        **quick,
    )
    made = save.click(result_callback(service, make_file), [key, amount, *options], file, **quick)
    made.success(None, js=CLICK.format("file"), api_visibility="private")


def noisy_callbacks(model: Denoiser, results: ResultCache) -> tuple[Callable, Callable, Callable]:
    """Return the callbacks of the tab: denoise a photo, show the result again, make a file of it."""
    network = network_runner(model)

    def run(
        path: Path,
        new: bool,
        key: str | None,
        auto: bool,
        level: float,
        amount: float,
        view: str,
        progress: gr.Progress = gr.Progress(),
    ) -> Generator[tuple | None, None, None]:
        """Denoise a photo; of a big one, show the middle first. If it isn't new, what is shown stays until the end.

        Nothing is computed if the cache has the result for these settings.
        """
        cached = None if new else results.find(key)
        if cached is not None and cached.upload == path and cached.auto == auto and (auto or cached.level == level):
            return
        photo = cached.photo if cached is not None and cached.upload == path else open_photo(path)
        told, folder, started = None if auto else level, own_folder(), time.monotonic()
        if new:
            view = COMPARISON
            yield None, path, SKIP, SKIP, view, f"Opened {escape_markdown(path.name)}.", SKIP, SKIP, SKIP
            if photo.width * photo.height > BIG_PIXELS:
                view, part = ACTUAL_SIZE, middle(photo)
                first = yield from report_progress(network(part, told, estimate=False))
                sight = CachedResult(part, first.clean, path, folder / "middle", auto, level)
                yield None, path, *show_result(sight, amount, view), view, FIRST_SIGHT, SKIP, SKIP, SKIP
        result = yield from report_progress(network(photo, told), progress)
        shown_level = min(round(result.level), denoiser.MAX_LEVEL) if auto else level
        cached = CachedResult(photo, result.clean, path, folder, auto, shown_level)
        shown = show_result(cached, amount, view)
        found = f"about {result.level:.0f}, {describe_level(result.level)}"
        used = f"Auto ({found})" if auto else f"{level:g} (Auto: {found})"
        text = f"Noise strength: {used}. {photo.width}×{photo.height} pixels, {time.monotonic() - started:.1f} s."
        text = " ".join([text, *(escape_markdown(note) for note in photo.notes)])
        yield results.put(cached, key), path, *shown, view, text, auto, shown_level, gr.Button(interactive=True)

    def show_again(cached: CachedResult | None, amount: float, view: str) -> tuple:
        return (SKIP, SKIP) if cached is None else show_result(cached, amount, view)

    def make_file(cached: CachedResult | None, amount: float, *options: Any) -> str:
        if cached is None:
            raise ImageError(NO_PHOTO)
        percent, (kind, quality, without_location) = round(amount), options
        folder = (
            cached.folder / f"{percent}-{round(quality)}-{bool(without_location)}"
        )  # the same settings, the same file
        mixed = denoiser.blend(cached.photo, cached.clean, percent / 100)
        return str(
            write_result(mixed, folder / result_name(cached.upload, "denoised", kind), quality, without_location)
        )

    return run, show_again, make_file


def middle(photo: Photo) -> Photo:
    """Return the middle of a photo, about as much as a screen shows at actual size."""
    height, width = (min(pair) for pair in zip(photo.pixels.shape[:2], FIRST_SIDES, strict=True))
    top, left = (photo.height - height) // 2, (photo.width - width) // 2
    window = np.s_[top : top + height, left : left + width]
    alpha = None if photo.alpha is None else photo.alpha[window]
    return replace(photo, pixels=photo.pixels[window], alpha=alpha)
