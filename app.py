"""The page: drop a photo, see it clean, keep the result.

Run it with `python app.py`. DENOISER_MODEL takes the weights from a Hugging Face repository instead of the bundled ones
(DENOISER_REVISION pins a branch, tag or commit of it). Its parts are in denoiser/page.
"""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

import denoiser
from denoiser import Denoiser, WeightsError
from denoiser.page.endpoints import add_endpoints
from denoiser.page.look import CSS, PAGE_SCRIPT, THEME
from denoiser.page.tabs import clean_tab, many_tab, noisy_tab
from denoiser.weights import BUNDLED_PHOTO

TITLE = "Photo denoiser"
INTRO = (
    "Drop a noisy photo, get it back clean. Photos are processed on the machine that serves this page and deleted "
    "after an hour."
)
KEEP_SECONDS = 3600  # uploads and results are deleted after this long
MAX_WAITING = 32  # visitors in the queue; a further one is asked to come back
MAX_UPLOAD = "200mb"


def load_model() -> tuple[Denoiser, str]:
    """The denoiser that the environment asks for, and a sentence for the page on which weights it runs."""
    wanted = os.environ.get("DENOISER_MODEL", "").strip()
    revision = os.environ.get("DENOISER_REVISION", "").strip() or None
    if not wanted:
        return denoiser.load(BUNDLED_PHOTO), "Running on the bundled weights."
    try:
        model = denoiser.load(wanted, revision)
    except WeightsError as error:
        return denoiser.load(BUNDLED_PHOTO), f"⚠️ Running on the bundled weights instead of {wanted}: {error}"
    return model, f"Running on {wanted}" + (f" at {revision}." if revision else ".")


def build_page(model: Denoiser, notice: str) -> gr.Blocks:
    """The page for a denoiser, with a notice on the weights it runs on.

    Where Gaussian noise is added to a clean photo, the weights for just that do the rest.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gr.Markdown(f"# {TITLE}\n{INTRO}")
        with gr.Tab("My photo is noisy"):
            noisy_tab(model)
        with gr.Tab("Many photos"):
            many_tab(model)
        with gr.Tab("Try it on a clean photo"):
            clean_tab(denoiser.load())
        gr.Markdown(notice, elem_id="notice")
        add_endpoints(model)
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve the page; the options are those of Gradio's launch."""
    footer = ["api", "settings"]
    page.launch(
        theme=THEME,
        css=CSS,
        js=PAGE_SCRIPT,
        max_file_size=MAX_UPLOAD,
        run_history=False,
        footer_links=footer,
        **options,
    )


if __name__ == "__main__":
    launch(build_page(*load_model()))
