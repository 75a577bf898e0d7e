"""python -m train fit | evaluate | compare | benchmark | export | push | experiment"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TypeAlias

import torch

from denoiser import MAX_LEVEL, DenoiserError, Photo, load, open_image, save_image
from denoiser.errors import printable
from denoiser.memory import tune_allocator
from denoiser.weights import DEFAULT, bundled_names, load_weights, model_folder

from .config import ConfigError
from .data.photo_files import photos_below, read_photos, rgb8
from .files import write_file
from .fit.loop import fit
from .flags import add_flags, config_from_flags
from .lab.experiments import RECIPE, VARIANTS, experiment, outcomes_table
from .lab.training_speed import training_speed
from .measure.benchmark import benchmark, costs_table
from .measure.big_photo import big_photo
from .measure.chart import draw_chart
from .measure.compare import compare
from .measure.evaluate import check_names, load_pairs, load_photos, measure, measure_exponential, measure_pairs
from .measure.results import EXPONENTIAL, LEVELS, PROTOCOLS, fingerprint, markdown_table
from .publish.card import name_of, save_results
from .publish.dtmodel import EXTENSION, dtmodel, model_id
from .publish.export import export
from .publish.push import contents_to_push, push, push_space, space_contents
from .recipes import RECIPES

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
MODELS = f"{', '.join(bundled_names())}, a model folder or a Hub repository (default: {DEFAULT})"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train", description="Train, measure and publish a denoiser.")
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit", help="train a network; omitted flags keep the values of the recipe")
    add_flags(fitting)
    fitting.set_defaults(run=run_fit)
    add_evaluate(commands)
    add_lab(commands)
    add_compare(commands)
    add_export(commands)
    add_push(commands)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ConfigError, DenoiserError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def add_evaluate(commands: Commands) -> None:
    """Add the command `evaluate`."""
    evaluating = commands.add_parser(
        "evaluate", help="measure a denoiser on clean photos with added noise, or on noisy and clean pairs"
    )
    evaluating.add_argument("--model", default=DEFAULT, help=MODELS)
    evaluating.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    evaluating.add_argument(
        "--data", nargs="+", default=[], type=Path, help="folders of clean photos, each reported as one set"
    )
    evaluating.add_argument(
        "--pairs",
        nargs="+",
        action="append",
        default=[],
        type=Path,
        metavar="FOLDER",
        help="noisy and clean photos: a folder of *_real and *_mean or *_NOISY and *_GT, or two folders, noisy first",
    )
    evaluating.add_argument("--levels", nargs="+", type=float, default=LEVELS, help="noise levels (default: 15 25 50)")
    evaluating.add_argument(
        "--noise",
        nargs="+",
        choices=(*PROTOCOLS, EXPONENTIAL),
        default=PROTOCOLS,
        help="unclipped, as in the literature; 8-bit, clipped and rounded as in a file; exponential, the random levels "
        "that the reference network was trained on, measured blindly (default: unclipped and 8-bit)",
    )
    evaluating.add_argument(
        "--grey", action="store_true", help="turn the photos of --data grey first: CBSD68 becomes BSD68"
    )
    evaluating.add_argument(
        "--told", action="store_true", help="also measure with the true noise level, or its map, given to the network"
    )
    evaluating.add_argument("--json", type=Path, help="also write the results to this file")
    evaluating.add_argument("--save", action="store_true", help="save the results in the model folder and its card")
    evaluating.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    evaluating.set_defaults(run=run_evaluate)


def add_lab(commands: Commands) -> None:
    """Add the commands `experiment` and `benchmark`."""
    trying = commands.add_parser("experiment", help="short runs, each with one change to a baseline")
    trying.add_argument("names", nargs="*", help="experiments to run (default: all)")
    trying.add_argument("--minutes", type=float, default=2, help="training time per experiment (default: 2)")
    trying.add_argument("--photos", type=Path, help="folder of photos for the experiment 'more photos'")
    trying.set_defaults(run=run_experiments)

    timing = commands.add_parser(
        "benchmark", help="measure time and memory on a CPU, and those of published architectures"
    )
    timing.add_argument("--side", type=int, default=512, help="side of the test image in pixels (default: 512)")
    timing.add_argument("--rounds", type=int, default=5, help="timed rounds per network (default: 5)")
    timing.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    timing.add_argument(
        "--training", action="store_true", help="compare the speed of training steps with a bare training loop instead"
    )
    timing.add_argument(
        "--big-photo", action="store_true", help="compare a photo of 24 megapixels with the bare network instead"
    )
    timing.add_argument("--chart", type=Path, help="also plot PSNR against time to this .png or .svg file")
    timing.set_defaults(run=run_benchmark)


def add_compare(commands: Commands) -> None:
    """Add the command `compare`."""
    comparing = commands.add_parser("compare", help="show photos before and after denoising, side by side at 1:1")
    comparing.add_argument("photos", nargs="+", type=Path, help="noisy photos, or clean ones with --level")
    comparing.add_argument("--level", type=float, help="add Gaussian noise of this level to the photos first")
    comparing.add_argument("--side", type=int, help="show only the central SIDE x SIDE pixels (default: all)")
    comparing.add_argument("--model", nargs="+", default=[DEFAULT], help=f"one or more, a column each: {MODELS}")
    comparing.add_argument("-o", "--output", type=Path, required=True, help="image file to write")
    comparing.set_defaults(run=run_compare)


def add_export(commands: Commands) -> None:
    """Add the command `export`."""
    exporting = commands.add_parser("export", help="write a network as an ONNX file, for programs without PyTorch")
    exporting.add_argument("model", nargs="?", default=DEFAULT, help=MODELS)
    exporting.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    exporting.add_argument("--half", action="store_true", help="store and compute in float16, for GPUs")
    exporting.add_argument("--steerable", action="store_true", help="add a second input, the noise level")
    exporting.add_argument("--darktable", action="store_true", help="write a .dtmodel, which darktable imports")
    exporting.add_argument(
        "-o", "--output", type=Path, help="file to write (default: model.onnx, or photo-denoiser.dtmodel)"
    )
    exporting.set_defaults(run=run_export)


def add_push(commands: Commands) -> None:
    """Add the command `push`."""
    pushing = commands.add_parser(
        "push", help="push a model folder, or the page, to the Hugging Face Hub in one commit"
    )
    pushing.add_argument(
        "folder", nargs="?", type=Path, help="a model folder, such as weights/photo or runs/photo/weights"
    )
    pushing.add_argument(
        "--repo", help="Hub repository, user/name, created if missing; with --space, the model that the page loads"
    )
    pushing.add_argument("--space", help="push this checkout to a Space, user/space, instead of a model")
    pushing.add_argument("--private", action="store_true", help="make a newly created repository private")
    pushing.add_argument("--revision", help="branch to commit to, created if missing (default: main)")
    pushing.add_argument("--tag", help="also tag the commit, such as v1")
    pushing.add_argument("--create-pr", action="store_true", help="open a pull request instead of committing")
    pushing.add_argument(
        "--onnx", action="store_true", help="also push the model as onnx/model.onnx and as a .dtmodel for darktable"
    )
    pushing.add_argument("--dry-run", action="store_true", help="list the files without sending them")
    pushing.set_defaults(run=run_push)


def run_fit(options: argparse.Namespace) -> None:
    tune_allocator()  # saves 8 % of a step of classic on a CPU
    folder: Path = fit(config_from_flags(vars(options)))
    print(f"best weights: {folder}\nuse them: python -m denoiser photo.jpg -o clean.png --model {folder}")


def run_evaluate(options: argparse.Namespace) -> None:
    saved_to = model_folder(options.model) if options.save else None
    if options.save and not saved_to:
        raise ConfigError(f"--save needs a model folder, which {options.model} isn't; use --json for a Hub repository")
    for level in options.levels:
        check_level("--levels", level)
    if not options.data and not options.pairs:
        raise ConfigError("no photos to measure on: give --data a folder of clean photos, or give --pairs")
    if any(len(folders) > 2 for folders in options.pairs):
        raise ConfigError("--pairs takes one folder or two; give it once for each set")
    if options.grey and options.pairs:
        raise ConfigError("--grey is for --data; pairs are measured as they are")
    check_names(options.data, [folders[0] for folders in options.pairs])
    denoiser = load(options.model, options.revision, options.device)
    measured = fingerprint(saved_to) if saved_to else None
    if options.told and not denoiser.steerable:
        raise ConfigError(f"{options.model} is blind only and takes no noise level; leave out --told")
    results = []
    for photo_folder in options.data:
        name, photos = load_photos(photo_folder, options.grey)
        for protocol in options.noise:
            if protocol == EXPONENTIAL:
                results.append(measure_exponential(denoiser, name, photos))
                continue
            for told in (False, True) if options.told else (False,):
                results += measure(denoiser, name, photos, options.levels, protocol == "8-bit", told)
    for folders in options.pairs:
        name, pairs = load_pairs(*folders)
        for told in (False, True) if options.told else (False,):
            results.append(measure_pairs(denoiser, name, pairs, told))
    print(markdown_table(results))
    if saved_to:
        if fingerprint(saved_to) != measured:
            raise ConfigError(f"the weights in {saved_to} were replaced while they were measured; measure them again")
        save_results(saved_to, results)
    if options.json:
        write_file(options.json, json.dumps([row.to_json() for row in results], indent=2) + "\n")


def check_level(flag: str, level: float) -> None:
    """Raise ConfigError, naming `flag`, if `level` is outside the range of noise levels."""
    if not 0 <= level <= MAX_LEVEL:
        raise ConfigError(f"{flag}: {level:g} is out of range; noise levels go from 0 to {MAX_LEVEL:g}")


def run_experiments(options: argparse.Namespace) -> None:
    more_photos = read_photos(photos_below(options.photos), RECIPE.crop) if options.photos else []
    outcomes = []
    for outcome in experiment(options.names or VARIANTS, options.minutes, more_photos):
        outcomes.append(outcome)
        print(outcomes_table(outcomes).splitlines()[-1])
    print(outcomes_table(outcomes))


def run_benchmark(options: argparse.Namespace) -> None:
    for name in ("side", "rounds", "threads"):
        if getattr(options, name) < 1:
            raise ConfigError(f"--{name} is {getattr(options, name)}; it must be at least 1")
    if options.training:
        torch.set_num_threads(options.threads)
        print(training_speed(RECIPES[DEFAULT], options.rounds))
        return
    if options.big_photo:
        print(big_photo(options.rounds, options.threads))
        return
    costs = benchmark(options.side, options.rounds, options.threads)
    print(costs_table(costs))
    if options.chart:
        draw_chart(costs, options.chart)


def run_compare(options: argparse.Namespace) -> None:
    if options.side is not None and options.side < 1:
        raise ConfigError(f"--side is {options.side}; it must be at least 1")
    if options.level is not None:
        check_level("--level", options.level)
    photos = [rgb8(open_image(path).pixels) for path in options.photos]
    models = [load(model) for model in options.model]
    save_image(Photo(compare(models, photos, options.level, options.side)), options.output)


def run_export(options: argparse.Namespace) -> None:
    if options.darktable and options.steerable:
        raise ConfigError("darktable runs blind networks and mixes by itself: leave out --steerable")
    weights, name = load_weights(options.model, options.revision), name_of(options.model)
    data, file = export(weights, name, options.half, options.steerable), "model.onnx"
    if options.darktable:
        data, file = dtmodel(weights, name, data), model_id(name) + EXTENSION
    target: Path = options.output or Path(file)
    write_file(target, data)
    print(f"{target}: {len(data) / 1e6:.1f} MB, within the tolerance of PyTorch in ONNX Runtime at three sizes")


def run_push(options: argparse.Namespace) -> None:
    if (options.folder is None) == (options.space is None) or not (options.repo or options.space):
        raise ConfigError("push takes a model folder and --repo user/name, or --space user/space without a folder")
    if options.space and (options.revision or options.tag or options.create_pr or options.onnx):
        raise ConfigError("a Space runs its main branch: --revision, --tag, --create-pr and --onnx are for models only")
    if options.create_pr and (options.revision or options.tag):
        raise ConfigError("a pull request goes to main and can't be tagged yet: leave out --revision and --tag")
    if options.dry_run:
        contents = space_contents() if options.space else contents_to_push(options.folder, options.onnx)
        for name, content in contents.items():
            size = len(content) if isinstance(content, bytes) else content.stat().st_size
            print(f"{size:>12,}  {name}")
        print(f"{len(contents)} files would go to {options.space or options.repo}; nothing was sent")
        return
    if options.space:
        pushed = push_space(options.space, options.private, options.repo)
    else:
        where = (options.repo, options.private, options.revision, options.tag, options.create_pr)
        pushed = push(options.folder, *where, onnx=options.onnx)
    print(f"{pushed.url}\ncommit {pushed.commit}")


if __name__ == "__main__":
    sys.exit(main())
