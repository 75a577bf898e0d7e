"""The tabs of the page: one photo, many photos, and a clean photo to see what the denoiser gains."""

from __future__ import annotations

import secrets
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
from gradio import media

import denoiser
from denoiser import MAX_LEVEL, Denoiser, DenoiserError

from .parts import (
    COMPARISON,
    RESIDUAL,
    VIEWS,
    Held,
    before_after,
    in_words,
    on_gpu,
    open_photo,
    own_folder,
    photo_input,
    plain_errors,
    preview,
    result_path,
    score_table,
    show,
    stoppable,
)

DEFAULT_LEVEL = 25
HOLD_SECONDS = 600  # a visitor's photo stays in memory for further changes
MAX_PHOTOS = 50  # at once
EXAMPLES = {"tower.jpg": 15, "cheetah.jpg": 25, "groot.jpeg": 40, "lion.jpg": 60}  # photos of Gradio's, noise to add
JPEG_SUFFIXES = (".jpg", ".jpeg")
FORMATS = {"Like the upload": None, "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif"}
PRESS = "() => document.querySelector('#{0} a, #{0} button, a#{0}, button#{0}').click()"  # what can't be seen
# On a phone the result is far below; its pictures are loaded, and move the rest down, once they are in view.
SHOW_RESULT = """async () => {
  const show = () => document.querySelector('#details').scrollIntoView({block: 'nearest'});
  show();
  await Promise.all([...document.querySelectorAll('#result img')].map(image => image.decode().catch(() => {})));
  show();
}"""


def noisy_tab(model: Denoiser) -> None:
    held = gr.State(time_to_live=HOLD_SECONDS)
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

    @on_gpu
    def run(
        path: str | None, auto: bool, level: float, amount: float, view: str, progress: gr.Progress = gr.Progress()
    ) -> Iterator:
        photo, started = open_photo(path), time.monotonic()
        with plain_errors():
            estimate = model.estimate_level(photo.pixels)
            steps = model.by_tile(photo, None if auto else level)
            clean = yield from stoppable(steps, progress, outputs=len(results))
            state = Held(photo, clean, Path(path), own_folder())
            shown = show(state, amount, view)
        found = f"about {estimate:.0f}, {in_words(estimate)}"
        used = f"Auto ({found})" if auto else f"{level:g} (Auto: {found})"
        text = f"Noise strength: {used}. {photo.width}×{photo.height} pixels, {time.monotonic() - started:.1f} s."
        slider = min(round(estimate), MAX_LEVEL) if auto else gr.skip()  # which may have moved on meanwhile
        yield state, *shown, text, auto, slider, gr.Button(interactive=True)

    def run_auto(
        path: str | None, level: float, amount: float, view: str, progress: gr.Progress = gr.Progress()
    ) -> Iterator:
        yield from run(path, True, level, amount, view, progress)

    def run_at_level(
        path: str | None, level: float, amount: float, view: str, progress: gr.Progress = gr.Progress()
    ) -> Iterator:
        yield from run(path, False, level, amount, view, progress)

    def show_again(state: Held | None, amount: float, view: str) -> tuple:
        return (gr.skip(), gr.skip()) if state is None else show(state, amount, view)

    def make_file(state: Held | None, amount: float, kind: str, quality: float, without_place: bool) -> str:
        if state is None:
            raise gr.Error("The photo is no longer held. Press Denoise again.", print_exception=False)
        with plain_errors():
            photo = denoiser.blend(state.photo, state.clean, amount / 100)
            path = result_path(state.upload, "denoised", FORMATS[kind])
            photo = photo.without_location() if without_place else photo
            denoiser.save_image(photo, path, quality=int(quality) if path.suffix in JPEG_SUFFIXES else None)
        return str(path)

    def forget() -> tuple:
        return None, gr.ImageSlider(None), gr.Image(None), "", gr.Button(interactive=False)

    results = [held, pair, residual, details, automatic, strength, save]
    busy = {"concurrency_id": "model", "show_progress_on": pair, "api_visibility": "private"}
    quick = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}
    runs = [
        upload.upload(run_auto, [upload, strength, amount, view], results, **busy),
        examples.load_input_event.then(run_auto, [upload, strength, amount, view], results, **busy),
        gr.on([start.click, automatic.input], run, [upload, automatic, strength, amount, view], results, **busy),
        strength.input(run_at_level, [upload, strength, amount, view], results, trigger_mode="always_last", **busy),
    ]
    for finished in runs[:2]:
        finished.success(None, js=SHOW_RESULT, api_visibility="private")
    stop.click(None, cancels=runs, queue=False, api_visibility="private")
    gr.on([amount.input, view.input], show_again, [held, amount, view], [pair, residual], concurrency_limit=4, **quick)
    upload.clear(forget, None, [held, pair, residual, details, save], queue=False, api_visibility="private")
    made = save.click(make_file, [held, amount, kind, quality, without_place], file, api_visibility="private")
    made.success(None, js=PRESS.format("file"), api_visibility="private")


def many_tab(model: Denoiser) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            uploads = gr.File(
                file_count="multiple", type="filepath", label=f"Up to {MAX_PHOTOS} noisy photos", elem_id="uploads"
            )
            start = gr.Button("Denoise all", variant="primary", elem_id="denoise-all")
            stop = gr.Button("Cancel", elem_id="cancel-all")
        with gr.Column(scale=2):
            gallery = gr.Gallery(label="Denoised", type="filepath", buttons=["fullscreen"], elem_id="gallery")
            summary = gr.Markdown(elem_id="report")
            archive = gr.DownloadButton("Download all as a zip", interactive=False, elem_id="zip")

    @on_gpu
    def run(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> Iterator:
        if not paths:
            raise gr.Error("Choose some photos first.", print_exception=False)
        if len(paths) > MAX_PHOTOS:
            raise gr.Error(
                f"These are {len(paths)} photos; up to {MAX_PHOTOS} are taken at once.", print_exception=False
            )
        files, previews, problems = [], [], []
        for number, path in enumerate(map(Path, paths)):
            progress((number, len(paths)), desc=path.name, unit="photos")
            try:
                photo = denoiser.open_image(path)
                clean = yield from stoppable(model.by_tile(photo), outputs=3)
                files.append(result_path(path, "denoised"))
                denoiser.save_image(clean, files[-1])
                previews.append(str(preview(clean, files[-1].parent, "preview")))
            except DenoiserError as error:
                problems.append(f"- {error}")
            yield previews, report(len(files), problems), gr.skip()
        zipped = own_folder() / "denoised.zip"
        with zipfile.ZipFile(zipped, "w") as made:  # photos don't get smaller by zipping
            for number, file in enumerate(files, start=1):
                taken = file.name in [other.name for other in files[: number - 1]]
                made.write(file, f"{number}-{file.name}" if taken else file.name)
        yield previews, report(len(files), problems), gr.DownloadButton(value=str(zipped), interactive=bool(files))

    running = start.click(
        run,
        uploads,
        [gallery, summary, archive],
        concurrency_id="model",
        show_progress_on=summary,
        api_visibility="private",
    )
    stop.click(None, cancels=running, queue=False, api_visibility="private")


def clean_tab(model: Denoiser) -> None:
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
            gr.Examples([media.get_image(name) for name in EXAMPLES], upload, label="Or pick one")
        with gr.Column(scale=2):
            pair = before_after("With noise / denoised", elem_id="tried")
            scores = gr.Markdown(elem_id="scores")

    @on_gpu
    def run(path: str | None, level: float, progress: gr.Progress = gr.Progress()) -> Iterator:
        photo = open_photo(path)
        with plain_errors():
            noisy = denoiser.add_noise(photo, level, seed=secrets.randbits(32))
            estimate = model.estimate_level(noisy.pixels)
            restored = yield from stoppable(model.by_tile(noisy), progress, outputs=2)
            folder = own_folder()
            shown = str(preview(noisy, folder, "noisy")), str(preview(restored, folder, "denoised"))
            table = score_table(denoiser.compare(noisy, photo), denoiser.compare(restored, photo))
        text = f"{table}\n\nNoise added: {level:g}, estimated: {estimate:.1f}. {photo.width}×{photo.height} pixels."
        yield shown, text

    button.click(
        run, [upload, strength], [pair, scores], concurrency_id="model", show_progress_on=pair, api_visibility="private"
    )


def noisy_examples() -> list[str]:
    """Photos that ship with Gradio, with noise; made anew at each start and copied by gr.Examples."""
    folder = Path(gr.utils.get_upload_folder(), "examples")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, level in EXAMPLES.items():
        photo = denoiser.open_image(media.get_image(name))
        paths.append(str(folder / f"{Path(name).stem}-noise-{level}.png"))
        denoiser.save_image(denoiser.add_noise(photo, level), paths[-1])
    return paths


def report(done: int, problems: list[str]) -> str:
    return "\n".join([f"{done} photos denoised.", *problems])
