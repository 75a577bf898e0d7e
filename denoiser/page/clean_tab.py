"""The tab that shows what the denoiser gains: it adds noise to a clean photo, removes it and prints the scores."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from pathlib import Path

import gradio as gr

import denoiser
from denoiser import MAX_LEVEL, Denoiser

from .callbacks import NETWORK, Service, network_runner, newest_run_callback, open_photo, report_progress
from .display import (
    DEFAULT_LEVEL,
    before_after_slider,
    escape_markdown,
    hidden_field,
    photo_button,
    score_table,
    write_preview,
)
from .samples import Samples, example_row
from .scheduler import NewestRuns
from .uploads import own_folder

ON_ARRIVAL = "Noise is added to a clean photo and removed again. The scores tell how close the result comes."


def clean_tab(model: Denoiser, service: Service, samples: Samples) -> None:
    """Add the components and callbacks of the tab for a clean photo."""
    network, newest, photo = network_runner(model), NewestRuns(), hidden_field(samples.clean[0])
    with gr.Row(elem_classes="work"):
        with gr.Column(elem_classes="choose", min_width=0):
            upload = photo_button("Choose a clean photo", elem_id="clean")
            example = example_row(samples.clean, elem_id="examples-clean")
        with gr.Column(elem_classes="picture", min_width=0):
            pair = before_after_slider("With noise / denoised", elem_id="tried", value=samples.pair)
            scores = gr.Markdown(ON_ARRIVAL, elem_id="scores", elem_classes="says")
        with gr.Column(elem_classes="settings", min_width=0):
            strength = gr.Slider(
                0,
                MAX_LEVEL,
                DEFAULT_LEVEL,
                step=1,
                label="Noise to add",
                info="10 is faint, 25 is clearly visible, 50 is heavy.",
                elem_id="added",
            )
            button = gr.Button("Add noise again", elem_id="try")

    def run(path: Path, level: float, progress: gr.Progress = gr.Progress()) -> Generator[dict | None, None, None]:
        clean = open_photo(path)
        yield {photo: str(path), scores: ""}
        noisy = denoiser.add_noise(clean, level, seed=secrets.randbits(32))
        result = yield from report_progress(network(noisy), lambda text: {scores: text})
        folder = own_folder()
        shown = str(write_preview(noisy, folder, "noisy")), str(write_preview(result.clean, folder, "denoised"))
        before = denoiser.compare(noisy, clean)
        yield None
        table = score_table(before, denoiser.compare(result.clean, clean))
        levels = f"Noise added: {level:g}, estimated: {result.level:.1f}"
        yield {pair: shown, scores: f"{table}\n\nHigher is better. {levels}. {clean.width}×{clean.height} pixels."}

    def cleared(text: str) -> dict:
        return {photo: None, pair: gr.ImageSlider(None), scores: escape_markdown(text)}

    outputs = [photo, pair, scores]
    busy = {**NETWORK, "show_progress_on": scores, "api_visibility": "private", "trigger_mode": "multiple"}
    for event, photos in ((upload.upload, None), (example.click, samples.clean)):
        new_photo = newest_run_callback(service.network, newest, run, cleared, photos=photos)
        event(new_photo, [example if photos else upload, strength], outputs, **busy)
    button.click(newest_run_callback(service.network, newest, run), [photo, strength], outputs, **busy)
    strength.release(newest_run_callback(service.network, newest, run, idle=True), [photo, strength], outputs, **busy)
