"""An exported network computes in ONNX Runtime what PyTorch computes, at any size, and as darktable would run it."""

import io
import json
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from toy_training import TINY, build

from denoiser import load
from denoiser.inference import denoise_at_level
from denoiser.weights import Weights, save_weights
from train.__main__ import main
from train.config import ConfigError
from train.publish import export as exporting
from train.publish.dtmodel import dtmodel
from train.publish.export import export

TRAINING = {"recipe": "photo", "data": ["synthetic"]}
SIZES = [(1, 1), (1, 70), (5, 33), (7, 8), (9, 15), (16, 24), (61, 47), (97, 131)]  # too small to reflect, prime, exact


def weights_of(model, name="tiny"):
    return Weights(model, name, license="cc0-1.0", version="1.2.3", training=TRAINING)


@pytest.fixture(scope="module")
def network():
    """A network with random weights that removes noise in earnest; a fresh one is near the identity."""
    model = build(TINY)
    torch.nn.init.normal_(model.body.tail.weight, std=0.02, generator=torch.Generator().manual_seed(0))
    return model.half().float()  # as it is after saving and loading


@pytest.fixture(scope="module")
def blind(network):
    return export(weights_of(network), "tiny")


@pytest.fixture
def folder(network, blind, tmp_path, monkeypatch):
    """The network as a model folder, translated already, which takes seconds."""
    monkeypatch.setattr(exporting, "_translate", lambda *arguments: onnx.load_from_string(blind))
    save_weights(network, tmp_path / "mine", TRAINING)
    return tmp_path / "mine"


def run(data, pixels, **inputs):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": pixels, **inputs})[0]


def noisy_picture(count, height, width):
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(height * width))


def test_every_size_and_count_gives_what_pytorch_gives(network, blind, subtests):
    for size in SIZES:
        with subtests.test(size=size):
            noisy = noisy_picture(2, *size)
            with torch.inference_mode():
                expected = network(noisy).clamp(0, 1).numpy()
            found = run(blind, noisy.numpy())
            assert found.shape == expected.shape and np.abs(found - expected).max() < 1e-4
            assert found.min() >= 0 and found.max() <= 1 and np.abs(found - noisy.numpy()).max() > 0.01


def test_the_file_says_what_it_is_and_nothing_of_where_it_was_made(blind):
    model = onnx.load_from_string(blind)
    said = {item.key: item.value for item in model.metadata_props}
    assert said == {
        "name": "photo-denoiser tiny",
        "version": "1.2.3",
        "license": "cc0-1.0",
        "training_data": "They were trained on dead leaves pictures drawn by this project, free of any terms.",
    }
    assert model.opset_import[0].version >= 17
    for value in (*model.graph.input, *model.graph.output):
        shape = [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        assert shape == ["batch", 3, "height", "width"]
    assert b".py" not in blind


def test_a_steerable_one_takes_a_level_for_each_picture(network):
    data = export(weights_of(network), "tiny", steerable=True)
    for size in ((1, 1), (37, 53), (64, 48)):
        noisy = noisy_picture(3, *size)
        levels = np.array([0, 10, 60], np.float32)
        found = run(data, noisy.numpy(), level=levels)
        with torch.inference_mode():
            sigma = torch.from_numpy(levels / 255).reshape(3, 1, 1, 1)
            expected = denoise_at_level(network, noisy, sigma).clamp(0, 1).numpy()
        assert np.abs(found - expected).max() < 1e-4
        assert np.array_equal(found[0], noisy[0].numpy())  # level 0 is the identity


def test_in_half_precision_inputs_and_results_are_too(network):
    data = export(weights_of(network), "tiny", half=True)
    noisy = noisy_picture(1, 37, 53)
    found = run(data, noisy.numpy().astype(np.float16))
    with torch.inference_mode():
        expected = network(noisy).clamp(0, 1).numpy()
    assert found.dtype == np.float16 and np.abs(found - expected).max() < 1 / 255


def test_a_classic_network_is_exported_as_it_is_and_refused_a_level(tiny_classic, capsys, tmp_path):
    noisy = noisy_picture(1, 35, 50)
    found = run(export(weights_of(tiny_classic), "classic"), noisy.numpy())
    with torch.inference_mode():
        assert np.abs(found - tiny_classic(noisy).numpy()).max() < 1e-4
    save_weights(tiny_classic, tmp_path / "old")
    assert main(["export", str(tmp_path / "old"), "--steerable"]) == 1
    assert capsys.readouterr().err == "error: old is blind only and takes no noise level; leave out --steerable\n"


# darktable


def unpacked(package):
    """The config and the network of a .dtmodel, as darktable reads them."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        [folder] = {name.split("/")[0] for name in archive.namelist()}
        config = json.loads(archive.read(f"{folder}/config.json"))
        assert config["id"] == folder and {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        return config, archive.read(f"{folder}/model.onnx")


def as_darktable(data, pixels, tile, overlap=64):
    """Denoise H×W×3 in square tiles whose borders overlap, mirrored where the photo ends; planar, one at a time."""
    height, width = pixels.shape[:2]
    step, result = tile - 2 * overlap, np.empty_like(pixels)
    mirrored = np.pad(pixels, ((overlap, tile), (overlap, tile), (0, 0)), mode="reflect")
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    inner = slice(overlap, overlap + step)
    for top in range(0, height, step):
        for left in range(0, width, step):
            window = mirrored[top : top + tile, left : left + tile].transpose(2, 0, 1)[None]
            [clean] = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(window)})
            kept = clean[0].transpose(1, 2, 0)[inner, inner]
            result[top : top + step, left : left + step] = kept[: height - top, : width - left]
    return result


def test_a_dtmodel_has_what_darktable_needs_and_runs_in_its_tiles(network, blind):
    config, data = unpacked(dtmodel(weights_of(network, "photo"), "photo", blind))
    required = {"task": "denoise", "arch": "generic", "backend": "onnx", "tiling": True, "version": "1.2.3"}
    assert config["id"] == "photo-denoiser" and required.items() <= config.items()
    assert config["name"] and config["description"] and data == blind
    card = config["model_card"]
    assert card["license"] == "cc0-1.0" and "dead leaves" in card["training_data"] and "Gaussian" in card["notes"]
    pixels = noisy_picture(1, 150, 201)[0].permute(1, 2, 0).numpy()
    around = np.pad(pixels, ((64, 74), (64, 71), (0, 0)), mode="reflect")
    with torch.inference_mode():
        whole = (
            network(torch.from_numpy(around.transpose(2, 0, 1)[None].copy())).clamp(0, 1)[0].permute(1, 2, 0).numpy()
        )
    assert np.abs(as_darktable(data, pixels, tile=256) - whole[64:-74, 64:-71]).max() < 1 / 255


# The command


def test_the_command_writes_the_file_it_checked(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "mine", "--darktable"]) == 0
    [package] = tmp_path.glob("*.dtmodel")
    assert package.name == "photo-denoiser-mine.dtmodel" and package.name in capsys.readouterr().out
    noisy = noisy_picture(1, 30, 50)[0].permute(1, 2, 0).numpy()
    found = run(unpacked(package.read_bytes())[1], noisy.transpose(2, 0, 1)[None])
    assert np.abs(found[0].transpose(1, 2, 0) - load("mine", device="cpu").denoise(noisy)).max() < 1e-4


def test_one_that_differs_from_pytorch_is_not_left(folder, tmp_path, monkeypatch, capsys):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"an earlier one")
    other = build(TINY)  # near the identity
    save_weights(other, folder, TRAINING)
    assert main(["export", str(folder), "-o", str(target)]) == 1
    assert "differs from PyTorch's" in capsys.readouterr().err and target.read_bytes() == b"an earlier one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "model.onnx"]


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_gets_one_sentence_that_names_the_extra(network, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"{library}, which isn't installed: pip install '\.\[export\]'"):
        export(weights_of(network), "tiny")


def test_what_can_not_be_written_or_does_not_fit_gets_one_sentence(folder, tmp_path, capsys):
    for target in (tmp_path, tmp_path / "missing" / "model.onnx"):
        assert main(["export", str(folder), "-o", str(target)]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"error: {target} can't be written: ") and error.count("\n") == 1
    assert main(["export", str(folder), "--darktable", "--steerable"]) == 1
    assert capsys.readouterr().err == (
        "error: darktable runs blind networks and mixes by itself: leave out --steerable\n"
    )


@pytest.mark.slow
def test_the_default_network_is_within_the_tolerance(capsys, tmp_path):
    assert main(["export", "-o", str(tmp_path / "model.onnx")]) == 0
    assert "at three sizes" in capsys.readouterr().out
