"""The tab of the page for many photos: they come back in one zip."""

from __future__ import annotations

import asyncio
import contextlib
import html
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

from denoiser import Denoiser, DenoiserError, ImageError

from .parts import (
    NETWORK,
    SKIP,
    Service,
    followed,
    measured,
    network_of,
    opened,
    plain_text,
    preview,
    result_path,
    written,
)
from .uploads import own_folder, sweep

MAX_PHOTOS = 50  # at once
MAX_MEGAPIXELS = 600  # all together: fifty of a phone's 12


def many_tab(model: Denoiser, service: Service) -> None:
    network = network_of(model)
    with gr.Row():
        with gr.Column(scale=1):
            uploads = gr.File(
                file_count="multiple", type="filepath", label=f"Up to {MAX_PHOTOS} noisy photos", elem_id="uploads"
            )
            uploads.preprocess = lambda payload: payload and [file.path for file in payload]  # Gradio's makes copies
            start = gr.Button("Denoise all", variant="primary", elem_id="denoise-all")
            stop = gr.Button("Cancel", elem_id="cancel-all")
        with gr.Column(scale=2):
            gallery = gr.Gallery(label="Denoised", type="filepath", buttons=["fullscreen"], elem_id="gallery")
            summary = gr.Markdown(elem_id="report")
            archive = gr.DownloadButton("Download all as a zip", interactive=False, elem_id="zip")

    def denoise_one(path: Path, times: int, results: Archive) -> Iterator[str | None]:
        photo = opened(path)
        result = yield from followed(network(photo, estimate=False))
        file = written(result.clean, result_path(path, "denoised"))
        for _ in range(times):
            results.add(file)
        file.unlink()
        yield str(preview(result.clean, file.parent, "preview"))
        for note in photo.notes:
            gr.Warning(html.escape(note))

    async def run(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> AsyncIterator:
        photos, problems = await asyncio.to_thread(checked, paths)
        results, previews, done = Archive(), [], 0
        for path, (times, pixels) in photos.items():
            progress((done, len(paths)), desc=path.name, unit="photos")
            try:
                steps = contextlib.aclosing(service.network.steps(denoise_one(path, times, results)))
                async with service.network.turn(pixels), steps as updates:  # between two photos it is others' turn
                    async for update in updates:
                        previews += [update] * (update is not None)
                        yield SKIP
                done += times
            except (DenoiserError, gr.Error) as error:
                problems.append(getattr(error, "message", str(error)))
            yield previews, report(done, problems), SKIP
        zipped = results.close()
        yield previews, report(done, problems), gr.DownloadButton(value=zipped, interactive=done > 0)

    running = start.click(
        run, uploads, [gallery, summary, archive], show_progress_on=summary, api_visibility="private", **NETWORK
    )
    stop.click(None, cancels=running, queue=False, api_visibility="private")


def checked(names: list[Any] | None) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """The photos that can be read: how often each is listed, and its pixels; and what is wrong with the others.

    Raises gr.Error where there are none or too many.
    """
    if not names:
        raise gr.Error("Choose some photos first.", print_exception=False)
    if len(names) > MAX_PHOTOS:
        raise gr.Error(f"These are {len(names)} photos; up to {MAX_PHOTOS} are taken at once.", print_exception=False)
    photos, problems = {}, []
    for name, times in Counter(names).items():
        try:
            path, pixels = measured(name)
            photos[path] = times, pixels
        except ImageError as error:
            problems.append(str(error))
    total = sum(times * pixels for times, pixels in photos.values()) / 1e6
    if total > MAX_MEGAPIXELS:
        raise gr.Error(
            f"These photos have {total:.0f} megapixels together; up to {MAX_MEGAPIXELS} are taken at once.",
            print_exception=False,
        )
    return photos, problems


class Archive:
    """A zip of photos that grows one by one, each under a name of its own."""

    def __init__(self) -> None:
        self.path = own_folder() / "denoised.zip"
        self._zip = zipfile.ZipFile(self.path, "w")  # photos don't get smaller by zipping
        self._names: list[str] = []

    def add(self, file: Path) -> None:
        numbered = (f"{number}-{file.name}" for number in count(len(self._names) + 1))
        names = [file.name, *(next(numbered) for _ in range(len(self._names) + 1))]
        taken = {name.lower() for name in self._names}  # as folders take them for on Windows and macOS
        self._names.append(next(name for name in names if name.lower() not in taken))
        self._zip.write(file, self._names[-1])
        sweep()

    def close(self) -> str:
        """Complete the file and return its path. Raises gr.Error where it had to make room for others."""
        self._zip.close()
        if not self.path.exists():
            raise gr.Error("There is not enough room for all of these photos. Take fewer at once.")
        return str(self.path)


def report(done: int, problems: list[str]) -> str:
    return "\n".join([f"{done} photos denoised.", *(f"- {plain_text(problem)}" for problem in problems)])
