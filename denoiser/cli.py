"""The shell command: python -m denoiser photo.jpg -o clean.png"""

from __future__ import annotations

import argparse
import contextlib
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

from tqdm import tqdm

from .errors import DenoiserError, ImageError, printable
from .image_io import READ_SUFFIXES, WRITE_FORMATS, is_photo_name, open_image, save_image
from .inference import MAX_LEVEL, Denoiser, load
from .weights import DEFAULT, bundled_names

FAILED, UNUSABLE = 1, 2  # exit codes: some photo failed; nothing could be tried
STOPPED = 128  # plus the number of the signal, as shells have it
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if any photo failed, 2 if nothing could be done.

    Ctrl-C and SIGTERM end it with 130 and 143: the photos saved so far are whole, and of the others nothing is left.
    """
    options = _parser().parse_args(arguments)
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with _stop_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the libraries think of a file; what matters of it is raised
        try:
            return _run(options)
        except DenoiserError as error:
            say(f"error: {error}")
            return UNUSABLE
        except KeyboardInterrupt as stop:
            say("stopped; the photos that are finished are whole, the others are as they were")
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
    # The bar counts photos; a single photo's bar counts its tiles. It is only drawn on a terminal.
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
        say(f"{len(failures)} of {total} photos failed")
    return FAILED if failures else 0


def say(text: str) -> None:
    """Print a line for the person at the terminal."""
    tqdm.write(printable(text), file=sys.stderr)


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, which cleans up, and let a second of them wait for that."""

    def stop(number: int, frame: FrameType | None) -> None:
        for other in STOP_SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():  # which alone may have handlers
        yield
        return
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup, jobs behind &
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What the system refuses becomes an ImageError: folders and names that can't be read, written or exist."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{str(error.filename or path)!r} can't be used: {error.strerror}.") from error


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}")
        sys.exit(UNUSABLE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m denoiser", description="Remove the noise from photos.")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="photos, or folders of photos")
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="OUT", help="a file for one photo, else a folder"
    )
    parser.add_argument(
        "--level",
        type=_level,
        default=None,
        help=f"noise strength from 0 to {MAX_LEVEL:g}, or auto, which estimates it (default: auto)",
    )
    parser.add_argument(
        "--model",
        default=DEFAULT,
        help=f"{', '.join(bundled_names())}, a model folder or a Hub repository (default: {DEFAULT})",
    )
    parser.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    parser.add_argument(
        "--quality", type=_quality, help="of JPEG and AVIF, 1 to 100 (default: 95); WebP is lossless unless it is given"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist, the inputs included")
    return parser


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
    """Say which file goes where: (source, target) for every photo.

    A single file goes to `output` if that names a picture file; everything else goes into the folder `output`, under
    its own name (as PNG where the format can't be written). Raises ImageError if there is nothing to do, if two photos
    would end in the same file, or if `output` can't be what it has to be. A folder that can't be read goes to `failed`
    where that is given, and the rest goes on.
    """
    into_folder = _is_folder(output)
    if len(inputs) == 1 and not _is_folder(inputs[0]) and not into_folder and output.suffix:
        if output.suffix.lower() in WRITE_FORMATS:
            return [(inputs[0], output)]
        endings = ", ".join(WRITE_FORMATS)
        raise ImageError(f"{str(output)!r} can't be written: the name has to end in {endings}, or be that of a folder.")
    sources: list[Path] = []
    for item in inputs:
        try:
            with _refusals(item):
                photos = sorted(filter(is_photo_name, item.iterdir())) if _is_folder(item) else [item]
        except ImageError as error:
            if failed is None:
                raise
            failed(error)
            continue
        if not photos:
            raise ImageError(f"There are no photos in {str(item)!r}.")
        sources += photos
    targets = []
    for source in sources:
        writable = source.suffix.lower() in WRITE_FORMATS
        targets.append(output / (source.name if writable else source.stem + ".png"))
    twice = [str(target) for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise ImageError(f"Several photos would be saved as {twice[0]!r}. Denoise them into separate folders.")
    if not into_folder and (os.path.lexists(output) or output.suffix.lower() in (*READ_SUFFIXES, *WRITE_FORMATS)):
        raise ImageError(f"{str(output)!r} is a file, and {len(sources)} photos need a folder. Name another output.")
    return list(zip(sources, targets, strict=True))


def _is_folder(path: Path) -> bool:
    """As Path.is_dir, and False where that can't be told: what is done with the path then says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _denoise_file(
    model: Denoiser, source: Path, target: Path, options: argparse.Namespace, show_tiles: bool
) -> tuple[str, ...]:
    """Denoise a file into another; returns what got lost on the way, in sentences."""
    if target.exists() and not options.overwrite:
        raise ImageError(f"{str(target)!r} exists. Choose another output, or replace it with --overwrite.")
    photo = open_image(source)
    if photo.is_part and target.exists() and target.samefile(source):
        raise ImageError(f"{str(source)!r} is not replaced, since it would be cut. {' '.join(photo.notes)}")
    with tqdm(unit="tile", leave=False, disable=None if show_tiles else True) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update()

        clean = model(photo, options.level, on_progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"The folder {str(target.parent)!r} can't be made: {error.strerror}.") from error
    return clean.notes + save_image(clean, target, quality=options.quality)
