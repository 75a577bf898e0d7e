"""A trained folder to the Hub and back, with the real client and a loopback Hub."""

import json
import math
import os
import socket
import subprocess
import sys
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
import yaml
from loopback_hub import READ_TOKEN, Repo

import denoiser
from denoiser.model import DenoisingAutoencoder, ModelConfig
from denoiser.weights import save_weights
from train.__main__ import main
from train.config import ConfigError
from train.measure.results import Result
from train.publish.card import save_results, write_card
from train.publish.push import CHECKOUT, FILES, push

TINY = ModelConfig(widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
FACTS = {
    "recipe": "photo",
    "data": ["synthetic"],
    "steps": 10,
    "crops": 160,
    "minutes": 0.1,
    "device": "2 CPU cores",
    "validation_psnr": 20.0,
    "settings": {"seed": 0},
}
RESULT = Result("toy", 3, "8-bit", False, 25.0, 20.5, 30.25, 0.9, 0.8, 24.5)
OTHER = Result("toy", 3, "8-bit", False, 50.0, 15.5, 27.25, 0.8, 0.7, 49.5)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = DenoisingAutoencoder(TINY)
    torch.nn.init.normal_(model.body.tail.weight)
    save_weights(model, tmp_path / "tiny", FACTS)
    save_results(tmp_path / "tiny", [RESULT, OTHER])
    return tmp_path / "tiny"


def test_push_and_load_give_the_same_pixels(hub, folder):
    pushed = push(folder, "tester/tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    local, pulled = denoiser.load(folder), denoiser.load("tester/tiny")
    assert np.array_equal(local.denoise(pixels), pulled.denoise(pixels))
    commits = hub.repos["tester/tiny"].commits
    assert commits[-1].title == "Add tiny" and pushed.url.startswith(hub.url)
    assert pushed.commit == commits[-1].id and set(FILES) <= set(commits[-1].files)


def test_only_the_model_files_are_sent_and_nothing_is_sent_twice(hub, folder):
    (folder / "secret.txt").write_text("stays here")
    push(folder, "tester/tiny")
    count = len(hub.repos["tester/tiny"].commits)
    push(folder, "tester/tiny")
    assert len(hub.repos["tester/tiny"].commits) == count
    assert "secret.txt" not in hub.repos["tester/tiny"].commits[-1].files


def test_the_card_carries_every_result_and_says_what_it_was_trained_on(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(text.split("---")[1])
    found = {
        (result["dataset"]["name"], metric["type"], metric["value"])
        for result in metadata["model-index"][0]["results"]
        for metric in result["metrics"]
    }
    names = [f"toy, level {level}, 8-bit noise" for level in (25, 50)]
    assert found == {
        (names[0], "psnr", 30.25),
        (names[0], "ssim", 0.9),
        (names[1], "psnr", 27.25),
        (names[1], "ssim", 0.8),
    }
    assert metadata["license"] == "apache-2.0" and metadata["pipeline_tag"] == "image-to-image"
    assert "30.25" in text.split("---", 2)[2] and "dead leaves" in text
    assert json.loads((folder / "results.json").read_text())[0]["psnr"] == 30.25


def other_weights(folder):
    """Put other weights into a folder, by hand."""
    torch.manual_seed(1)
    save_weights(DenoisingAutoencoder(TINY), folder, FACTS)


@pytest.mark.parametrize("kept", ["README.md", "results.json"])
def test_a_card_or_results_of_other_weights_are_not_sent(hub, folder, kept):
    other_weights(folder)
    for name in {"README.md", "results.json"} - {kept}:
        (folder / name).unlink()
    with pytest.raises(ConfigError, match=rf"{kept} in .*tiny .*other weights.* evaluate --model .*tiny .*--save"):
        push(folder, "tester/tiny")
    assert not hub.repos
    save_results(folder, [OTHER])
    push(folder, "tester/tiny")
    sent = hub.repos["tester/tiny"].commits[-1].files
    assert [row["psnr"] for row in json.loads(sent["results.json"])] == [27.25]
    assert b"27.25" in sent["README.md"] and b"30.25" not in sent["README.md"]


def test_results_of_other_weights_are_not_in_a_card(folder):
    other_weights(folder)
    write_card(folder)
    assert "30.25" not in (folder / "README.md").read_text(encoding="utf-8")


def rows_of(folder):
    return [(row["dataset"], row["level"], row["psnr"]) for row in json.loads((folder / "results.json").read_text())]


def test_results_of_another_set_join_those_that_are_there_and_the_same_are_replaced(folder):
    camera = replace(RESULT, dataset="cc15", noise="real", level=None, psnr=38.0)
    told = replace(RESULT, told=True, psnr=31.0)
    save_results(folder, [camera, told])
    expected = [("toy", 25, 30.25), ("toy", 50, 27.25), ("cc15", None, 38.0), ("toy", 25, 31.0)]
    assert rows_of(folder) == expected
    save_results(folder, [replace(RESULT, psnr=29.0, images=4), replace(camera, psnr=39.0)])
    expected[0], expected[2] = ("toy", 25, 29.0), ("cc15", None, 39.0)
    assert rows_of(folder) == expected
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "29.00" in card and "39.00" in card and "27.25" in card and "30.25" not in card


def test_an_infinite_psnr_is_a_sign_in_the_table_and_nothing_in_the_metadata(folder):
    save_results(folder, [replace(RESULT, noisy_psnr=math.inf, psnr=math.inf, level=0.0)])
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "| toy (3) | 8-bit | 0 | ∞ | ∞ | 0.9000 |" in text
    results = yaml.safe_load(text.split("---")[1])["model-index"][0]["results"]
    [clean] = [result["metrics"] for result in results if "level 0" in result["dataset"]["name"]]
    assert [metric["type"] for metric in clean] == ["ssim"] and "inf" not in text.split("---")[1]
    save_results(folder, [OTHER])  # it comes back from the disk as it was
    assert "| toy (3) | 8-bit | 0 | ∞ | ∞ | 0.9000 |" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("license", "said"), [("cc-by-nc-4.0", "cc-by-nc-4.0"), ("", "not recorded")])
def test_the_card_names_the_licence_of_the_weights(tmp_path, license, said):
    save_weights(DenoisingAutoencoder(TINY), tmp_path, FACTS, license=license)
    write_card(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1]).get("license", "") == license
    assert f"The licence of the weights: {said}." in text


def test_a_folder_that_load_refuses_is_not_published(hub, tmp_path):
    with pytest.raises(denoiser.WeightsError):
        push(tmp_path, "tester/empty")
    assert not hub.repos


@pytest.mark.parametrize(("token", "said"), [("", "hf auth login"), (READ_TOKEN, "hf auth login"), ("hf_bad", "token")])
def test_no_token_or_a_weak_one_gets_one_sentence(hub, folder, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=said):
        push(folder, "tester/tiny")


def test_a_branch_is_made_and_a_commit_tagged(hub, folder):
    pushed = push(folder, "tester/tiny", revision="better", tag="v1")
    repo = hub.repos["tester/tiny"]
    assert repo.refs["better"].id == repo.refs["v1"].id == pushed.commit != repo.refs["main"].id
    assert denoiser.load("tester/tiny", "v1").weights.revision == "v1"
    push(folder, "tester/tiny", revision="better")  # which is there by now
    with pytest.raises(ConfigError, match="already has that tag"):
        push(folder, "tester/tiny", tag="v1")


def test_a_pull_request_leaves_main_alone(hub, folder):
    hub.repos["tester/tiny"] = Repo()
    pushed = push(folder, "tester/tiny", create_pr=True)
    assert pushed.url.endswith("/tester/tiny/discussions/1")
    assert not set(FILES) & set(hub.repos["tester/tiny"].refs["main"].files)


def test_a_dry_run_shows_what_would_go_and_sends_nothing(hub, folder, capsys):
    (folder / "secret.txt").write_text("stays here")
    assert main(["push", str(folder), "--repo", "tester/tiny", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not hub.requests and [line.split()[-1] for line in lines[:-1]] == list(FILES)
    assert lines[-1] == "4 files would go to tester/tiny; nothing was sent"
    push(folder, "tester/tiny")
    assert set(hub.repos["tester/tiny"].commits[-1].files) - {".gitattributes"} == set(FILES)


def test_with_its_exports_they_go_in_the_same_commit_and_the_card_s_lines_use_them(hub, folder, monkeypatch, capsys):
    """The lines for ONNX Runtime, word for word but for the name of the repository."""
    assert main(["push", str(folder), "--repo", "tester/tiny", "--onnx"]) == 0
    commits = hub.repos["tester/tiny"].commits
    files, count = commits[-1].files, len(commits)
    exports = {"onnx/model.onnx", "photo-denoiser-tiny.dtmodel"}
    assert exports | set(FILES) == set(files) - {".gitattributes"}
    lines = files["README.md"].decode().split("### Without PyTorch")[1].split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(folder.parent)
    pixels = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    denoiser.save_image(denoiser.Photo(pixels), "noisy.jpg")
    exec(lines.replace("user/name", "tester/tiny"), {})
    noisy = denoiser.open_image("noisy.jpg").pixels.astype(np.float32) / 255
    expected = 255 * denoiser.load(folder).denoise(noisy)
    assert np.abs(denoiser.open_image("clean.png").pixels - expected).max() <= 1
    assert "Without PyTorch" not in (folder / "README.md").read_text(encoding="utf-8")

    push(folder, "tester/tiny")  # of other weights they would be by now
    assert len(commits) == count + 1 and not exports & set(commits[-1].files)
    assert b"Without PyTorch" not in commits[-1].files["README.md"]


def test_a_card_that_the_hub_finds_wrong_is_not_committed(hub, folder):
    hub.fail("POST /api/validate-yaml", 400)
    with pytest.raises(ConfigError, match="tester/tiny"):
        push(folder, "tester/tiny")
    assert len(hub.repos["tester/tiny"].commits) == 1


@pytest.mark.parametrize("status", [403, 429, 500, 503])
def test_a_refused_commit_gets_one_sentence_and_the_next_push_goes_through(hub, folder, status):
    hub.fail("POST .*/commit/", status)
    with pytest.raises(ConfigError, match="token can't write" if status == 403 else f"refused \\({status}\\)"):
        push(folder, "tester/tiny")
    push(folder, "tester/tiny")
    assert set(FILES) <= set(hub.repos["tester/tiny"].commits[-1].files)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["weights/gaussian"],
        ["--repo", "user/name"],
        ["weights/gaussian", "--space", "user/space"],
        ["--space", "user/space", "--tag", "v1"],
        ["--space", "user/space", "--onnx"],
        ["weights/gaussian", "--repo", "user/name", "--create-pr", "--revision", "branch"],
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(hub, arguments, capsys):
    assert main(["push", *arguments]) == 1
    assert capsys.readouterr().err.startswith("error: ") and not hub.requests


@pytest.mark.slow
def test_a_space_gets_the_page_and_it_starts_from_just_those_files(hub, tmp_path, capsys):
    assert main(["push", "--space", "tester/page", "--dry-run"]) == 0
    listed = {line.split()[-1] for line in capsys.readouterr().out.splitlines()[:-1]}
    assert main(["push", "--space", "tester/page"]) == 0
    files = hub.repos["spaces/tester/page"].commits[-1].files
    assert set(files) - {".gitattributes"} == listed and {"app.py", "README.md", "requirements.txt"} <= listed
    assert not [
        name for name in files if name.startswith(("tests/", "data/", "runs/", ".ci/")) or "__pycache__" in name
    ]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1", "PYTHONPATH": ""}
    with subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert b"Running on local URL" in process.stdout.readline()
            assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        finally:
            process.terminate()


def test_a_space_can_run_on_weights_from_the_hub(hub):
    assert main(["push", "--space", "tester/page", "--repo", "tester/tiny"]) == 0
    space = hub.repos["spaces/tester/page"]
    text = space.commits[-1].files["README.md"].decode()
    header = yaml.safe_load(text.split("---")[1])
    assert space.variables == {"DENOISER_MODEL": "tester/tiny"}
    assert header["models"] == ["tester/tiny"]
    assert header["preload_from_hub"] == ["tester/tiny config.json,model.safetensors"]
    assert header["thumbnail"] == f"{hub.url}/spaces/tester/page/resolve/main/denoiser/page/screenshot.jpg"
    assert header["thumbnail"].rsplit("/main/")[1] in space.commits[-1].files
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(readme.split("---")[1]).items() <= header.items()
    assert text.split("---", 2)[2].strip() == readme.split("---", 2)[2].strip()
    count = len(space.commits)
    assert main(["push", "--space", "tester/page", "--repo", "tester/tiny"]) == 0
    assert len(space.commits) == count


def test_the_command_prints_the_url_or_the_reason(hub, folder, capsys):
    assert main(["push", str(folder), "--repo", "tester/tiny"]) == 0
    assert hub.url in capsys.readouterr().out
    assert main(["push", str(folder), "--repo", "no name"]) == 1
    assert "user/name" in capsys.readouterr().err
