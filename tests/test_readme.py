"""Statements of the README that can be checked automatically."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

import denoiser
from train.__main__ import main
from train.measure.benchmark import NETWORKS
from train.measure.network_size import network_size

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
    rows = [line for line in results if line.startswith(("| cbsd68", "| cc15", "| sidd4"))]
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


def table_after(file, words):
    """Return the rows of the first Markdown table after `words`, without its head: lists of cells."""
    lines = (ROOT / file).read_text(encoding="utf-8").split(words, 1)[1].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---")) + 1
    rows = lines[start : start + next(n for n, line in enumerate(lines[start:]) if not line.startswith("|"))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_cost_table_states_the_sizes_of_the_networks():
    rows = table_after("docs/results.md", "## Cost")
    assert {row[0] for row in rows} >= {"classic", "DnCNN-C", "FFDNet", "DRUNet"}
    for name, parameters, gmac, *_ in rows:
        count, billions = network_size(NETWORKS[name]())
        assert (parameters, gmac) == (f"{count / 1e6:.2f} M", f"{billions:.1f}"), name


def test_the_readme_repeats_times_and_published_results_from_the_docs():
    rows = table_after("README.md", "## How good it is")
    readme = {re.sub(r"\*published:\* |`", "", row[0]).partition(",")[0].split()[0]: row[1:] for row in rows}
    times = {row[0]: float(row[4]) for row in table_after("docs/results.md", "## Cost")}
    times |= {"CDnCNN-B": times["DnCNN-C"]}
    stated = {name: float(cells[-1]) for name, cells in readme.items() if cells[-1]}
    assert len(stated) > 4 and stated == {name: times[name] for name in stated}
    published = table_after("docs/results.md", "Published results")
    assert len(published) == 3
    for name, _, *psnr, _ in published:
        assert readme[name.split()[0]][:3] == psnr


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
    """Runs its commands as written, from the bundled weights to the Hub and back, with a shorter training."""
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
    assert pushed.training["steps"] == 2 and pushed.training["started_from"] == denoiser.load().weights.training
    assert "| other-photos (4) | 8-bit | 25 |" in hub.repos["tester/mine"].commits[-1].files["README.md"].decode()
