"""The shell command: denoise photo.jpg -o clean.png, or python -m denoiser without installation."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tqdm import tqdm

from .errors import DenoiserError, ImageError, printable
from .image_io import READ_SUFFIXES, WRITE_FORMATS, is_photo_name, open_image, save_image
from .inference import MAX_LEVEL, Denoiser, load
from .memory import tune_allocator
from .weights import DEFAULT, bundled_names

FAILED, UNUSABLE = 1, 2  # exit codes: at least one photo failed; nothing could be tried
STOPPED = 128  # plus the number of the signal, as in shells
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code: 0, 1 if any photo failed, 2 if nothing could be done.

    Ctrl-C and SIGTERM end it with 130 and 143. Photos saved so far are complete; the others are left as they were.
    """
    if sys.stderr is None:  # it was closed
        sys.stderr = io.StringIO()
    options = _parser().parse_args(arguments)
    tune_allocator()
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with _stop_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries about files; what matters is raised as an error
        try:
            return _run(options)
        except DenoiserError as error:
            say(f"error: {error}")
            return UNUSABLE
        except KeyboardInterrupt as stop:
            say("stopped; finished photos are complete, the others are unchanged")
            return STOPPED + (stop.args or STOP_SIGNALS)[0]


def _run(options: argparse.Namespace) -> int:
    failures: list[str] = []

    def failed(error: object) -> None:
        failures.append(str(error))
        say(f"failed: {error}")

    jobs = plan(options.inputs, options.output, failed)
    total = len(jobs) + len(failures)
    if jobs:
        model = load(options.model, options.revision, options.device)
    # The bar counts photos, or the tiles of a single photo. It is drawn only on a terminal.
    with tqdm(total=len(jobs), unit="photo", disable=None if len(jobs) > 1 else True) as bar:
        for source, target in jobs:
            try:
                with _refusals(source):
                    notes = _denoise_file(model, source, target, options, show_tiles=len(jobs) == 1)
                for note in notes:
                    say(f"note: {note}")
            except ImageError as error:
                failed(error)
            bar.update()
    if failures:
        say(f"{len(failures)} of {total} failed")
    return FAILED if failures else 0


def say(text: str) -> None:
    """Print a line to stderr without disturbing the progress bar."""
    tqdm.write(printable(text), file=sys.stderr)


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM clean up like Ctrl-C, and ignore further signals meanwhile."""

    def stop(number: int, frame: FrameType | None) -> None:
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():  # only that one may set handlers
        yield
        return
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup, &
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Raise an ImageError for an OSError about a file or folder."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{str(error.filename or path)!r} can't be used: {error.strerror}.") from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}")
        sys.exit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    installed = Path(sys.argv[0]).stem == "denoise"
    parser = _Parser(prog="denoise" if installed else "python -m denoiser", description="Remove the noise from photos.")
    parser.add_argument("inputs", nargs="+", type=_path, metavar="IN", help="photos, or folders of photos")
    parser.add_argument(
        "-o", "--output", required=True, type=_path, metavar="OUT", help="a file for one photo, otherwise a folder"
    )
    parser.add_argument(
        "--level",
        type=_level,
        default=None,
        help=f"noise strength from 0 to {MAX_LEVEL:g}, or auto to estimate it (default: auto)",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT,
        help=f"{', '.join(bundled_names())}, a model folder or a Hub repository (default: {DEFAULT})",
    )
    parser.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument(
        "--quality", type=_quality, help="quality of JPEG and AVIF, 1 to 100 (default: 95); makes WebP lossy"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files, including the inputs")
    return parser


def _path(text: str) -> Path:
    """Convert a name to a Path. An empty one, as from an unset shell variable, would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _level(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        level = float(text)
    except ValueError:
        level = -1.0
    if not 0 <= level <= MAX_LEVEL:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number from 0 to {MAX_LEVEL:g}")
    return level


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def plan(
    inputs: list[Path], output: Path, failed: Callable[[ImageError], None] | None = None
) -> list[tuple[Path, Path]]:
    """Decide which file goes where: return (source, target) for every photo.

    A single file goes to `output` if that is the name of an image file. Everything else goes into the folder `output`
    under its own name, as PNG if its format can't be written. Raises ImageError if two photos would get the same
    target, if `output` is unsuitable, or for a folder that can't be read or has no photos. If `failed` is given, it is
    called with the error for such a folder, and the rest continues.
    """
    into_folder = _is_folder(output)
    if not into_folder and output.name.lower() in WRITE_FORMATS:
        raise ImageError(f"{str(output)!r} is only an ending. Give the file a name, as in 'clean{output.name}'.")
    named = output.suffix or os.path.lexists(output)
    if len(inputs) == 1 and not _is_folder(inputs[0]) and not into_folder and named:
        if output.suffix.lower() in WRITE_FORMATS:
            return [(inputs[0], output)]
        endings = ", ".join(WRITE_FORMATS)
        raise ImageError(
            f"{str(output)!r} can't be written: the name must end in {endings}, or be that of an existing folder."
        )
    sources: list[Path] = []
    for item in inputs:
        try:
            with _refusals(item):
                photos = sorted(filter(is_photo_name, item.iterdir())) if _is_folder(item) else [item]
            if not photos:
                raise ImageError(f"There are no photos in {str(item)!r}. Its subfolders are not searched.")
        except ImageError as error:
            if failed is None:
                raise
            failed(error)
            continue
        sources += photos
    targets = []
    for source in sources:
        writable = source.suffix.lower() in WRITE_FORMATS
        targets.append(output / (source.name if writable else source.stem + ".png"))
    twice = [str(target) for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise ImageError(f"Several photos would be saved as {twice[0]!r}. Denoise them into separate folders.")
    if not into_folder and (os.path.lexists(output) or output.suffix.lower() in (*READ_SUFFIXES, *WRITE_FORMATS)):
        raise ImageError(f"{str(output)!r} is a file, and {len(sources)} photos need a folder. Choose another output.")
    return list(zip(sources, targets, strict=True))


def _is_folder(path: Path) -> bool:
    """Like Path.is_dir, but False on errors, which the first use of the path then reports."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _denoise_file(
    model: Denoiser, source: Path, target: Path, options: argparse.Namespace, show_tiles: bool
) -> tuple[str, ...]:
    """Denoise one file into another, and return sentences on what was lost."""
    if target.exists() and not options.overwrite:
        raise ImageError(f"{str(target)!r} exists. Choose another output, or replace it with --overwrite.")
    photo = open_image(source)
    if photo.is_part and target.exists() and target.samefile(source):
        raise ImageError(f"{str(source)!r} is not replaced, because part of it would be lost. {' '.join(photo.notes)}")
    with tqdm(unit="tile", leave=False, disable=None if show_tiles else True) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update()

        clean = model(photo, options.level, on_progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"The folder {str(target.parent)!r} can't be created: {error.strerror}.") from error
    return clean.notes + save_image(clean, target, quality=options.quality)
