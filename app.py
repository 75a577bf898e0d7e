"""The page: drop a photo, see it clean, keep the result.

Run it with `python app.py`. DENOISER_MODEL takes the weights from a Hugging Face repository instead of the bundled ones
(DENOISER_REVISION pins a branch, tag or commit of it). Its parts are in denoiser/page.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
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
from denoiser.page.batch import many_tab
from denoiser.page.endpoints import add_endpoints
from denoiser.page.limits import MAX_FILE_BYTES, Limits, hold_to_limits
from denoiser.page.parts import Service, plain_text
from denoiser.page.tabs import clean_tab, noisy_tab
from denoiser.page.theme import CSS, SCRIPT, THEME
from denoiser.page.uploads import claim_folder, keep_seconds, room, sweep, sweep_seconds
from denoiser.weights import load_weights

TITLE = "Photo denoiser"
INTRO = (
    "Drop a noisy photo, get it back clean. Photos are processed on the machine that serves this page and deleted "
    "after {}."
)
MAX_WAITING = 32  # requests at Gradio's door, where they hardly ever wait; a further one is asked to come back
MAX_SESSIONS = 256  # visitors whose settings are remembered; each can take some megabytes
HUB_SECONDS = 10  # the client itself tries a Hub that is down for 23


def load_model() -> tuple[Denoiser, str]:
    """The denoiser that the environment asks for, and a sentence for the page on which weights it runs.

    Weights that can't be had within HUB_SECONDS leave the page on the bundled ones.
    """
    wanted = os.environ.get("DENOISER_MODEL", "").strip()
    revision = os.environ.get("DENOISER_REVISION", "").strip() or None
    problem = ""
    if wanted:
        loading = futures.Future()
        threading.Thread(target=settle, args=(loading, wanted, revision), daemon=True).start()
        try:
            weights = loading.result(HUB_SECONDS)
            where = f"{wanted} at {revision}" if revision else wanted
            return Denoiser(weights), f"Running on {where}, under {weights.license or 'a licence it does not name'}."
        except WeightsError as error:
            problem = str(error)
        except TimeoutError:
            problem = f"The Hub took over {HUB_SECONDS} s. They are fetched on; start the page again to use them."
    bundled = denoiser.load()
    if problem:
        return bundled, f"⚠️ Running on the bundled weights instead of {wanted}: {problem}"
    return bundled, f"Running on the bundled weights {bundled.weights.source!r}, under {bundled.weights.license}."


def settle(loading: futures.Future, source: str, revision: str | None) -> None:
    try:
        loading.set_result(load_weights(source, revision))
    except Exception as error:
        loading.set_exception(error)


def build_page(model: Denoiser, notice: str) -> gr.Blocks:
    """Build the page for a denoiser, with a notice on the weights it runs on."""
    keep, _ = keep_seconds(), room()  # a bad setting is refused here, not by each request
    claim_folder()
    service = Service()
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{INTRO.format(duration(keep))}")
        with gr.Tab("My photo is noisy"):
            noisy_tab(model, service)
        with gr.Tab("Many photos"):
            many_tab(model, service)
        with gr.Tab("Try it on a clean photo"):
            clean_tab(model, service)
        gr.Markdown(plain_text(notice), elem_id="notice")
        add_endpoints(model, service)
    page.service = service
    hold_to_limits(page)
    return page.queue(max_size=MAX_WAITING, api_open=False)


def duration(seconds: float) -> str:
    return "an hour" if seconds == 3600 else f"{seconds / 60:g} minutes"


def launch(page: gr.Blocks, **options: Any) -> None:
    """Serve the page; the options are those of Gradio's launch."""

    @contextlib.asynccontextmanager
    async def sweeping(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(keep_sweeping(page.service))
        yield
        task.cancel()

    page.launch(
        theme=THEME,
        css_paths=CSS,
        js=SCRIPT.read_text(encoding="utf-8"),
        max_file_size=MAX_FILE_BYTES,
        run_history=False,
        enable_monitoring=False,
        state_session_capacity=MAX_SESSIONS,
        footer_links=["api", "settings"],
        app_kwargs={"middleware": [Middleware(Limits)], "lifespan": sweeping},
        **options,
    )


async def keep_sweeping(service: Service) -> None:
    """Delete what is too old, now and then, starting with what earlier runs of the page left."""
    while True:
        await asyncio.to_thread(sweep)
        service.shelf.clear_out()
        await asyncio.sleep(sweep_seconds())


def use_memory_well() -> None:
    """On Linux, let PyTorch have huge pages, and let all threads share two heaps, so that memory stays flat.

    glibc's own choice, up to eight heaps a core, keeps what was freed in each of them.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    arena_max = -8  # M_ARENA_MAX in malloc.h
    with contextlib.suppress(OSError, AttributeError):  # no glibc here
        ctypes.CDLL("libc.so.6").mallopt(arena_max, 2)


if __name__ == "__main__":
    use_memory_well()
    if "SPACE_ID" in os.environ:  # on a Space all visitors come through its proxy, which says where they are
        os.environ.setdefault("FORWARDED_ALLOW_IPS", "*")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to tidy up as after Ctrl-C
    try:
        launch(build_page(*load_model()))
    except DenoiserError as error:
        sys.exit(f"error: {error}")
