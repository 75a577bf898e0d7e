"""Many photos at once: what has become of each, and their results as files and as one zip."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import gradio as gr

from denoiser import ImageError

from .callbacks import find_upload
from .display import escape_markdown
from .uploads import gone, own_folder, sweep, touch

MAX_PHOTOS = 50  # per batch
MAX_MEGAPIXELS = 600  # per batch: fifty phone photos of 12
NO_PHOTOS = "Choose some photos first."
LOST = "Your session was lost. Choose your photos again."
NO_ROOM = "There was not enough disk space to keep all of these photos. Try fewer at once."


@dataclass
class Batch:
    """What has become of the photos of a batch: a state in words for each, and the files of those that are done."""

    folder: Path
    states: dict[Path, str]  # of each upload
    files: list[Path] = field(default_factory=list)  # in `folder`, with unique names
    previews: list[tuple[str, str]] = field(default_factory=list)  # before and after, for each of the files
    captions: list[str] = field(default_factory=list)
    note: str = ""  # how far it is

    def add(self, file: Path, previews: tuple[str, str], level: float, times: int) -> None:
        """Move a finished photo into the folder, `times` times, as it is listed as often."""
        self.folder.mkdir(exist_ok=True)  # while it was empty, it may have been swept
        for _ in range(times):
            self.files.append(Path(shutil.copy(file, unique_path(self.folder, file.name))))
            self.previews.append(previews)
            self.captions.append(f"{self.files[-1].name}, noise about {level:.0f}")
        file.unlink()
        sweep()

    def gallery(self) -> list[tuple[str, str]]:
        """Return the finished photos as gr.Gallery takes them: the path of a picture, and a caption."""
        return [(after, caption) for (_, after), caption in zip(self.previews, self.captions, strict=True)]

    def touch(self, uploads: Iterable[Path]) -> None:
        """Let the time that files are kept start anew, for these uploads and all results."""
        previews = chain.from_iterable(self.previews)
        touch(chain(uploads, self.files, map(Path, previews)))

    def summary(self) -> str:
        """Return how far the batch is, in a sentence or two."""
        photos = "1 photo" if len(self.files) == 1 else f"{len(self.files)} photos"
        return f"{photos} denoised. {self.note}"

    def report(self) -> str:
        """Return a Markdown table of the photos and their states."""
        rows = (f"| {escape_markdown(path.name)} | {escape_markdown(state)} |" for path, state in self.states.items())
        return "\n".join(["| photo | |", "|---|---|", *rows])


def zip_files(batch: Batch | None) -> str:
    """Write the finished photos into a zip, uncompressed as photos don't shrink further, and return its path."""
    if batch is None:
        raise gr.Error(LOST, print_exception=False)
    path = own_folder() / "denoised.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in kept(batch.files):
            archive.write(file, file.name)
    sweep()
    if not path.exists():
        raise gr.Error(NO_ROOM, print_exception=False)
    return str(path)


def kept(paths: Any) -> Any:
    """Return the paths of files, unless one has been deleted: then raise gr.Error."""
    if not all(Path(path).exists() for path in paths):
        raise gr.Error(gone(), print_exception=False)
    return paths


def unique_path(folder: Path, name: str) -> Path:
    """Return a path in a folder that no file has yet: the name, numbered if it is taken."""
    taken = {path.name.lower() for path in folder.iterdir()}  # Windows and macOS ignore case
    names = chain([name], (f"{number}-{name}" for number in count(2)))
    return folder / next(name for name in names if name.lower() not in taken)


def check_photos(names: list[Any] | None) -> tuple[dict[Path, tuple[int, int]], dict[Path, str]]:
    """Check the photos of a batch by their headers.

    Returns {path: (how often it is listed, pixels)} of the photos that can be read, and {path: what is wrong} of the
    others. Raises gr.Error if there are no photos or too many.
    """
    if not names:
        raise gr.Error(NO_PHOTOS, print_exception=False)
    if len(names) > MAX_PHOTOS:
        raise gr.Error(f"You chose {len(names)} photos. Choose at most {MAX_PHOTOS} at once.", print_exception=False)
    photos: dict[Path, tuple[int, int]] = {}
    problems = {}
    for name, times in Counter(names).items():
        try:
            path, pixels = find_upload(name)
            photos[path] = times, pixels
        except ImageError as error:
            problems[Path(str(name))] = str(error)
    megapixels = sum(times * pixels for times, pixels in photos.values()) / 1e6
    if megapixels > MAX_MEGAPIXELS:
        raise gr.Error(
            f"These photos have {megapixels:.0f} megapixels together; the limit is {MAX_MEGAPIXELS} at once.",
            print_exception=False,
        )
    return photos, problems
