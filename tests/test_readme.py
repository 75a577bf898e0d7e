"""The README's promises that a machine can check."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def space_settings():
    return yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---")[1])


def test_the_space_runs_the_pinned_gradio():
    pins = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    assert space_settings()["sdk_version"] == pins["gradio"]


def test_the_space_starts_the_app():
    settings = space_settings()
    assert settings["sdk"] == "gradio" and (ROOT / settings["app_file"]).is_file()
    assert len(settings["short_description"]) <= 60  # the Hub refuses longer ones


def test_the_results_are_those_of_the_model_card():
    """Every row of the results is in the README as it is in the card of its weights."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    cards = [path.read_text(encoding="utf-8") for path in (ROOT / "weights").glob("*/README.md")]
    rows = [line for line in readme if line.startswith("| cbsd68")]
    assert rows and all(any(row in card for card in cards) for row in rows)
