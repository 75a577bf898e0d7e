"""The tab for many photos, which come back in one zip."""

from __future__ import annotations

import asyncio
import contextlib
import html
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Generator
from itertools import count
from pathlib import Path
from typing import Any

import gradio as gr

from denoiser import Denoiser, DenoiserError, ImageError

from .callbacks import NETWORK, SKIP, Service, find_upload, network_runner, open_photo, report_progress
from .display import escape_markdown, result_path, write_photo, write_preview
from .uploads import own_folder, sweep

MAX_PHOTOS = 50  # per batch
MAX_MEGAPIXELS = 600  # per batch: fifty phone photos of 12


def many_tab(model: Denoiser, service: Service) -> None:
    """Add the components and callbacks of the tab for many photos."""
    network = network_runner(model)
    with gr.Row():
        with gr.Column(scale=1):
            uploads = gr.File(
                file_count="multiple", type="filepath", label=f"Up to {MAX_PHOTOS} noisy photos", elem_id="uploads"
            )
            # Gradio's own preprocessing copies every file.
            uploads.preprocess = lambda payload: payload and [file.path for file in payload]
            start = gr.Button("Denoise all", variant="primary", elem_id="denoise-all")
            stop = gr.Button("Cancel", elem_id="cancel-all")
        with gr.Column(scale=2):
            gallery = gr.Gallery(label="Denoised", type="filepath", buttons=["fullscreen"], elem_id="gallery")
            summary = gr.Markdown(elem_id="report")
            archive = gr.DownloadButton("Download all as a zip", interactive=False, elem_id="zip")

    def denoise_one(path: Path, times: int, results: Archive) -> Generator[str | None, None, None]:
        photo = open_photo(path)
        result = yield from report_progress(network(photo, estimate=False))
        file = write_photo(result.clean, result_path(path, "denoised"))
        for _ in range(times):
            results.add(file)
        file.unlink()
        yield str(write_preview(result.clean, file.parent, "preview"))
        for note in photo.notes:
            gr.Warning(html.escape(note))

    async def run(paths: list[str] | None, progress: gr.Progress = gr.Progress()) -> AsyncIterator[Any]:
        photos, problems = await asyncio.to_thread(check_photos, paths)
        results, previews, done = Archive(), [], 0
        for path, (times, pixels) in photos.items():
            progress((done, len(paths or ())), desc=path.name, unit="photos")
            try:
                steps = contextlib.aclosing(service.network.steps(denoise_one(path, times, results)))
                async with service.network.turn(pixels), steps as updates:  # a turn per photo: others come between
                    async for update in updates:
                        previews += [update] * (update is not None)
                        yield SKIP
                done += times
            except (DenoiserError, gr.Error) as error:
                problems.append(getattr(error, "message", str(error)))
            yield previews, summarize(done, problems), SKIP
        zipped = results.close()
        yield previews, summarize(done, problems), gr.DownloadButton(value=zipped, interactive=done > 0)

    running = start.click(
        run, uploads, [gallery, summary, archive], show_progress_on=summary, api_visibility="private", **NETWORK
    )
    stop.click(None, cancels=running, queue=False, api_visibility="private")


def check_photos(names: list[Any] | None) -> tuple[dict[Path, tuple[int, int]], list[str]]:
    """Check the photos of a batch by their headers.

    Returns {path: (how often it is listed, pixels)} of the photos that can be read, and a sentence about each of the
    others. Raises gr.Error if there are no photos or too many.
    """
    if not names:
        raise gr.Error("Choose some photos first.", print_exception=False)
    if len(names) > MAX_PHOTOS:
        raise gr.Error(f"You chose {len(names)} photos. Choose at most {MAX_PHOTOS} at once.", print_exception=False)
    photos: dict[Path, tuple[int, int]] = {}
    problems = []
    for name, times in Counter(names).items():
        try:
            path, pixels = find_upload(name)
            photos[path] = times, pixels
        except ImageError as error:
            problems.append(str(error))
    megapixels = sum(times * pixels for times, pixels in photos.values()) / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise gr.Error(
            f"These photos have {megapixels:.0f} megapixels together; the limit is {MAX_MEGAPIXELS} at once.",
            print_exception=False,
        )
    return photos, problems


class Archive:
    """A zip in the upload folder to which photos are added one at a time, each under a unique name."""

    def __init__(self) -> None:
        self.path = own_folder() / "denoised.zip"
        self._zip = zipfile.ZipFile(self.path, "w")  # uncompressed: photos don't shrink further
        self._names: list[str] = []

    def add(self, file: Path) -> None:
        """Add a file under its own name, numbered if that is taken."""
        numbered = (f"{number}-{file.name}" for number in count(len(self._names) + 1))
        names = [file.name, *(next(numbered) for _ in range(len(self._names) + 1))]
        taken = {name.lower() for name in self._names}  # Windows and macOS ignore case
        self._names.append(next(name for name in names if name.lower() not in taken))
        self._zip.write(file, self._names[-1])
        sweep()

    def close(self) -> str:
        """Complete the zip and return its path. Raises gr.Error if it was deleted to make room for other files."""
        self._zip.close()
        if not self.path.exists():
            raise gr.Error("There is not enough disk space for all of these photos. Try fewer at once.")
        return str(self.path)


def summarize(done: int, problems: list[str]) -> str:
    return "\n".join([f"{done} photos denoised.", *(f"- {escape_markdown(problem)}" for problem in problems)])
