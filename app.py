"""The web page: upload a photo, see it denoised, download the result.

Run it with `python app.py`. DENOISER_MODEL names a Hugging Face repository to take the weights from instead of the
bundled ones, and DENOISER_REVISION a branch, tag or commit of it. The modules of the page are in denoiser/page.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from concurrent import futures
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

import denoiser
from denoiser import Denoiser, DenoiserError, WeightsError
from denoiser.memory import release_memory, tune_allocator
from denoiser.page.callbacks import Service
from denoiser.page.clean_tab import clean_tab
from denoiser.page.display import escape_markdown
from denoiser.page.endpoints import add_endpoints
from denoiser.page.html_head import ICON, use_own_head
from denoiser.page.limits import MAX_FILE_BYTES, Limits, enforce_limits
from denoiser.page.many_tab import many_tab
from denoiser.page.noisy_tab import NoisyTab
from denoiser.page.samples import SAMPLE, make_samples
from denoiser.page.theme import CSS, SCRIPT, THEME
from denoiser.page.uploads import claim_folder, keep_words, room, sweep, sweep_seconds
from denoiser.weights import Weights, load_weights

TITLE = "Photo denoiser"
SUMMARY = "Removes the noise from photos. No settings needed."
INTRO = "Photos are processed on this server and deleted after {}."
MAX_WAITING = 32  # requests in Gradio's own queue, which is almost always empty; further ones are refused
MAX_SESSIONS = 256  # visitors whose settings are remembered, at up to some megabytes each
HUB_SECONDS = 10  # wait for the Hub; its client retries for 23 s


def load_model() -> tuple[Denoiser, str]:
    """Load the denoiser that the environment asks for.

    Returns it with a sentence for the page that says which weights are in use. If the requested weights can't be
    loaded within HUB_SECONDS, these are the bundled ones.
    """
    wanted = os.environ.get("DENOISER_MODEL", "").strip()
    revision = os.environ.get("DENOISER_REVISION", "").strip() or None
    problem = ""
    if wanted:
        loading: futures.Future[Weights] = futures.Future()
        threading.Thread(target=load_into, args=(loading, wanted, revision), daemon=True).start()
        try:
            weights = loading.result(HUB_SECONDS)
            where = f"{wanted} at {revision}" if revision else wanted
            licence = weights.license or "not stated"
            return Denoiser(weights), f"Weights: {where} (licence: {licence})."
        except WeightsError as error:
            problem = str(error)
        except futures.TimeoutError:  # another class before Python 3.11
            problem = (
                f"The Hub did not answer within {HUB_SECONDS} s. The download continues in the background; "
                "restart the app to use those weights."
            )
    bundled = denoiser.load()
    if problem:
        return bundled, f"⚠️ Using the bundled weights instead of {wanted}. {problem}"
    return bundled, f"Weights: the bundled {bundled.weights.source!r} (licence: {bundled.weights.license})."


def load_into(loading: futures.Future[Weights], source: str, revision: str | None) -> None:
    """Load weights and store them, or the exception, in a future."""
    try:
        loading.set_result(load_weights(source, revision))
    except Exception as error:
        loading.set_exception(error)


def build_page(model: Denoiser, notice: str) -> gr.Blocks:
    """Build the page for a denoiser. notice, shown at the bottom, says which weights it uses."""
    keep, _ = keep_words(), room()  # refuse bad settings now rather than at each request
    claim_folder()
    service, samples = Service(), make_samples(model)
    service.results.lasting[SAMPLE] = samples.result
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{SUMMARY} {INTRO.format(keep)}", elem_id="intro")
        with gr.Tab("One photo"):
            NoisyTab(page, model, service, samples)
        with gr.Tab("Many photos"):
            many_tab(model, service)
        with gr.Tab("Test it"):
            clean_tab(model, service, samples)
        gr.Markdown(escape_markdown(notice), elem_id="notice")
        add_endpoints(page, model, service)
    page.service = service
    enforce_limits(page)
    return page.queue(max_size=MAX_WAITING, api_open=False)


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve the page; the options go to Gradio's launch."""

    @contextlib.asynccontextmanager
    async def sweeping(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_sweeping(page.service))
        yield
        task.cancel()

    use_own_head(TITLE, SUMMARY)
    page.launch(
        theme=THEME,
        css_paths=CSS,
        js=SCRIPT.read_text(encoding="utf-8"),
        favicon_path=ICON,
        max_file_size=MAX_FILE_BYTES,
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,  # otherwise a Space takes another template, without our head
        state_session_capacity=MAX_SESSIONS,
        footer_links=["api", "settings"],
        app_kwargs={"middleware": [Middleware(Limits)], "lifespan": sweeping},
        **options,
    )


async def keep_sweeping(service: Service) -> None:
    """Delete old files and results at intervals, starting with files of earlier runs."""
    while True:
        await asyncio.to_thread(sweep)
        service.results.evict()
        await asyncio.sleep(sweep_seconds())


if __name__ == "__main__":
    tune_allocator()
    if "SPACE_ID" in os.environ:  # all visitors come through the Space's proxy, which names their addresses
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        page = build_page(*load_model())
        release_memory()
        launch(page)
    except DenoiserError as error:
        sys.exit(f"error: {error}")
