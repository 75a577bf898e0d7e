"""denoiser.load("user/name") with the real client and a loopback Hub: revisions, the cache, a Hub that fails."""

import json
import math

import numpy as np
import pytest
import torch
from loopback_hub import READ_TOKEN, Repo

import denoiser
from denoiser.model import DenoisingAutoencoder, ModelConfig
from denoiser.weights import CONFIG_FILE, WEIGHTS_FILE, save_weights

pytestmark = pytest.mark.slow

TINY = ModelConfig(widths=(4, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
PIXELS = np.random.default_rng(0).integers(0, 256, (33, 21, 3), np.uint8)
REPO = "someone/photos"


def model_files(folder, seed=0):
    """A small network's files by name."""
    torch.manual_seed(seed)
    model = DenoisingAutoencoder(TINY)
    torch.nn.init.normal_(model.body.tail.weight)
    save_weights(model, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def repo(hub, tmp_path):
    """A repository with two commits of different weights, the first tagged v1, and unrelated files."""
    made = hub.repos[REPO] = Repo()
    made.refs["v1"] = made.commit(model_files(tmp_path / "first", 1) | {"pickle.bin": b"\x80\x04."}, "first")
    made.commit(model_files(tmp_path / "second", 2), "second")
    return made


@pytest.fixture
def offline(monkeypatch):
    from huggingface_hub import constants

    return lambda: monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def result(source, revision=None):
    return denoiser.load(source, revision).denoise(PIXELS)


def test_a_branch_a_tag_and_a_commit_are_revisions(repo, tmp_path):
    first, second = result(tmp_path / "first"), result(tmp_path / "second")
    assert not np.array_equal(first, second)
    assert np.array_equal(result(REPO), second) and np.array_equal(result(REPO, "main"), second)
    assert np.array_equal(result(REPO, "v1"), first)
    assert np.array_equal(result(REPO, repo.commits[1].id), first)
    with pytest.raises(denoiser.WeightsError, match="no revision 'v9'"):
        denoiser.load(REPO, "v9")


def test_only_two_files_are_fetched_and_only_once(hub, repo):
    result(REPO)
    fetched = {request.rsplit("/", 1)[1] for request in hub.requests if "/resolve/" in request}
    assert fetched == {CONFIG_FILE, WEIGHTS_FILE}
    downloads = [request for request in hub.requests if request.startswith("GET")]
    result(REPO)
    assert [request for request in hub.requests if request.startswith("GET")] == downloads


def test_both_files_come_from_one_commit_despite_a_push_meanwhile(hub, repo, tmp_path, monkeypatch):
    from denoiser import weights

    second, third, fetch = result(tmp_path / "second"), model_files(tmp_path / "third", 3), weights.hf_hub_download

    def fetch_and_push(*arguments, **options):
        path = fetch(*arguments, **options)
        repo.commit(third, "pushed meanwhile")
        return path

    monkeypatch.setattr(weights, "hf_hub_download", fetch_and_push)
    assert np.array_equal(result(REPO), second)


@pytest.mark.parametrize("revision", [None, "v1"])
def test_the_cache_serves_without_a_network(hub, repo, offline, revision):
    before = result(REPO, revision)
    hub.stop()
    assert np.array_equal(result(REPO, revision), before)
    offline()
    assert np.array_equal(result(REPO, revision), before)
    with pytest.raises(denoiser.WeightsError, match="not in the cache"):
        denoiser.load("someone/else")


def test_a_private_repository_needs_a_token_that_can_read_it(hub, repo, monkeypatch):
    repo.private = True
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(denoiser.WeightsError, match="set HF_TOKEN"):
        denoiser.load(REPO)
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    result(REPO)


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_a_refusal_becomes_a_sentence_and_leaves_nothing_half_done(hub, repo, monkeypatch, status):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its retries
    hub.fail(f"resolve/.*/{WEIGHTS_FILE}", status, times=math.inf)
    with pytest.raises(denoiser.WeightsError, match=REPO):
        denoiser.load(REPO)
    hub.faults.clear()
    result(REPO)


def test_a_download_that_is_cut_is_never_used(hub, repo, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.cut(f"GET .*/{WEIGHTS_FILE}", times=math.inf)
    with pytest.raises(denoiser.WeightsError, match="could not be fetched"):
        denoiser.load(REPO)
    hub.faults.clear()
    assert np.array_equal(result(REPO), result(tmp_path / "second"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({WEIGHTS_FILE: None}, f"has no {WEIGHTS_FILE}"),
        ({CONFIG_FILE: None}, f"has no {CONFIG_FILE}"),
        ({CONFIG_FILE: b"{}"}, "doesn't say format"),
        ({CONFIG_FILE: json.dumps({"model_type": "bert"}).encode()}, "not a model of this project"),
        ({WEIGHTS_FILE: b"\x80\x04pickle\0"}, "not a safetensors file"),
    ],
    ids=["no tensors", "no config", "empty config", "another project's", "a pickle"],
)
def test_a_repository_of_another_project_is_refused_with_the_reason(repo, changes, said):
    repo.commit(changes, "spoil")
    with pytest.raises(denoiser.WeightsError, match=said) as refusal:
        denoiser.load(REPO)
    assert REPO in str(refusal.value)
