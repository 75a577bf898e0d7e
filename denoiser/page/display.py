"""Components, previews, result files and texts that several tabs show."""

from __future__ import annotations

import html
import re
from pathlib import Path

import gradio as gr

import denoiser
from denoiser import Photo
from denoiser.image_io import WRITE_FORMATS

from .theme import ACTUAL_SIZE_CLASS
from .uploads import sweep

COMPARISON, ACTUAL_SIZE, RESIDUAL = VIEWS = ("Before / after", "Actual size", "What was removed")
DEFAULT_LEVEL = 25
# Descriptions of noise levels, each for levels below its key.
NOISE_WORDS = {3: "hardly any", 10: "a little", 22: "moderate", 45: "strong", 1000: "very strong"}
FORMATS = {"Like the upload": None, "JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "TIFF": ".tif"}
JPEG_SUFFIXES = (".jpg", ".jpeg")
CLICK = "() => document.querySelector('#{0} a, #{0} button, a#{0}, button#{0}').click()"  # works on hidden buttons
SHOW = "() => window.show('{0}')"  # scroll to it; in page.js


def photo_button(label: str, elem_id: str) -> gr.UploadButton:
    """Create an upload that passes on the file as it is; page.js lets it take drops and pastes anywhere on the page.

    gr.Image would refuse formats that the browser can't show.
    """
    button = gr.UploadButton(label, variant="primary", elem_id=elem_id, elem_classes="upload")
    button.preprocess = lambda payload: None if payload is None else payload.path
    gr.Markdown("or drop or paste it anywhere", elem_classes="hint")
    return button


def hidden_field(value: str) -> gr.Textbox:
    """Create a field that is not shown. The browser keeps its value; gr.State would lose it if the server restarts."""
    return gr.Textbox(value, visible="hidden")


def before_after_slider(
    label: str, elem_id: str, value: tuple[str, str] | None = None, visible: bool = True
) -> gr.ImageSlider:
    return gr.ImageSlider(
        value,
        type="filepath",
        interactive=False,
        visible=visible,
        label=label,
        show_label=False,
        elem_id=elem_id,
        elem_classes="compared",
        buttons=["fullscreen"],
    )


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


def strength_controls(level: float = DEFAULT_LEVEL, suffix: str = "") -> tuple[gr.Checkbox, gr.Slider]:
    """Create the box for Auto and the slider for the noise strength; moving the slider unticks the box."""
    automatic = gr.Checkbox(True, label="Auto: detect the noise strength", elem_id=f"auto{suffix}")
    strength = gr.Slider(
        0,
        denoiser.MAX_LEVEL,
        level,
        step=1,
        label="Noise strength",
        elem_id=f"strength{suffix}",
        elem_classes="strength",
    )
    strength.input(None, None, automatic, js="() => false", show_progress="hidden", api_visibility="private")
    return automatic, strength


def download_button() -> tuple[gr.Button, gr.DownloadButton]:
    """Create the visible button, and the hidden one that holds the file once it is made."""
    save = gr.Button("Download", variant="primary", min_width=160, scale=0, elem_id="download")
    return save, gr.DownloadButton("File", visible="hidden", elem_id="file")


def file_options(suffix: str = "") -> list[gr.components.Component]:
    """Create the options of a result file: format, JPEG quality and removal of the location; see write_result."""
    with gr.Accordion("File options", open=False, elem_id=f"options{suffix}"):
        with gr.Row():
            kind = gr.Dropdown(list(FORMATS), label="Format", min_width=160, elem_id=f"format{suffix}")
            quality = gr.Slider(1, 100, 95, step=1, label="JPEG quality", min_width=160, elem_id=f"quality{suffix}")
        without_location = gr.Checkbox(False, label="Remove the location from the file", elem_id=f"location{suffix}")
    return [kind, quality, without_location]


def show_pair(
    before: Photo, after: Photo | None, folder: Path, amount: float, view: str
) -> tuple[gr.ImageSlider, gr.Image]:
    """Return updates of the comparison slider and the residual picture for one of VIEWS; amount is in percent.

    While there is no `after`, both sides show `before`. The previews are written into the folder, which is for these
    two photos alone.
    """
    percent = round(amount)  # each whole percentage has its own preview files
    mixed = before if after is None else denoiser.blend(before, after, percent / 100)
    if view == RESIDUAL:
        path = write_preview(denoiser.residual(before, mixed), folder, f"residual-{percent}")
        return gr.ImageSlider(visible=False), gr.Image(str(path), visible=True)
    first = write_preview(before, folder, "before")
    second = first if after is None else write_preview(mixed, folder, f"after-{percent}")
    css_classes = ["compared", *[ACTUAL_SIZE_CLASS] * (view == ACTUAL_SIZE), *["waiting"] * (after is None)]
    return gr.ImageSlider((str(first), str(second)), visible=True, elem_classes=css_classes), gr.Image(visible=False)


def write_preview(photo: Photo, folder: Path, name: str) -> Path:
    """Write a photo for display: as JPEG, which is fast and accurate enough at 4:4:4, or as PNG if it has alpha."""
    return write_photo(photo, folder / (name + (".jpg" if photo.alpha is None else ".png")), warn=False)


def write_photo(photo: Photo, path: Path, quality: int | None = None, warn: bool = True) -> Path:
    """Write a photo into the upload folder, unless the file exists, and return its path.

    The oldest files are deleted if room is short. If `warn` is set, the page shows what the format could not store.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        lost = denoiser.save_image(photo, path, quality=quality)
        for note in lost if warn else ():
            gr.Warning(html.escape(note))
        sweep()
    return path


def write_result(photo: Photo, path: Path, quality: float, without_location: bool) -> Path:
    """Write a result as write_photo does, with the choices of file_options; return its path."""
    photo = photo.without_location() if without_location else photo
    return write_photo(photo, path, round(quality) if path.suffix in JPEG_SUFFIXES else None)


def result_name(upload: Path, suffix: str, kind: str = "Like the upload") -> str:
    """Return the file name of a result; kind is one of FORMATS.

    A format that can't be written becomes PNG, except HEIC, the format of phone cameras, which becomes JPEG.
    """
    own = upload.suffix.lower()
    like_upload = own if own in WRITE_FORMATS else ".jpg" if own in (".heic", ".heif", ".hif") else ".png"
    return f"{upload.stem}-{suffix}{FORMATS[kind] or like_upload}"


def escape_markdown(text: str) -> str:
    """Escape outside text for a Markdown component, so that nothing in it is markup, a link or a picture."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def describe_level(level: float) -> str:
    return next(words for limit, words in NOISE_WORDS.items() if level < limit)


def describe_result(photo: Photo, found: float, told: float | None = None) -> str:
    """Return a sentence, in Markdown, about the noise level that was found and the one that was told, if any."""
    words = f"about {found:.0f}, {describe_level(found)}"
    used = f"Auto ({words})" if told is None else f"{told:g} (Auto: {words})"
    notes = "".join(f" {escape_markdown(note)}" for note in photo.notes)
    return f"Noise strength: {used}. {photo.width}×{photo.height} pixels.{notes}"


def score_table(before: dict[str, float], after: dict[str, float]) -> str:
    """Return a Markdown table of the scores before and after denoising, each as from denoiser.compare."""
    lines = ["| | with noise | denoised |", "|---|---|---|"]
    if "psnr" in before:
        lines.append(f"| PSNR | {before['psnr']:.2f} dB | {after['psnr']:.2f} dB |")
    if "ssim" in before:
        lines.append(f"| SSIM | {before['ssim']:.3f} | {after['ssim']:.3f} |")
    return "\n".join(lines)
