"""The tab for one noisy photo: it is denoised as soon as it is chosen, and compared with the upload."""

from __future__ import annotations

import time
from collections.abc import Generator
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
    SHOW,
    VIEWS,
    before_after_slider,
    describe_result,
    download_button,
    escape_markdown,
    file_options,
    hidden_field,
    photo_button,
    residual_image,
    result_name,
    show_pair,
    strength_controls,
    write_result,
)
from .result_cache import CachedResult
from .samples import SAMPLE, Samples, example_row
from .scheduler import NewestRuns
from .uploads import NO_PHOTO, own_folder

FIRST_SIDES = 640, 928  # height and width in pixels of the part of a big photo that is shown first: one tile
BIG_PIXELS = 1_500_000
ON_ARRIVAL = "An example: drag the divider, then choose a photo of your own."
FIRST_SIGHT = "This is the middle of your photo, at actual size. The rest follows. "
CANCELLED = "Cancelled. Press Denoise to start again."
# In page.js. A new photo starts on Auto, whatever the one before it was set to.
TEXT_ON_ARRIVAL = "text => window.textOnArrival(text)"
START_ON_AUTO = "(photo, key, auto, ...settings) => [photo, key, true, ...settings]"


class NoisyTab:
    """The tab. Its components are attributes; its callbacks are methods that return updates of some of them."""

    def __init__(self, page: gr.Blocks, model: Denoiser, service: Service, samples: Samples) -> None:
        self.network, self.results, self.newest = network_runner(model), service.results, NewestRuns()
        self.lay_out(samples)
        self.connect(page, service, samples)

    def lay_out(self, samples: Samples) -> None:
        # The key of the visitor's result in the cache, and the path of the upload.
        self.key, self.photo = hidden_field(SAMPLE), hidden_field(samples.noisy[0])
        with gr.Row(elem_classes="work"):
            with gr.Column(elem_classes="choose", min_width=0):
                self.upload = photo_button("Choose a photo", elem_id="noisy")
                self.example = example_row(samples.noisy, elem_id="examples-noisy")
            with gr.Column(elem_classes="picture", min_width=0):
                self.pair = before_after_slider("Before / after", elem_id="result", value=samples.pair)
                self.residual = residual_image()
                with gr.Row(elem_classes="outcome"):
                    self.save, self.file = download_button()
                    self.view = gr.Radio(
                        list(VIEWS), value=COMPARISON, show_label=False, container=False, label="View", elem_id="view"
                    )
                self.details = gr.Markdown(ON_ARRIVAL, elem_id="details", elem_classes="says")
                self.options = file_options()
            with gr.Column(elem_classes="settings", min_width=0):
                self.automatic, self.strength = strength_controls(samples.result.level)
                self.amount = gr.Slider(
                    0, 100, 100, step=1, label="Amount (%)", info="0 shows the original.", elem_id="amount"
                )
                with gr.Row():
                    self.start = gr.Button("Denoise", elem_id="denoise", min_width=80)
                    self.stop = gr.Button("Cancel", elem_id="cancel", min_width=80)

    def connect(self, page: gr.Blocks, service: Service, samples: Samples) -> None:
        network, newest = service.network, self.newest
        quiet: dict[str, Any] = {"api_visibility": "private"}
        settings = [self.key, self.automatic, self.strength, self.amount, self.view]
        outputs = [self.key, self.photo, self.pair, self.residual, self.view, self.details]
        outputs += [self.automatic, self.strength, self.save]
        busy = {**NETWORK, **quiet, "show_progress_on": self.details, "trigger_mode": "multiple"}
        upload, example = (
            newest_run_callback(network, newest, self.run, self.cleared, photos=photos)
            for photos in (None, samples.noisy)
        )
        changed = newest_run_callback(network, newest, self.run, idle=True)
        runs = [
            self.upload.upload(upload, [self.upload, *settings], outputs, js=START_ON_AUTO, **busy),
            self.example.click(example, [self.example, *settings], outputs, js=START_ON_AUTO, **busy),
            self.start.click(newest_run_callback(network, newest, self.run), [self.photo, *settings], outputs, **busy),
            gr.on([self.automatic.input, self.strength.release], changed, [self.photo, *settings], outputs, **busy),
        ]
        for arrived in runs[:2]:
            arrived.success(None, js=SHOW.format("result"), **quiet)
        self.stop.click(self.cancel, self.key, outputs, queue=False, **quiet)

        again = result_callback(service, self.show_again)
        shown = {"show_progress": "hidden", **QUICK, **quiet, "outputs": [self.pair, self.residual]}
        shown["inputs"] = [self.key, self.amount, self.view]
        gr.on([self.amount.input, self.view.input], again, trigger_mode="always_last", **shown)
        for run in runs:  # Amount or the view may have changed in the meantime
            run.success(again, **shown)
        make_file, chosen = result_callback(service, self.make_file), [self.key, self.amount, *self.options]
        made = self.save.click(make_file, chosen, self.file, **QUICK, **quiet)
        made.success(None, js=CLICK.format("file"), **quiet)
        page.load(None, self.details, self.details, js=TEXT_ON_ARRIVAL, **quiet)

    def run(
        self,
        path: Path,
        key: str | None,
        auto: bool,
        level: float,
        amount: float,
        view: str,
        progress: gr.Progress = gr.Progress(),
    ) -> Generator[dict | None, None, None]:
        """Denoise a photo and show it; of a big one that is new, show the middle first.

        If the photo isn't new, what is shown stays until the end. Nothing is computed if the cache has the result.
        """
        cached = self.results.find(key)
        new = cached is None or cached.upload != path
        if cached is not None and not new and cached.level != level:
            auto = False  # the strength was moved, and the box for Auto is only about to be unticked
        if cached is not None and not new and cached.auto == auto and (auto or cached.level == level):
            yield from self.finished(key, cached, amount, view)
            return
        photo = open_photo(path) if cached is None or new else cached.photo
        told, folder, started = None if auto else level, own_folder(), time.monotonic()
        if new:
            part = middle(photo)
            chosen, view = view, COMPARISON if part is photo else ACTUAL_SIZE
            opened = {self.photo: str(path), self.details: "Your photo is being denoised."}
            if view != chosen:  # otherwise the visitor may have chosen another in the meantime
                opened[self.view] = view
            yield opened | self.picture(part, None, folder / "part", amount, view)
            if part is not photo:
                seen = yield from report_progress(self.network(part, told, estimate=False))
                yield self.picture(part, seen.clean, folder / "part", amount, view) | {self.details: FIRST_SIGHT}
        before = FIRST_SIGHT if new and part is not photo else ""
        result = yield from report_progress(self.network(photo, told), lambda text: {self.details: before + text})
        used = min(round(result.level), denoiser.MAX_LEVEL) if auto else level
        text = f"{describe_result(photo, result.level, told)} {time.monotonic() - started:.1f} s."
        cached = CachedResult(photo, result.clean, path, folder, auto, used, text)
        yield from self.finished(self.results.put(cached, key), cached, amount, view)

    def finished(self, key: str | None, result: CachedResult, amount: float, view: str) -> Generator[dict, None, None]:
        """Yield updates that show a result; the strength is set to what Auto found, and otherwise left alone.

        The setting comes first and alone: Gradio sends the last item twice, when the visitor may have moved it again.
        """
        if result.auto:
            yield {self.automatic: True, self.strength: result.level}
        shown = self.picture(result.photo, result.clean, result.folder, amount, view)
        texts = {self.details: result.text, self.save: gr.Button(interactive=True)}
        yield {self.key: key, self.photo: str(result.upload)} | shown | texts

    def picture(self, before: Photo, after: Photo | None, folder: Path, amount: float, view: str) -> dict:
        return dict(zip((self.pair, self.residual), show_pair(before, after, folder, amount, view), strict=True))

    def cleared(self, text: str) -> dict:
        """Return updates that empty the tab and show a text."""
        nothing = {self.key: None, self.photo: None, self.pair: gr.ImageSlider(None, visible=True)}
        nothing |= {self.residual: gr.Image(None, visible=False), self.save: gr.Button(interactive=False)}
        return nothing | {self.details: escape_markdown(text)}

    async def cancel(self, key: str | None) -> dict:
        """Stop the run. A whole picture stays, with the settings it was made with; a part goes."""
        if not await self.newest.stop():
            return {self.key: SKIP}
        if shown := self.results.find(key):
            return {self.details: shown.text, self.automatic: shown.auto, self.strength: shown.level}
        return self.cleared(CANCELLED) | {self.photo: SKIP}

    def show_again(self, cached: CachedResult | None, amount: float, view: str) -> tuple:
        if cached is None:
            return SKIP, SKIP
        return show_pair(cached.photo, cached.clean, cached.folder, amount, view)

    def make_file(self, cached: CachedResult | None, amount: float, *options: Any) -> str:
        if cached is None:
            raise ImageError(NO_PHOTO)
        kind, quality, without_location = options
        percent, settings = round(amount), f"{round(amount)}-{round(quality)}-{bool(without_location)}"
        mixed = denoiser.blend(cached.photo, cached.clean, percent / 100)
        # The same settings give the same file.
        path = cached.folder / settings / result_name(cached.upload, "denoised", kind)
        return str(write_result(mixed, path, quality, without_location))


def middle(photo: Photo) -> Photo:
    """Return the middle of a big photo, about as much as a screen shows at actual size; a small photo as it is."""
    if photo.width * photo.height <= BIG_PIXELS:
        return photo
    height, width = (min(pair) for pair in zip(photo.pixels.shape[:2], FIRST_SIDES, strict=True))
    top, left = (photo.height - height) // 2, (photo.width - width) // 2
    window = np.s_[top : top + height, left : left + width]
    alpha = None if photo.alpha is None else photo.alpha[window]
    return replace(photo, pixels=photo.pixels[window], alpha=alpha)
