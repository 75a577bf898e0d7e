"""The page: drop a photo, see it clean, keep the result.

Run it with `python app.py`. DENOISER_MODEL takes the weights from a Hugging Face repository instead of the bundled ones
(DENOISER_REVISION pins a branch, tag or commit of it). Widgets and callbacks only: the work is done by `denoiser`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import media

import denoiser
from denoiser import MAX_LEVEL, Denoiser, DenoiserError, Photo, WeightsError
from denoiser.image_io import WRITE_FORMATS

TITLE = "Photo denoiser"
INTRO = (
    "Removes the noise from photos. You need not know how strong it is: **Auto** estimates it. "
    "Photos are processed on the machine that serves this page and deleted after an hour."
)
DEFAULT_LEVEL = 25
KEEP_SECONDS = 3600  # uploads and results are deleted after this long
MAX_WAITING = 32  # visitors in the queue; a further one is asked to come back
MAX_UPLOAD = "200mb"
EXAMPLES = {"tower.jpg": 15, "cheetah.jpg": 25, "groot.jpeg": 40, "lion.jpg": 60}  # photos of Gradio's, noise to add

THEME = gr.themes.Default(
    primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(  # enough contrast for WCAG AA in both modes, and no font from anywhere
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_600",
    button_primary_text_color="white",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    color_accent="*primary_700",
)


CSS = ".dark { --color-accent: var(--primary-400) !important; }"  # the theme has one accent for both modes


def load_model() -> tuple[Denoiser, str]:
    """The denoiser that the environment asks for, and a sentence for the page on which weights it runs."""
    wanted = os.environ.get("DENOISER_MODEL", "").strip()
    revision = os.environ.get("DENOISER_REVISION", "").strip() or None
    if not wanted:
        return denoiser.load(), "Running on the bundled weights."
    try:
        model = denoiser.load(wanted, revision)
    except WeightsError as error:
        return denoiser.load(), f"⚠️ Running on the bundled weights instead of {wanted}: {error}"
    return model, f"Running on {wanted}" + (f" at {revision}." if revision else ".")


def build_page(model: Denoiser, notice: str) -> gr.Blocks:
    """The page for a denoiser, with a notice on the weights it runs on."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        with gr.Tab("My photo is noisy"):
            _noisy_tab(model)
        with gr.Tab("Try it on a clean photo"):
            _clean_tab(model)
        gr.Markdown(notice, elem_id="notice")
        _add_endpoint(model)
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _noisy_tab(model: Denoiser) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            upload = _photo_input("Your noisy photo", elem_id="noisy")
            automatic = gr.Checkbox(True, label="Auto: estimate the noise strength", elem_id="auto")
            strength = gr.Slider(
                0,
                MAX_LEVEL,
                DEFAULT_LEVEL,
                step=1,
                label="Noise strength",
                info="Move it to remove more or less than Auto does; 0 leaves the photo as it is.",
                elem_id="strength",
            )
            button = gr.Button("Denoise", variant="primary", elem_id="denoise")
            gr.Examples(_noisy_examples(), upload, label="Or pick one with noise added", elem_id="examples-noisy")
        with gr.Column(scale=2):
            pair = _before_after("Before / after", elem_id="result")
            details = gr.Markdown(elem_id="details")
            download = gr.DownloadButton("Download", interactive=False, elem_id="download")

    def run(path: str | None, auto: bool, level: float, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        photo = _open(path)
        with _plain_errors():
            estimate = model.estimate_level(photo.pixels)
            clean = model(photo, None if auto else level, _tile_counter(progress))
            pair, file = _show(photo, clean, Path(path), "denoised")
        used = f"Auto (about {estimate:.0f})" if auto else f"{level:g} (Auto: about {estimate:.0f})"
        text = f"Noise strength: {used}. {photo.width}×{photo.height} pixels."
        shown = min(round(estimate), MAX_LEVEL) if auto else level
        return pair, text, gr.DownloadButton(value=file, interactive=True), shown

    strength.input(lambda: False, None, automatic, show_progress="hidden", queue=False, api_visibility="private")
    button.click(
        run,
        [upload, automatic, strength],
        [pair, details, download, strength],
        concurrency_id="model",
        show_progress_on=pair,
        api_visibility="private",
    )


def _clean_tab(model: Denoiser) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            upload = _photo_input("A clean photo", elem_id="clean")
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
            pair = _before_after("With noise / denoised", elem_id="tried")
            scores = gr.Markdown(elem_id="scores")
            download = gr.DownloadButton("Download", interactive=False, elem_id="download-tried")

    def run(path: str | None, level: float, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        photo = _open(path)
        with _plain_errors():
            noisy = denoiser.add_noise(photo, level, seed=secrets.randbits(32))
            estimate = model.estimate_level(noisy.pixels)
            restored = model(noisy, None, _tile_counter(progress))
            pair, file = _show(noisy, restored, Path(path), "denoised")
            table = _score_table(denoiser.compare(noisy, photo), denoiser.compare(restored, photo))
        text = f"{table}\n\nNoise added: {level:g}, estimated: {estimate:.1f}. {photo.width}×{photo.height} pixels."
        return pair, text, gr.DownloadButton(value=file, interactive=True)

    button.click(
        run,
        [upload, strength],
        [pair, scores, download],
        concurrency_id="model",
        show_progress_on=pair,
        api_visibility="private",
    )


def _add_endpoint(model: Denoiser) -> None:
    def denoise(photo: gr.FileData, level: float | None = None) -> gr.FileData:
        """Remove the noise from a photo.

        Args:
            photo: the noisy photo: JPEG, PNG, WebP, TIFF, BMP or AVIF
            level: strength of the noise, 0 to 100; left out, it is estimated
        """
        path = Path(photo["path"])
        noisy = _open(path)
        with _plain_errors():
            file = _result_path(path, "denoised")
            denoiser.save_image(model(noisy, level), file)
        return gr.FileData(path=str(file))

    gr.api(denoise, api_name="denoise", concurrency_id="model")


def _noisy_examples() -> list[str]:
    """Photos that ship with Gradio, with noise; made anew at each start and copied by gr.Examples."""
    folder = Path(gr.utils.get_upload_folder(), "examples")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, level in EXAMPLES.items():
        photo = denoiser.open_image(media.get_image(name))
        paths.append(str(folder / f"{Path(name).stem}-noise-{level}.png"))
        denoiser.save_image(denoiser.add_noise(photo, level), paths[-1])
    return paths


def _photo_input(label: str, elem_id: str) -> gr.Image:
    """An upload that hands over the file as it came: Gradio's own decoding would lose depth, alpha and profile."""
    image = gr.Image(
        type="filepath", image_mode=None, sources=["upload", "clipboard", "webcam"], label=label, elem_id=elem_id
    )
    image.preprocess = lambda payload: None if payload is None else payload.path
    return image


def _before_after(label: str, elem_id: str) -> gr.ImageSlider:
    return gr.ImageSlider(type="filepath", interactive=False, label=label, elem_id=elem_id, buttons=["fullscreen"])


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """What the library refuses is shown to the visitor in its own words, without a traceback in the log."""
    try:
        yield
    except DenoiserError as error:
        raise gr.Error(str(error), print_exception=False) from error


def _open(path: str | Path | None) -> Photo:
    if not path:
        raise gr.Error("Choose a photo first.", print_exception=False)
    with _plain_errors():
        return denoiser.open_image(path)


def _tile_counter(progress: gr.Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress((done, total), desc="Denoising", unit="tiles")


def _show(before: Photo, after: Photo, upload: Path, suffix: str) -> tuple[tuple[str, str], str]:
    """Write the before/after pair for the page and the full-size file to download; returns their paths."""
    preview = ".jpg" if before.alpha is None else ".png"
    file = _result_path(upload, suffix)
    pair = file.with_name("before" + preview), file.with_name("after" + preview)
    for photo, path in ((before, pair[0]), (after, pair[1]), (after, file)):
        denoiser.save_image(photo, path)
    return (str(pair[0]), str(pair[1])), str(file)


def _result_path(upload: Path, suffix: str) -> Path:
    """Where the result of an upload goes: a folder of its own in Gradio's cache, in the upload's format."""
    kind = upload.suffix.lower() if upload.suffix.lower() in WRITE_FORMATS else ".png"
    folder = Path(gr.utils.get_upload_folder(), secrets.token_hex(16))
    folder.mkdir(parents=True)
    return folder / f"{upload.stem}-{suffix}{kind}"


def _score_table(before: dict[str, float], after: dict[str, float]) -> str:
    lines = ["| | with noise | denoised |", "|---|---|---|"]
    if "psnr" in before:
        lines.append(f"| PSNR | {before['psnr']:.2f} dB | {after['psnr']:.2f} dB |")
    if "ssim" in before:
        lines.append(f"| SSIM | {before['ssim']:.3f} | {after['ssim']:.3f} |")
    return "\n".join(lines)


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve the page; the options are those of Gradio's launch."""
    footer = ["api", "settings"]
    page.launch(theme=THEME, css=CSS, max_file_size=MAX_UPLOAD, run_history=False, footer_links=footer, **options)


if __name__ == "__main__":
    launch(build_page(*load_model()))
