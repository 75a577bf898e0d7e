"""Model folders: what is saved is loaded, by name, path or repository."""

import copy
import dataclasses
import json
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file

import denoiser
from denoiser import weights
from denoiser.errors import WeightsError
from denoiser.model import NETWORKS, DenoisingAutoencoder
from denoiser.weights import CONFIG_FILE, FORMAT, WEIGHTS_FILE, load_weights, save_weights


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A good model folder, for a test to damage."""
    save_weights(tiny_model, tmp_path / "good", training={"steps": 7})
    return tmp_path / "good"


# Round trips


@pytest.mark.parametrize("name", ["tiny_model", "tiny_classic"])
@torch.no_grad()
def test_the_loaded_model_is_the_saved_one_rounded_to_float16(name, request, tmp_path, photo_tensor):
    model = request.getfixturevalue(name)
    rounded = copy.deepcopy(model)
    for value in [*rounded.parameters(), *rounded.buffers()]:
        value.copy_(value.half() if value.is_floating_point() else value)
    save_weights(model, tmp_path / "model")
    loaded = load_weights(tmp_path / "model").model
    assert loaded.config == model.config
    assert torch.equal(loaded(photo_tensor), rounded(photo_tensor))


def test_saving_a_loaded_model_gives_the_same_files(folder, tmp_path):
    save_weights(load_weights(folder).model, tmp_path / "again", training={"steps": 7})
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_loaded_network_is_ready_for_use(folder):
    loaded = load_weights(str(folder))
    assert not loaded.model.training
    assert {value.dtype for value in loaded.model.parameters()} == {torch.float32}
    assert (loaded.source, loaded.revision, loaded.training) == ("good", None, {"steps": 7})


def test_saving_does_not_change_the_model(tiny_model, tmp_path):
    before = copy.deepcopy(tiny_model.state_dict())
    save_weights(tiny_model, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in tiny_model.state_dict().items())


def test_saving_replaces_only_the_old_weights(folder, tiny_classic):
    (folder / "README.md").write_text("a model card")
    save_weights(tiny_classic, folder)
    assert load_weights(folder).model.config == tiny_classic.config
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]


def test_missing_folders_are_made(tiny_model, tmp_path):
    save_weights(tiny_model, tmp_path / "a" / "b")
    assert load_weights(tmp_path / "a" / "b").source == "b"


@pytest.mark.skipif(sys.platform == "win32", reason="files have no modes there")
def test_others_may_read_what_the_umask_lets_them(tiny_model, tmp_path):
    """A page that runs as another user, for instance."""
    save_weights(tiny_model, tmp_path)
    (tmp_path / "new").touch()
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        assert (tmp_path / name).stat().st_mode == (tmp_path / "new").stat().st_mode


def test_the_config_says_format_network_and_training(folder, tiny_config):
    config = json.loads((folder / CONFIG_FILE).read_text())
    model = json.loads(json.dumps(dataclasses.asdict(tiny_config)))
    about = {"format": FORMAT, "version": denoiser.__version__, "license": "apache-2.0"}
    assert config == about | {"model": model, "training": {"steps": 7}}
    assert load_weights(folder).version == denoiser.__version__


def test_older_weights_have_an_estimator_without_residual_blocks(tiny_config, tmp_path):
    save_weights(DenoisingAutoencoder(dataclasses.replace(tiny_config, estimator_blocks=0)), tmp_path)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    del config["model"]["estimator_blocks"]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(config))
    assert load_weights(tmp_path).model.config.estimator_blocks == 0


@pytest.mark.parametrize("name", ["tiny_model", "tiny_classic"])
@torch.no_grad()
def test_large_networks_are_stored_as_int8_with_small_errors(name, request, tmp_path, photo_tensor, monkeypatch):
    monkeypatch.setattr(weights, "PLAIN_GIT_BYTES", 0)
    model = request.getfixturevalue(name)
    save_weights(model, tmp_path)
    stored, loaded = load_file(tmp_path / WEIGHTS_FILE), load_weights(tmp_path).model
    for key, value in model.state_dict().items():
        again = loaded.state_dict()[key]
        assert again.shape == value.shape
        if value.dim() == 4:
            assert stored[key].dtype == torch.int8
            half_step = value.abs().amax(dim=(1, 2, 3), keepdim=True) / 127 / 2
            assert ((again - value).abs() <= half_step * 1.001).all()
    error = (loaded(photo_tensor) - model(photo_tensor)).square().mean().sqrt()
    change = (model(photo_tensor) - photo_tensor).square().mean().sqrt()
    assert 0 < error < 0.02 * change


@torch.no_grad()
def test_a_kernel_of_zeros_survives_int8(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PLAIN_GIT_BYTES", 0)
    tiny_model.body.tail.weight.zero_()
    save_weights(tiny_model, tmp_path)
    assert not load_weights(tmp_path).model.body.tail.weight.any()


@torch.no_grad()
def zero(layer):
    """Set everything to zero, since to_empty leaves memory uninitialised."""
    for value in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
        value.zero_()


@pytest.mark.parametrize(("name", "dtype"), [("residual", torch.float16), ("classic", torch.int8)])
def test_the_networks_are_small_enough_for_plain_git(name, dtype, tmp_path):
    with torch.device("meta"):
        model = DenoisingAutoencoder(NETWORKS[name])
    save_weights(model.to_empty(device="cpu").apply(zero), tmp_path)
    kernels = {name for name, value in model.state_dict().items() if value.dim() == 4}
    assert {value.dtype for name, value in load_file(tmp_path / WEIGHTS_FILE).items() if name in kernels} == {dtype}
    assert (tmp_path / WEIGHTS_FILE).stat().st_size < 10_000_000


# The Hub


@pytest.fixture
def hub(folder, monkeypatch):
    """A fake download that hands out the good folder; returns the calls that it gets."""
    calls = []

    def download(repo, name, revision=None, dry_run=False):
        calls.append((repo, name, revision))
        return Mock(file_size=(folder / name).stat().st_size) if dry_run else str(folder / name)

    monkeypatch.setattr(weights, "hf_hub_download", download)
    return calls


@pytest.fixture
def failing_hub(monkeypatch):
    """Makes every download fail with the given exception."""

    def fail_with(error):
        monkeypatch.setattr(weights, "hf_hub_download", Mock(side_effect=error))

    return fail_with


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "0123456789abcdef"])
def test_only_config_and_tensors_of_one_commit_are_requested(hub, revision):
    loaded = load_weights("user/name.of-model_1", revision)
    asked = [(CONFIG_FILE, revision), *[(WEIGHTS_FILE, "good")] * 2]  # the client names folders by commits
    assert hub == [("user/name.of-model_1", *question) for question in asked]
    assert (loaded.source, loaded.revision) == ("user/name.of-model_1", revision)


def test_a_file_over_the_limit_is_not_fetched(hub, monkeypatch):
    monkeypatch.setitem(weights.LIMITS, WEIGHTS_FILE, 1000)
    with pytest.raises(WeightsError, match="model.safetensors of user/name has .* at most 1,000 are read"):
        load_weights("user/name")
    assert len(hub) == 2  # only the size was requested


def test_a_folder_never_asks_the_hub(hub, folder):
    load_weights(folder)
    assert hub == []


def test_a_damaged_repository_is_refused_by_its_name(hub, folder):
    (folder / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(WeightsError, match="model.safetensors of user/name is damaged"):
        load_weights("user/name")


@pytest.mark.parametrize(
    "source",
    [
        "user/name/x",
        "no such folder",
        "name",
        "/no/such/folder",
        "https://huggingface.co/user/name",
        "",
        "x" * 5000,
        None,
        7,
    ],
)
def test_a_source_that_can_be_neither_folder_nor_repository_is_refused(hub, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="neither a model folder nor a Hub repository"):
        load_weights(source)
    assert hub == []


BUNDLED_NAMES = sorted(path.name for path in (weights.PACKAGE.parent / "weights").iterdir())


@pytest.mark.parametrize("name", BUNDLED_NAMES)
def test_a_bundled_model_is_loaded_by_name_from_any_folder(hub, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    by_name, by_path = load_weights(name), load_weights(weights.BUNDLED / name)
    assert by_name.source == name and by_name.training == by_path.training
    assert all(map(torch.equal, by_name.model.state_dict().values(), by_path.model.state_dict().values()))
    assert hub == []


def test_a_bundled_name_takes_precedence_over_a_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder.rename("classic")
    assert load_weights("classic").training["recipe"] == "classic"
    for source in ("./classic", "classic/", Path("classic"), tmp_path / "classic"):
        assert load_weights(source).training == {"steps": 7}


def test_an_unknown_name_is_refused_with_the_bundled_ones(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=f"'clasic' is neither .*: {', '.join(BUNDLED_NAMES)}"):
        load_weights("clasic")
    assert hub == []


def test_the_default_is_one_of_the_bundled_models():
    assert load_weights().source == weights.DEFAULT == "photo"


@pytest.mark.parametrize("source", [".", "../good", "./"])
def test_a_folder_is_named_the_same_however_it_is_given(folder, source, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_weights(source).source == "good"


RESPONSE = {"response": Mock(headers={})}
CLIENT_ERRORS = [
    (hub_errors.GatedRepoError("", **RESPONSE), "'user/name' at revision 'v2' is gated"),
    (hub_errors.RevisionNotFoundError("", **RESPONSE), "'user/name' has no revision 'v2'"),
    (hub_errors.RepositoryNotFoundError("", **RESPONSE), "There is no folder and no Hub repository 'user/name'"),
    (hub_errors.RemoteEntryNotFoundError("", **RESPONSE), "has no config.json"),
    (hub_errors.EntryNotFoundError(""), "has no config.json"),
    (hub_errors.LocalEntryNotFoundError(""), "can't be reached"),
    (hub_errors.OfflineModeIsEnabled(""), r"could not be fetched .*OfflineModeIsEnabled"),
    (hub_errors.HFValidationError(""), "'user/name' is neither a model folder nor a Hub repository"),
    (hub_errors.HfHubHTTPError("", **RESPONSE), r"could not be fetched .*HfHubHTTPError"),
    (OSError("disk full"), r"could not be fetched .*OSError"),
    (TimeoutError(), r"could not be fetched .*TimeoutError"),
]


@pytest.mark.parametrize(("error", "message"), CLIENT_ERRORS, ids=lambda value: type(value).__name__)
def test_every_error_of_the_client_becomes_a_sentence(failing_hub, error, message):
    failing_hub(error)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights("user/name", "v2")
    assert caught.value.__cause__ is error


def test_a_person_can_still_interrupt_a_download(failing_hub):
    failing_hub(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        load_weights("user/name")
