"""The tab for many photos, which come back one by one and in a zip."""

from __future__ import annotations

import asyncio
import contextlib
import html
import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import gradio as gr

from denoiser import Denoiser, DenoiserError

from .batch import LOST, MAX_PHOTOS, Batch, check_photos, kept, zip_files
from .callbacks import NETWORK, QUICK, SKIP, Service, network_runner, open_photo
from .display import (
    CLICK,
    SHOW,
    before_after_slider,
    describe_level,
    file_options,
    result_name,
    strength_controls,
    write_preview,
    write_result,
)
from .scheduler import NewestRuns, Scheduler, until
from .uploads import own_folder


def many_tab(model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for many photos."""
    newest, batch = NewestRuns(), gr.State()
    with gr.Row(elem_classes="work"):
        with gr.Column(elem_classes="choose", min_width=0):
            label = f"Up to {MAX_PHOTOS} noisy photos"
            uploads = gr.File(file_count="multiple", type="filepath", label=label, height=180, elem_id="uploads")
            # Gradio's own preprocessing copies every file.
            uploads.preprocess = lambda payload: payload and [file.path for file in payload]
            with gr.Row():
                start = gr.Button("Denoise all", variant="primary", elem_id="denoise-all", min_width=80)
                stop = gr.Button("Cancel", elem_id="cancel-all", min_width=80)
        with gr.Column(elem_classes="picture", min_width=0):
            says = gr.Markdown("The photos come back here, one by one.", elem_id="summary", elem_classes="says")
            report = gr.Markdown(max_height=200, elem_id="report")
            zip_all = gr.Button("Download all as a zip", variant="primary", interactive=False, elem_id="zip")
            archive = gr.DownloadButton("Zip", visible="hidden", elem_id="archive")
            gallery = gr.Gallery(
                label="Choose one to compare",
                type="filepath",
                allow_preview=False,
                columns=5,
                height=210,
                buttons=[],
                elem_id="gallery",
            )
            pair = before_after_slider("Before / after", elem_id="chosen", visible=False)
            files = gr.File(label="Results", file_count="multiple", interactive=False, visible=False, elem_id="files")
        with gr.Column(elem_classes="settings", min_width=0):
            automatic, strength = strength_controls(suffix="-all")
            options = file_options("-all")

    async def cancel() -> None:
        await newest.stop()

    run = batch_callback(model, service.network, newest)
    outputs = [gallery, says, report, files, batch, zip_all, pair]
    inputs = [uploads, automatic, strength, *options]
    start.click(run, inputs, outputs, show_progress_on=says, api_visibility="private", **NETWORK)
    stop.click(cancel, None, None, queue=False, api_visibility="private")
    chosen = gallery.select(compare_chosen, batch, pair, show_progress="hidden", api_visibility="private", **QUICK)
    chosen.success(None, js=SHOW.format("chosen"), api_visibility="private")
    zipped = zip_all.click(zip_files, batch, archive, api_visibility="private", **QUICK)
    zipped.success(None, js=CLICK.format("archive"), api_visibility="private")


def compare_chosen(batch: Batch | None, chosen: gr.SelectData) -> gr.ImageSlider:
    """Show the photo that was clicked in the gallery before and after."""
    if batch is None or chosen.index not in range(len(batch.previews)):
        raise gr.Error(LOST, print_exception=False)
    return gr.ImageSlider(kept(batch.previews[chosen.index]), visible=True)


def batch_callback(model: Denoiser, scheduler: Scheduler, newest: NewestRuns) -> Callable[..., Any]:
    """Return the callback that denoises the photos of a batch, each in a turn of its own: others come between."""
    network = network_runner(model)

    def denoise_one(
        path: Path, done: Batch, level: float | None, times: int, *options: Any
    ) -> Generator[str, None, None]:
        kind, quality, without_location = options
        photo, folder = open_photo(path), own_folder()
        for result in network(photo, level):
            yield f"{100 * result[0] // result[1]} %" if isinstance(result, tuple) else "being denoised"
        file = write_result(result.clean, folder / result_name(path, "denoised", kind), quality, without_location)
        before, after = write_preview(photo, folder, "before"), write_preview(result.clean, folder, "after")
        done.add(file, (str(before), str(after)), result.level, times)
        for note in photo.notes:
            gr.Warning(html.escape(note))
        yield f"done; noise about {result.level:.0f}, {describe_level(result.level)}"

    async def run(paths: list[str] | None, auto: bool, level: float, *options: Any) -> AsyncGenerator[tuple, None]:
        async with newest.run() as stopped:
            photos, problems = await asyncio.to_thread(check_photos, paths)
            done = Batch(own_folder(), dict.fromkeys(photos, "waiting") | problems)
            done.touch(photos)
            yield *show(done), gr.ImageSlider(visible=False)
            started, pixels_done, pixels_all = time.monotonic(), 0, sum(n * size for n, size in photos.values())
            for number, (path, (times, pixels)) in enumerate(photos.items()):
                seconds = time.monotonic() - started
                left = f", about {seconds * (pixels_all / pixels_done - 1):.0f} s left" if pixels_done else ""
                done.note = f"Photo {number + 1} of {len(photos)} is next{left}."
                work = denoise_one(path, done, None if auto else level, times, *options)
                try:
                    async with contextlib.aclosing(until(stopped, scheduler.run(work, pixels))) as states:
                        async for state in states:
                            done.states[path] = state or "being denoised"
                            yield SKIP, done.summary(), done.report(), *[SKIP] * 4
                except (DenoiserError, gr.Error) as error:
                    done.states[path] = getattr(error, "message", str(error))
                if stopped.is_set():
                    done.states |= dict.fromkeys(list(photos)[number:], "cancelled")
                    break
                pixels_done += times * pixels
                done.touch(photos)
                yield *show(done), SKIP
            done.note = ""
            yield *show(done), SKIP

    return run


def show(batch: Batch) -> tuple:
    """Return updates of the gallery, the summary, the report, the files, the state and the button for the zip."""
    files, some = [str(file) for file in batch.files], bool(batch.files)
    texts = batch.summary(), batch.report()
    return batch.gallery(), *texts, gr.File(files, visible=some), batch, gr.Button(interactive=some)
