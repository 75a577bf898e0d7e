"""A trained folder to the Hub and back, with the real client and a loopback Hub."""

import json

import numpy as np
import pytest
import torch
import yaml
from loopback_hub import READ_TOKEN

import denoiser
from denoiser.model import DenoisingAutoencoder, ModelConfig
from denoiser.weights import save_weights
from train.__main__ import main
from train.config import ConfigError
from train.evaluate import Result
from train.push import FILES, push, save_results

TINY = ModelConfig(widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
FACTS = {
    "model": "base",
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
    url = push(folder, "tester/tiny")
    pixels = np.random.default_rng(0).integers(0, 256, (33, 21, 3), dtype=np.uint8)
    local, pulled = denoiser.load(folder), denoiser.load("tester/tiny")
    assert np.array_equal(local.denoise(pixels), pulled.denoise(pixels))
    commits = hub.repos["tester/tiny"].commits
    assert commits[-1].title == "Add tiny" and url.startswith(hub.url)
    assert set(FILES) <= set(commits[-1].files)


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


def test_a_folder_that_load_refuses_is_not_published(hub, tmp_path):
    with pytest.raises(denoiser.WeightsError):
        push(tmp_path, "tester/empty")
    assert not hub.repos


@pytest.mark.parametrize(("token", "said"), [("", "hf auth login"), (READ_TOKEN, "hf auth login"), ("hf_bad", "token")])
def test_no_token_or_a_weak_one_gets_one_sentence(hub, folder, monkeypatch, token, said):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ConfigError, match=said):
        push(folder, "tester/tiny")


def test_the_command_prints_the_url_or_the_reason(hub, folder, capsys):
    assert main(["push", str(folder), "--repo", "tester/tiny"]) == 0
    assert hub.url in capsys.readouterr().out
    assert main(["push", str(folder), "--repo", "no name"]) == 1
    assert "user/name" in capsys.readouterr().err
