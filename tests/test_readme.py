"""The README's promises that a machine can check."""

import re
import shlex
from pathlib import Path

import yaml

import denoiser
from train.__main__ import main

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


def test_the_guide_to_ones_own_photos_works(hub, toy_photos, tmp_path, monkeypatch):
    """Its commands, word for word, from the bundled weights to the Hub and back; only the training is shorter."""
    guide = (ROOT / "README.md").read_text(encoding="utf-8").split("**On your own photos.**")[1]
    commands = re.search(r"```sh\n(.*?)```", guide, re.DOTALL)[1].splitlines()
    for name in ("my-photos", "other-photos"):
        (tmp_path / name).symlink_to(toy_photos)
    monkeypatch.chdir(tmp_path)
    for command in commands[:-1]:
        python, module, package, *arguments = shlex.split(command)
        assert (python, module, package) == ("python", "-m", "train")
        arguments = ["tester/mine" if word == "user/name" else word for word in arguments]
        short = ["--steps", "2", "--batch-size", "2", "--crop", "16"] if "fit" in arguments else []
        assert main(arguments + short) == 0
    assert commands[-1] == "DENOISER_MODEL=user/name python app.py"
    pushed = denoiser.load("tester/mine", device="cpu").weights
    assert pushed.training["steps"] == 2 and pushed.training["started_from"]["steps"] > 1000
    assert "| other-photos (4) | 8-bit | 25 |" in hub.repos["tester/mine"].commits[-1].files["README.md"].decode()
