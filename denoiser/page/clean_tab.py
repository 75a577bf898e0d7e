"""The tab that shows what the denoiser gains: it adds noise to a clean photo, removes it and prints the scores."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from pathlib import Path

import gradio as gr

import denoiser
from denoiser import MAX_LEVEL, Denoiser

from .callbacks import (
    NETWORK,
    SKIP,
    Service,
    by_index,
    if_chosen,
    network_runner,
    newest_run_callback,
    open_photo,
    report_progress,
)
from .display import DEFAULT_LEVEL, before_after_slider, photo_button, score_table, write_preview
from .samples import clean_examples, example_row
from .scheduler import NewestRuns
from .uploads import own_folder


def clean_tab(model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for a clean photo."""
    network, newest, photo, examples = network_runner(model), NewestRuns(), gr.State(), clean_examples()
    with gr.Row(elem_classes="work"):
        with gr.Column(elem_classes="choose", min_width=0):
            upload = photo_button("Choose, drop or paste a clean photo", elem_id="clean")
            example = example_row(examples, elem_id="examples-clean")
        with gr.Column(elem_classes="picture", min_width=0):
            pair = before_after_slider("With noise / denoised", elem_id="tried")
            scores = gr.Markdown(
                "Noise is added to your photo and removed again. The scores tell how close the result comes.",
                elem_id="scores",
                min_height=60,
            )
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
            button = gr.Button("Add other noise", elem_id="try")

    def run(path: Path, level: float, progress: gr.Progress = gr.Progress()) -> Generator[tuple | None, None, None]:
        clean = open_photo(path)
        yield path, SKIP, ""
        noisy = denoiser.add_noise(clean, level, seed=secrets.randbits(32))
        result = yield from report_progress(network(noisy), progress)
        folder = own_folder()
        shown = str(write_preview(noisy, folder, "noisy")), str(write_preview(result.clean, folder, "denoised"))
        before = denoiser.compare(noisy, clean)
        yield None
        table = score_table(before, denoiser.compare(result.clean, clean))
        levels = f"Noise added: {level:g}, estimated: {result.level:.1f}"
        yield path, shown, f"{table}\n\nHigher scores are better. {levels}. {clean.width}×{clean.height} pixels."

    new_photo = newest_run_callback(service.network, newest, run, lambda: (None, gr.ImageSlider(None), ""))
    same_photo = newest_run_callback(service.network, newest, run)
    outputs = [photo, pair, scores]
    busy = {**NETWORK, "show_progress_on": scores, "api_visibility": "private", "trigger_mode": "multiple"}
    upload.upload(new_photo, [upload, strength], outputs, **busy)
    example.click(by_index(new_photo, examples), [example, strength], outputs, **busy)
    button.click(same_photo, [photo, strength], outputs, **busy)
    strength.release(if_chosen(same_photo), [photo, strength], outputs, **busy)
