"""The tabs for one photo: a noisy one to denoise, and a clean one to try the denoiser on."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path

import gradio as gr
from gradio import media

import denoiser
from denoiser import MAX_LEVEL, Denoiser, ImageError

from .callbacks import (
    NETWORK,
    QUICK,
    SKIP,
    Service,
    network_runner,
    open_photo,
    photo_callback,
    report_progress,
    result_callback,
)
from .display import (
    COMPARISON,
    RESIDUAL,
    VIEWS,
    before_after_slider,
    describe_level,
    escape_markdown,
    photo_input,
    result_name,
    score_table,
    show_result,
    write_photo,
    write_preview,
)
from .result_cache import CachedResult, ResultCache
from .uploads import NO_PHOTO, examples_folder, own_folder

DEFAULT_LEVEL = 25
EXAMPLES = {"tower.jpg": 15, "cheetah.jpg": 25, "groot.jpeg": 40, "lion.jpg": 60}  # Gradio's photos; level of the noise
JPEG_SUFFIXES = (".jpg", ".jpeg")
FORMATS = {"Like the upload": None, "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif"}
CLICK = "() => document.querySelector('#{0} a, #{0} button, a#{0}, button#{0}').click()"  # works on hidden buttons
SHOW_RESULT = "() => window.showResult()"  # in page.js


def noisy_tab(model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for a noisy photo."""
    run, show_again, make_file, forget = noisy_callbacks(model, service.results)
    key, yes, no = gr.State(), gr.State(True), gr.State(False)  # key: of the visitor's result in the cache
    with gr.Row():
        with gr.Column(scale=1):
            upload = photo_input("Your noisy photo", elem_id="noisy")
            automatic = gr.Checkbox(True, label="Auto: detect the noise strength", elem_id="auto")
            strength = gr.Slider(0, MAX_LEVEL, DEFAULT_LEVEL, step=1, label="Noise strength", elem_id="strength")
            amount = gr.Slider(0, 100, 100, step=1, label="Amount (%)", info="0 shows the original.", elem_id="amount")
            with gr.Row():
                start = gr.Button("Denoise", variant="primary", elem_id="denoise")
                stop = gr.Button("Cancel", elem_id="cancel")
            examples = gr.Examples(
                noisy_examples(), upload, label="Or try an example with added noise", elem_id="examples-noisy"
            )
        with gr.Column(scale=2):
            view = gr.Radio(list(VIEWS), value=COMPARISON, show_label=False, elem_id="view")
            pair = before_after_slider("Before / after", elem_id="result")
            residual = residual_image()
            details = gr.Markdown(elem_id="details")
            save, file, options = download_controls()

    callback, settings = photo_callback(service.network, run), [strength, amount, view]
    outputs = [key, pair, residual, details, automatic, strength, save]
    busy = {**NETWORK, "show_progress_on": pair, "api_visibility": "private"}
    quick = {**QUICK, "api_visibility": "private"}
    runs = [
        upload.upload(callback, [upload, key, yes, *settings], outputs, **busy),
        examples.load_input_event.then(callback, [upload, key, yes, *settings], outputs, **busy),
        gr.on([start.click, automatic.input], callback, [upload, key, automatic, *settings], outputs, **busy),
        strength.input(callback, [upload, key, no, *settings], outputs, trigger_mode="always_last", **busy),
    ]
    for finished in runs[:2]:
        finished.success(None, js=SHOW_RESULT, api_visibility="private")
    stop.click(None, cancels=runs, queue=False, api_visibility="private")
    gr.on(
        [amount.input, view.input],
        result_callback(service, show_again),
        [key, amount, view],
        [pair, residual],
        trigger_mode="always_last",
        show_progress="hidden",
        **quick,
    )
    upload.clear(forget, key, [key, pair, residual, details, save], queue=False, api_visibility="private")
    made = save.click(result_callback(service, make_file), [key, amount, *options], file, **quick)
    made.success(None, js=CLICK.format("file"), api_visibility="private")


def residual_image() -> gr.Image:
    return gr.Image(
        type="filepath",
        label=RESIDUAL,
        alt_text=RESIDUAL,
        interactive=False,
        visible=False,
        buttons=["fullscreen"],
        elem_id="residual",
    )


def download_controls() -> tuple[gr.Button, gr.DownloadButton, list[gr.components.Component]]:
    """Create the visible button, the hidden one that holds the file, and the options: format, quality, location."""
    with gr.Row():
        kind = gr.Dropdown(list(FORMATS), label="Format", min_width=240, elem_id="format")
        quality = gr.Slider(1, 100, 95, step=1, label="JPEG quality", min_width=240, elem_id="quality")
    without_location = gr.Checkbox(False, label="Remove the location from the file", elem_id="location")
    save = gr.Button("Download", interactive=False, elem_id="download")
    file = gr.DownloadButton("File", visible="hidden", elem_id="file")
    return save, file, [kind, quality, without_location]


def noisy_callbacks(model: Denoiser, results: ResultCache) -> tuple[Callable, Callable, Callable, Callable]:
    """Return the callbacks of the tab: denoise a photo, show the result again, make a file of it, forget it."""
    network = network_runner(model)

    def run(
        path: Path,
        key: str | None,
        auto: bool,
        level: float,
        amount: float,
        view: str,
        progress: gr.Progress = gr.Progress(),
    ) -> Generator[tuple | None, None, None]:
        photo, started = open_photo(path), time.monotonic()
        result = yield from report_progress(network(photo, None if auto else level), progress)
        cached = CachedResult(photo, result.clean, path, own_folder())
        shown = show_result(cached, amount, view)
        found = f"about {result.level:.0f}, {describe_level(result.level)}"
        used = f"Auto ({found})" if auto else f"{level:g} (Auto: {found})"
        text = f"Noise strength: {used}. {photo.width}×{photo.height} pixels, {time.monotonic() - started:.1f} s."
        text = " ".join([text, *(escape_markdown(note) for note in photo.notes)])
        slider = min(round(result.level), MAX_LEVEL) if auto else SKIP  # skip: the visitor may have moved it since
        yield results.put(cached, key), *shown, text, auto, slider, gr.Button(interactive=True)

    def show_again(cached: CachedResult | None, amount: float, view: str) -> tuple:
        return (SKIP, SKIP) if cached is None else show_result(cached, amount, view)

    def make_file(cached: CachedResult | None, amount: float, kind: str, quality: float, without_location: bool) -> str:
        if cached is None:
            raise ImageError(NO_PHOTO)
        percent, quality, without_location = round(amount), round(quality), bool(without_location)
        name = result_name(cached.upload, "denoised", FORMATS[kind])
        path = cached.folder / f"{percent}-{quality}-{without_location}" / name  # the same settings give the same file
        photo = denoiser.blend(cached.photo, cached.clean, percent / 100)
        photo = photo.without_location() if without_location else photo
        return str(write_photo(photo, path, quality if path.suffix in JPEG_SUFFIXES else None))

    def forget(key: str | None) -> tuple:
        results.drop(key)
        return None, gr.ImageSlider(None), gr.Image(None), "", gr.Button(interactive=False)

    return run, show_again, make_file, forget


def clean_tab(model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for a clean photo."""
    network = network_runner(model)
    with gr.Row():
        with gr.Column(scale=1):
            upload = photo_input("A clean photo", elem_id="clean")
            strength = gr.Slider(
                0,
                MAX_LEVEL,
                DEFAULT_LEVEL,
                step=1,
                label="Noise strength",
                info="How much noise to add: 10 is faint, 25 is clearly visible, 50 is heavy.",
                elem_id="added",
            )
            button = gr.Button("Add noise and denoise", variant="primary", elem_id="try")
            gr.Examples(clean_examples(), upload, label="Or try an example")
        with gr.Column(scale=2):
            pair = before_after_slider("With noise / denoised", elem_id="tried")
            scores = gr.Markdown(elem_id="scores")

    def run(path: Path, level: float, progress: gr.Progress = gr.Progress()) -> Generator[tuple | None, None, None]:
        photo = open_photo(path)
        noisy = denoiser.add_noise(photo, level, seed=secrets.randbits(32))
        result = yield from report_progress(network(noisy), progress)
        folder = own_folder()
        shown = str(write_preview(noisy, folder, "noisy")), str(write_preview(result.clean, folder, "denoised"))
        before = denoiser.compare(noisy, photo)
        yield None
        table = score_table(before, denoiser.compare(result.clean, photo))
        levels = f"Noise added: {level:g}, estimated: {result.level:.1f}"
        yield shown, f"{table}\n\nHigher scores are better. {levels}. {photo.width}×{photo.height} pixels."

    callback = photo_callback(service.network, run)
    button.click(
        callback, [upload, strength], [pair, scores], show_progress_on=pair, api_visibility="private", **NETWORK
    )


def clean_examples() -> list[str]:
    """Copy photos that ship with Gradio into the folder of examples; return their paths."""
    return [str(shutil.copy(media.get_image(name), examples_folder())) for name in EXAMPLES]


def noisy_examples() -> list[str]:
    """Add noise to the same photos; return the paths. They are written anew at each start."""
    paths = []
    for name, level in EXAMPLES.items():
        photo = denoiser.open_image(media.get_image(name))
        path = examples_folder() / f"{Path(name).stem}-noise-{level}.png"
        paths.append(str(write_photo(denoiser.add_noise(photo, level), path)))
    return paths
