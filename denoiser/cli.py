"""The shell command: python -m denoiser photo.jpg -o clean.png"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from .errors import DenoiserError, ImageError
from .image_io import WRITE_FORMATS, is_photo_name, open_image, save_image
from .inference import MAX_LEVEL, Denoiser, load
from .weights import DEFAULT, bundled_names

FAILED, UNUSABLE = 1, 2  # exit codes: some photo failed; nothing could be tried


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code: 0, 1 if any photo failed, 2 if nothing could be done."""
    options = _parser().parse_args(arguments)
    try:
        jobs = plan(options.inputs, options.output)
        model = load(options.model, options.revision, options.device)
    except DenoiserError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE
    failures = 0
    # The bar counts photos; a single photo's bar counts its tiles. It is only drawn on a terminal.
    bar = tqdm(total=len(jobs), unit="photo", disable=None if len(jobs) > 1 else True)
    for source, target in jobs:
        try:
            _denoise_file(model, source, target, options, show_tiles=len(jobs) == 1)
        except DenoiserError as error:
            failures += 1
            tqdm.write(f"failed: {error}", file=sys.stderr)
        bar.update()
    bar.close()
    if failures:
        print(f"{failures} of {len(jobs)} photos failed", file=sys.stderr)
    return FAILED if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m denoiser", description="Remove the noise from photos.")
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


def plan(inputs: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Say which file goes where: (source, target) for every photo.

    A single file goes to `output` if that names a picture file; everything else goes into the folder `output`, under
    its own name (as PNG where the format can't be written). Raises ImageError if there is nothing to do, or two photos
    would end in the same file.
    """
    if len(inputs) == 1 and not inputs[0].is_dir() and output.suffix.lower() in WRITE_FORMATS and not output.is_dir():
        return [(inputs[0], output)]
    sources: list[Path] = []
    for item in inputs:
        photos = sorted(path for path in item.iterdir() if is_photo_name(path)) if item.is_dir() else [item]
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
    if output.exists() and not output.is_dir():
        raise ImageError(f"{str(output)!r} is a file, and {len(sources)} photos need a folder. Name another output.")
    return list(zip(sources, targets, strict=True))


def _denoise_file(model: Denoiser, source: Path, target: Path, options: argparse.Namespace, show_tiles: bool) -> None:
    if target.exists() and not options.overwrite:
        raise ImageError(f"{str(target)!r} exists. Choose another output, or replace it with --overwrite.")
    photo = open_image(source)
    with tqdm(unit="tile", leave=False, disable=None if show_tiles else True) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update()

        clean = model(photo, options.level, on_progress)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"The folder {str(target.parent)!r} can't be made: {error.strerror}.") from error
    save_image(clean, target, quality=options.quality)
