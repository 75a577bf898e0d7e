"""The README's promises that a machine can check."""

import json
import re
import shlex
from pathlib import Path

import pytest
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


def measured(name):
    """PSNR by (set, level), blind and unclipped or real, as the model card's results have it."""
    rows = json.loads((ROOT / "weights" / name / "results.json").read_text())
    return {(row["dataset"], row["level"]): row["psnr"] for row in rows if row["noise"] != "8-bit" and not row["told"]}


def test_the_tables_of_results_are_those_of_the_model_cards():
    results = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    cards = [path.read_text(encoding="utf-8") for path in (ROOT / "weights").glob("*/README.md")]
    rows = [line for line in results if line.startswith(("| cbsd68", "| cc15"))]
    assert len(rows) > 10 and all(any(row in card for card in cards) for row in rows)


def test_the_readme_s_table_is_what_was_measured():
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    places = [("cbsd68", 15), ("cbsd68", 25), ("cbsd68", 50), ("cc15", None)]
    found = 0
    for line in readme:
        if match := re.match(r"\| `(\w+)`", line):
            psnr, cells = measured(match[1]), [cell.strip() for cell in line.strip("|").split("|")[1:5]]
            for place, cell in zip(places, cells, strict=True):
                if cell:
                    assert cell == f"{psnr[place]:.2f}", (line, place)
                    found += 1
    assert found >= 7


@pytest.mark.slow
def test_the_python_examples_run_as_printed(tiny_page, photo_pixels, tmp_path, monkeypatch, capsys):
    """One after the other in one folder; only the address of the page is another."""
    monkeypatch.chdir(tmp_path)
    denoiser.save_image(denoiser.Photo(photo_pixels), tmp_path / "noisy.jpg")
    library, client = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(library, {})
    assert {path.name for path in tmp_path.iterdir()} == {"noisy.jpg", "clean.png", "25.png"}
    exec(client.replace("http://127.0.0.1:7860", tiny_page[1]), {})
    denoised, level, noisy = capsys.readouterr().out.split("\n")[-4:-1]
    assert Path(denoised).name == "noisy-denoised.jpg" and float(level) >= 0 and Path(noisy).name == "clean-noisy.png"


@pytest.mark.slow
def test_the_guide_to_ones_own_photos_works(hub, toy_photos, tmp_path, monkeypatch):
    """Its commands, word for word, from the bundled weights to the Hub and back; only the training is shorter."""
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("## Your own photos")[1]
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
