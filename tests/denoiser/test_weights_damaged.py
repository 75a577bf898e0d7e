"""Model folders that are damaged or hostile: refused with the reason, before memory is taken."""

import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from memory import peak_of
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode

from denoiser import weights
from denoiser.errors import WeightsError
from denoiser.weights import CONFIG_FILE, SCALE, WEIGHTS_FILE, load_weights, save_weights

KERNEL, BIAS = "body.tail.weight", "body.tail.bias"  # two tensors that a residual network has


@pytest.fixture
def folder(tiny_model, tmp_path):
    """A good model folder, for a test to damage."""
    save_weights(tiny_model, tmp_path / "good", training={"steps": 7})
    return tmp_path / "good"


def edit_config(folder, **changes):
    """Change entries at the top of config.json; ... removes one."""
    config = json.loads((folder / CONFIG_FILE).read_text()) | changes
    text = json.dumps({name: value for name, value in config.items() if value is not ...})
    (folder / CONFIG_FILE).write_text(text)


def edit_model(folder, **changes):
    """The same for the network's own fields."""
    fields = json.loads((folder / CONFIG_FILE).read_text())["model"] | changes
    edit_config(folder, model={name: value for name, value in fields.items() if value is not ...})


def edit_tensors(folder, **changes):
    """The same for tensors, by name with "__" for "."; a function is applied to the existing tensor."""
    tensors = load_file(folder / WEIGHTS_FILE)
    for name, value in changes.items():
        name = name.replace("__", ".")
        tensors[name] = value(tensors[name]) if callable(value) else value
    save_file({name: value for name, value in tensors.items() if value is not ...}, folder / WEIGHTS_FILE)


# Damage


def truncate(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


DAMAGE = {  # what is done to a good folder -> what the message says
    "no config": (lambda f: (f / CONFIG_FILE).unlink(), "good has no config.json"),
    "no tensors": (lambda f: (f / WEIGHTS_FILE).unlink(), "good has no model.safetensors"),
    "empty folder": (lambda f: shutil.rmtree(f) or f.mkdir(), "good has no config.json"),
    "config is a folder": (lambda f: (f / CONFIG_FILE).unlink() or (f / CONFIG_FILE).mkdir(), "has no config.json"),
    "config is empty": (lambda f: (f / CONFIG_FILE).write_text(""), "is not JSON"),
    "config is cut": (lambda f: truncate(f / CONFIG_FILE, 0.5), "is not JSON"),
    "config is binary": (lambda f: (f / CONFIG_FILE).write_bytes(b"\xff\xfe\0\x80"), "is not JSON"),
    "config is nested deeply": (lambda f: (f / CONFIG_FILE).write_text("[" * 100_000), "config.json of good"),
    "config is huge": (lambda f: (f / CONFIG_FILE).write_text(" " * (2 << 20)), "bytes; at most 1,048,576"),
    "config is a list": (lambda f: (f / CONFIG_FILE).write_text("[]"), "doesn't say format"),
    "config of transformers": (lambda f: (f / CONFIG_FILE).write_text('{"model_type": "bert"}'), "doesn't say format"),
    "no format": (lambda f: edit_config(f, format=...), "doesn't say format"),
    "next format": (lambda f: edit_config(f, format="photo-denoiser/2"), "doesn't say format"),
    "no network": (lambda f: edit_config(f, model=...), "doesn't say format"),
    "network is a list": (lambda f: edit_config(f, model=[1]), "doesn't say format"),
    "field missing": (lambda f: edit_model(f, dropout=...), "missing: 'dropout'"),
    "field unknown": (lambda f: edit_model(f, attention=True), "unknown: 'attention'"),
    "field misspelt": (lambda f: edit_model(f, dropout=..., drop_out=0), "unknown: 'drop_out', missing: 'dropout'"),
    "field of a wrong type": (lambda f: edit_model(f, widths="8,12,16"), "'widths' is '8,12,16'"),
    "field absurd": (lambda f: edit_model(f, widths=[8, 12, 10**9]), "'widths' is"),
    "field NaN": (lambda f: edit_model(f, dropout=float("nan")), "'dropout' is nan"),
    "field null": (lambda f: edit_model(f, architecture=None), "'architecture' is None"),
    "other network": (
        lambda f: edit_model(f, widths=[8, 12, 18]),
        r"is torch.float32 \(16,\), expected torch.float32 \(18,\)",
    ),
    "fewer blocks": (lambda f: edit_model(f, encoder_blocks=[1, 1, 0]), "not part of the network"),
    "more blocks": (lambda f: edit_model(f, encoder_blocks=[1, 1, 2]), "is missing"),
    "tensor missing": (lambda f: edit_tensors(f, body__tail__bias=...), f"{BIAS}' is missing"),
    "tensor extra": (lambda f: edit_tensors(f, extra=torch.zeros(1)), "'extra' is not part of the network"),
    "tensor misshapen": (
        lambda f: edit_tensors(f, body__tail__bias=torch.zeros(4)),
        r"is torch.float32 \(4,\), expected torch.float32 \(3,\)",
    ),
    "tensor transposed": (
        lambda f: edit_tensors(f, body__tail__weight=lambda t: t.mT[:, :, :3].contiguous()),
        r"expected torch.float32 \(8, 3, 4, 4\)",
    ),
    "tensor NaN": (lambda f: edit_tensors(f, body__tail__bias=lambda t: t * float("nan")), f"{BIAS}' holds NaN"),
    "tensor infinite": (lambda f: edit_tensors(f, body__tail__bias=lambda t: t + float("inf")), f"{BIAS}' holds NaN"),
    "tensors empty": (lambda f: (f / WEIGHTS_FILE).write_bytes(b""), "damaged or not a safetensors file"),
    "tensors cut in the header": (lambda f: truncate(f / WEIGHTS_FILE, 0.01), "damaged or not a safetensors file"),
    "tensors cut in the data": (lambda f: truncate(f / WEIGHTS_FILE, 0.9), "damaged or not a safetensors file"),
    "tensors are text": (lambda f: (f / WEIGHTS_FILE).write_text("version https://git-lfs"), "damaged or not"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_folder_is_refused_with_the_reason(folder, damage, message):
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        load_weights(folder)


def test_messages_name_only_the_last_part_of_a_path(folder):
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(WeightsError) as caught:
        load_weights(folder)
    assert str(folder.parent) not in str(caught.value)  # the web page shows it


def test_a_pickle_is_refused_without_being_run(folder, tmp_path):
    trace = tmp_path / "trace"

    class Trap:
        def __reduce__(self):
            return Path.touch, (trace,)

    torch.save({KERNEL: Trap()}, folder / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_weights(folder)
    assert not trace.exists()


def test_a_file_over_the_limit_is_not_read(folder, monkeypatch):
    monkeypatch.setitem(weights.LIMITS, WEIGHTS_FILE, 1000)
    monkeypatch.setattr(weights, "load_file", Mock(side_effect=AssertionError))
    with pytest.raises(WeightsError, match="at most 1,000 are read"):
        load_weights(folder)


class MemoryLimit(TorchFunctionMode):
    """Raises MemoryError once the tensors made inside it exceed a total size in bytes."""

    def __init__(self, limit):
        super().__init__()
        self.left = limit

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.empty and result.device.type != "meta":
            self.left -= result.nbytes
            if self.left < 0:
                raise MemoryError
        return result


def test_a_config_of_gigabytes_is_refused_before_memory_is_allocated(folder):
    edit_model(folder, widths=[1024] * 6, encoder_blocks=[64] * 6, decoder_blocks=[64] * 5)  # 53 GB, each field valid
    with MemoryLimit(100 << 20), pytest.raises(WeightsError):
        load_weights(folder)


INT8_DAMAGE = {
    "scale of another length": {KERNEL + SCALE: torch.ones(5, 1, 1, 1)},
    "scale of another rank": {KERNEL + SCALE: torch.ones(1)},
    "scale NaN": {KERNEL + SCALE: torch.full((8, 1, 1, 1), float("nan"))},
    "scale missing": {KERNEL + SCALE: ...},
    "scale of no tensor": {"extra" + SCALE: torch.ones(1)},
    "kernel missing": {KERNEL: ...},
}


@pytest.mark.parametrize("changes", INT8_DAMAGE.values(), ids=INT8_DAMAGE.keys())
def test_damaged_int8_kernels_are_refused(changes, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "PLAIN_GIT_BYTES", 0)
    save_weights(tiny_model, tmp_path)
    edit_tensors(tmp_path, **{name.replace(".", "__"): value for name, value in changes.items()})
    with pytest.raises(WeightsError, match=WEIGHTS_FILE):
        load_weights(tmp_path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_tensors_of_other_types_are_refused(folder, dtype):
    edit_tensors(folder, body__tail__bias=torch.ones(3, dtype=dtype))
    with pytest.raises(WeightsError, match=BIAS):
        load_weights(folder)


@pytest.mark.parametrize("shape", [(3,), (), (3, 1), (3, 1, 1, 1)], ids=str)
def test_int8_is_only_for_kernels(folder, shape):
    """Multiplied by a scale, a row of N numbers would become N×N, and a scalar has no length."""
    stored = {BIAS: torch.ones(shape, dtype=torch.int8), BIAS + SCALE: torch.ones(3, 1, 1, 1)}
    edit_tensors(folder, **{key.replace(".", "__"): value for key, value in stored.items()})
    with pytest.raises(WeightsError, match=BIAS):
        load_weights(folder)


def test_tensors_of_other_shapes_are_refused_before_memory_is_allocated(folder):
    count = 20_000  # of which the square is 1.6 GB
    edit_tensors(folder, extra=torch.ones(count, dtype=torch.int8), extra__int8_scale=torch.ones(count, 1, 1, 1))
    assert SCALE == ".int8_scale"

    def load():
        with pytest.raises(WeightsError, match="'extra' is not part of the network"):
            load_weights(folder)

    assert peak_of(load)[1] < 100 << 20


def test_files_that_may_not_be_read_are_named(folder, monkeypatch):
    def read_text(path, encoding):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", read_text)  # because root may read every file
    with pytest.raises(WeightsError, match="good can't be read: Permission denied"):
        load_weights(folder)
