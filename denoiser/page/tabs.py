"""The tabs of the page for one photo: a noisy one, and a clean one to see what the denoiser gains."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr
from gradio import media

import denoiser
from denoiser import MAX_LEVEL, Denoiser, ImageError

from .parts import (
    COMPARISON,
    NETWORK,
    QUICK,
    RESIDUAL,
    SKIP,
    VIEWS,
    Service,
    before_after,
    by_turns,
    followed,
    in_words,
    network_of,
    opened,
    photo_input,
    plain_text,
    preview,
    result_name,
    score_table,
    show,
    with_held,
    written,
)
from .shelf import Held, Shelf
from .uploads import NO_PHOTO, examples_folder, own_folder

DEFAULT_LEVEL = 25
EXAMPLES = {"tower.jpg": 15, "cheetah.jpg": 25, "groot.jpeg": 40, "lion.jpg": 60}  # photos of Gradio's, noise to add
JPEG_SUFFIXES = (".jpg", ".jpeg")
FORMATS = {"Like the upload": None, "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif"}
PRESS = "() => document.querySelector('#{0} a, #{0} button, a#{0}, button#{0}').click()"  # what can't be seen
SHOW_RESULT = "() => window.showResult()"  # in page.js


def noisy_tab(model: Denoiser, service: Service) -> None:
    run, show_again, make_file, forget = noisy_work(model, service.shelf)
    held, yes, no = gr.State(), gr.State(True), gr.State(False)  # held: the key on the shelf
    with gr.Row():
        with gr.Column(scale=1):
            upload = photo_input("Your noisy photo", elem_id="noisy")
            automatic = gr.Checkbox(True, label="Auto: find the noise strength by itself", elem_id="auto")
            strength = gr.Slider(0, MAX_LEVEL, DEFAULT_LEVEL, step=1, label="Noise strength", elem_id="strength")
            amount = gr.Slider(0, 100, 100, step=1, label="Amount (%)", info="0 is the original.", elem_id="amount")
            with gr.Row():
                start = gr.Button("Denoise", variant="primary", elem_id="denoise")
                stop = gr.Button("Cancel", elem_id="cancel")
            examples = gr.Examples(
                noisy_examples(), upload, label="Or pick one with noise added", elem_id="examples-noisy"
            )
        with gr.Column(scale=2):
            view = gr.Radio(list(VIEWS), value=COMPARISON, show_label=False, elem_id="view")
            pair = before_after("Before / after", elem_id="result")
            residual = gr.Image(
                type="filepath",
                label=RESIDUAL,
                alt_text=RESIDUAL,
                interactive=False,
                visible=False,
                buttons=["fullscreen"],
                elem_id="residual",
            )
            details = gr.Markdown(elem_id="details")
            with gr.Row():
                kind = gr.Dropdown(list(FORMATS), label="Format", min_width=240, elem_id="format")
                quality = gr.Slider(1, 100, 95, step=1, label="JPEG quality", min_width=240, elem_id="quality")
            without_place = gr.Checkbox(False, label="Remove the location from the file", elem_id="location")
            save = gr.Button("Download", interactive=False, elem_id="download")
            file = gr.DownloadButton("File", visible="hidden", elem_id="file")

    callback, settings = by_turns(service.network, run), [strength, amount, view]
    results = [held, pair, residual, details, automatic, strength, save]
    busy = {**NETWORK, "show_progress_on": pair, "api_visibility": "private"}
    quick = {**QUICK, "api_visibility": "private"}
    runs = [
        upload.upload(callback, [upload, held, yes, *settings], results, **busy),
        examples.load_input_event.then(callback, [upload, held, yes, *settings], results, **busy),
        gr.on([start.click, automatic.input], callback, [upload, held, automatic, *settings], results, **busy),
        strength.input(callback, [upload, held, no, *settings], results, trigger_mode="always_last", **busy),
    ]
    for finished in runs[:2]:
        finished.success(None, js=SHOW_RESULT, api_visibility="private")
    stop.click(None, cancels=runs, queue=False, api_visibility="private")
    gr.on(
        [amount.input, view.input],
        with_held(service, show_again),
        [held, amount, view],
        [pair, residual],
        trigger_mode="always_last",
        show_progress="hidden",
        **quick,
    )
    upload.clear(forget, held, [held, pair, residual, details, save], queue=False, api_visibility="private")
    made = save.click(with_held(service, make_file), [held, amount, kind, quality, without_place], file, **quick)
    made.success(None, js=PRESS.format("file"), api_visibility="private")


def noisy_work(model: Denoiser, shelf: Shelf) -> tuple[Callable, ...]:
    """What the tab for a noisy photo does: denoise, show the result in another way, make a file of it, forget it."""
    network = network_of(model)

    def run(
        path: Path,
        key: str | None,
        auto: bool,
        level: float,
        amount: float,
        view: str,
        progress: gr.Progress = gr.Progress(),
    ) -> Iterator:
        photo, started = opened(path), time.monotonic()
        result = yield from followed(network(photo, None if auto else level), progress)
        now_held = Held(photo, result.clean, path, own_folder())
        shown = show(now_held, amount, view)
        found = f"about {result.level:.0f}, {in_words(result.level)}"
        used = f"Auto ({found})" if auto else f"{level:g} (Auto: {found})"
        text = f"Noise strength: {used}. {photo.width}×{photo.height} pixels, {time.monotonic() - started:.1f} s."
        text = " ".join([text, *(plain_text(note) for note in photo.notes)])
        slider = min(round(result.level), MAX_LEVEL) if auto else SKIP  # which may have moved on meanwhile
        yield shelf.put(now_held, key), *shown, text, auto, slider, gr.Button(interactive=True)

    def show_again(held: Held | None, amount: float, view: str) -> tuple:
        return (SKIP, SKIP) if held is None else show(held, amount, view)

    def make_file(held: Held | None, amount: float, kind: str, quality: float, without_place: bool) -> str:
        if held is None:
            raise ImageError(NO_PHOTO)
        percent, quality, without_place = round(amount), round(quality), bool(without_place)
        name = result_name(held.upload, "denoised", FORMATS[kind])
        path = held.folder / f"{percent}-{quality}-{without_place}" / name  # asked for again, it is there
        photo = denoiser.blend(held.photo, held.clean, percent / 100)
        photo = photo.without_location() if without_place else photo
        return str(written(photo, path, quality if path.suffix in JPEG_SUFFIXES else None))

    def forget(key: str | None) -> tuple:
        shelf.drop(key)
        return None, gr.ImageSlider(None), gr.Image(None), "", gr.Button(interactive=False)

    return run, show_again, make_file, forget


def clean_tab(model: Denoiser, service: Service) -> None:
    network = network_of(model)
    with gr.Row():
        with gr.Column(scale=1):
            upload = photo_input("A clean photo", elem_id="clean")
            strength = gr.Slider(
                0,
                MAX_LEVEL,
                DEFAULT_LEVEL,
                step=1,
                label="Noise strength",
                info="Gaussian noise of this strength (σ on the 0-255 scale) is added, then removed blindly.",
                elem_id="added",
            )
            button = gr.Button("Add noise and denoise", variant="primary", elem_id="try")
            gr.Examples(clean_examples(), upload, label="Or pick one")
        with gr.Column(scale=2):
            pair = before_after("With noise / denoised", elem_id="tried")
            scores = gr.Markdown(elem_id="scores")

    def run(path: Path, level: float, progress: gr.Progress = gr.Progress()) -> Iterator:
        photo = opened(path)
        noisy = denoiser.add_noise(photo, level, seed=secrets.randbits(32))
        result = yield from followed(network(noisy), progress)
        folder = own_folder()
        shown = str(preview(noisy, folder, "noisy")), str(preview(result.clean, folder, "denoised"))
        before = denoiser.compare(noisy, photo)
        yield
        table = score_table(before, denoiser.compare(result.clean, photo))
        size = f"{photo.width}×{photo.height} pixels"
        yield shown, f"{table}\n\nNoise added: {level:g}, estimated: {result.level:.1f}. {size}."

    callback = by_turns(service.network, run)
    button.click(
        callback, [upload, strength], [pair, scores], show_progress_on=pair, api_visibility="private", **NETWORK
    )


def clean_examples() -> list[str]:
    """Photos that ship with Gradio, copied to where the page's own files stay."""
    return [shutil.copy(media.get_image(name), examples_folder()) for name in EXAMPLES]


def noisy_examples() -> list[str]:
    """The same with noise; made anew at each start."""
    paths = []
    for name, level in EXAMPLES.items():
        photo = denoiser.open_image(media.get_image(name))
        path = examples_folder() / f"{Path(name).stem}-noise-{level}.png"
        paths.append(str(written(denoiser.add_noise(photo, level), path)))
    return paths
