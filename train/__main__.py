"""python -m train fit | evaluate | push"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from denoiser import DenoiserError

from .config import ConfigError, add_flags, config_from_flags


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train", description="Train, measure and publish a denoiser.")
    commands = parser.add_subparsers(dest="command", required=True)

    fit = commands.add_parser("fit", help="train a network; flags not given keep the recipe of --model")
    add_flags(fit)
    fit.set_defaults(run=run_fit)

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (ConfigError, DenoiserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run_fit(options: argparse.Namespace) -> None:
    from .loop import fit

    folder: Path = fit(config_from_flags(vars(options)))
    print(f"best weights: {folder}\nuse them: python -m denoiser photo.jpg -o clean.png --model {folder}")


if __name__ == "__main__":
    sys.exit(main())
