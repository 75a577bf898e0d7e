"""The command line flags of `fit`, one for each field of TrainConfig."""

from __future__ import annotations

import argparse
import json
from dataclasses import Field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from denoiser.weights import DEFAULT

from .config import LATEST, SETTINGS_FILE, ConfigError, TrainConfig, flag
from .recipes import RECIPES, recipe_of


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for each field of TrainConfig; a flag that is not given keeps the recipe's value."""
    hints = get_type_hints(TrainConfig)
    for item in fields(TrainConfig):
        kind = hints[item.name]
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(item)}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            if get_origin(kind) is tuple:
                options["nargs"] = "+"
            inner = next((option for option in get_args(kind) if option not in (type(None), Ellipsis)), kind)
            options["type"] = inner
            options["choices"] = item.metadata["choices"]
            if item.metadata["bare"]:
                options |= {"nargs": "?", "const": item.metadata["bare"], "metavar": f"{item.metadata['bare']}|PATH"}
        parser.add_argument(flag(item.name), **options)


def _help(item: Field[Any]) -> str:
    shown = " ".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
    whose = "default" if item.name == "recipe" else f"recipe {DEFAULT}"
    return item.metadata["help"].replace("%", "%%") + ("" if shown is None else f" ({whose}: {shown})")


def config_from_flags(values: dict[str, Any]) -> TrainConfig:
    """Return the settings of the chosen recipe with the given flags in place of its own.

    Without --recipe, the weights of --init bring the recipe that made them. With --resume, the run's own settings take
    the place of the recipe's, and a checkpoint's folder is the run's unless another is given. Raises WeightsError if
    the weights can't be loaded, ConfigError if the settings can't.
    """
    recipe = values.get("recipe") or (recipe_of(values["init"]) if values.get("init") else DEFAULT)
    names = {item.name for item in fields(TrainConfig)}
    given = {name: value for name, value in values.items() if name in names}
    resume = given.get("resume")
    folder = Path(given.get("output_dir", RECIPES[recipe].output_dir))
    if resume and resume != LATEST:
        folder = Path(resume).parent
        given.setdefault("output_dir", str(folder))
    earlier = folder / SETTINGS_FILE
    if not resume or not earlier.is_file():
        return replace(RECIPES[recipe], **given)
    try:
        saved = dict(json.loads(earlier.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{earlier} can't be read; delete it and resume with the flags that the run started with"
        ) from error
    return replace(RECIPES[recipe], **{name: saved[name] for name in names & saved.keys()} | given)
