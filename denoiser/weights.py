"""Model folders: config.json + model.safetensors (+ README.md, results.json), on disk or as a Hub repository.

A folder here and a repository there have the same files, and one loader reads both. Only safetensors are read or
written, never a pickle.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .errors import WeightsError
from .model import DenoisingAutoencoder, ModelConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT = "photo-denoiser/1"
BUNDLED = Path(__file__).resolve().parent.parent / "weights" / "base"

MAX_CONFIG_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 512 << 20
PLAIN_GIT_BYTES = 10_000_000  # a Space's plain git takes no larger file: above it, kernels are stored as int8
SCALE = ".int8_scale"  # the tensor beside an int8 kernel: one float32 scale per output of the kernel


@dataclass(frozen=True)
class Weights:
    """A network with its weights, and where they came from."""

    model: DenoisingAutoencoder
    source: str  # the folder's name or the Hub repository
    revision: str | None = None  # what was asked of the Hub
    training: dict[str, Any] = field(default_factory=dict)  # how it was trained: facts for people, not for code


def load_weights(source: str | Path = BUNDLED, revision: str | None = None) -> Weights:
    """Load a network from a model folder or a Hub repository ("user/name", with an optional revision).

    The network is in eval mode on the CPU, in float32. Raises WeightsError where the folder or repository is missing,
    incomplete or not one of ours, or where the Hub can't be reached.
    """
    if Path(source).is_dir():
        folder = Path(source)
        return _load(folder / CONFIG_FILE, folder / WEIGHTS_FILE, folder.name, None)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise WeightsError(f"{str(source)!r} is neither a model folder nor a Hub repository of the form user/name.")
    config, tensors = (_download(str(source), name, revision) for name in (CONFIG_FILE, WEIGHTS_FILE))
    return _load(config, tensors, str(source), revision)


def save_weights(model: DenoisingAutoencoder, folder: str | Path, training: dict[str, Any] | None = None) -> None:
    """Write config.json and model.safetensors; the folder is made if it isn't there.

    Floats are stored as float16. Where that would exceed what plain git carries to a Space, convolution kernels are
    stored as int8 with one scale per output channel instead.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    small = 2 * sum(tensor.numel() for tensor in state.values()) < PLAIN_GIT_BYTES
    stored: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.dim() == 4 and not small:
            stored[name], stored[name + SCALE] = _to_int8(tensor)
        else:
            stored[name] = tensor.half() if tensor.is_floating_point() else tensor
    config = {"format": FORMAT, "model": asdict(model.config), "training": training or {}}
    partial = folder / (WEIGHTS_FILE + ".partial")
    save_file(stored, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _to_int8(kernel: Tensor) -> tuple[Tensor, Tensor]:
    scale = kernel.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    return (kernel / scale).round().to(torch.int8), scale


def _download(repo: str, name: str, revision: str | None) -> Path:
    where = f"{repo!r} at revision {revision!r}" if revision else f"{repo!r}"
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except GatedRepoError as error:
        raise WeightsError(f"The Hub repository {where} is gated. Ask for access there and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"The Hub repository {repo!r} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"There is no Hub repository {where}, or it is private: then set HF_TOKEN to a token that can read it."
        ) from error
    except FileNotFoundError as error:  # LocalEntryNotFoundError: no network, and nothing in the cache
        raise WeightsError(f"The Hub can't be reached and {where} is not in the cache.") from error
    except EntryNotFoundError as error:
        raise WeightsError(f"The Hub repository {where} has no {name}: it is no model of this project.") from error
    except Exception as error:  # the client lets several HTTP libraries' errors through
        raise WeightsError(f"{name} could not be fetched from {where} ({type(error).__name__}).") from error


def _load(config_path: Path, tensors_path: Path, source: str, revision: str | None) -> Weights:
    for path, limit in ((config_path, MAX_CONFIG_BYTES), (tensors_path, MAX_WEIGHTS_BYTES)):
        if not path.is_file():
            raise WeightsError(f"{source} has no {path.name}: it is no model of this project.")
        if path.stat().st_size > limit:
            raise WeightsError(
                f"{path.name} of {source} has {path.stat().st_size:,} bytes; at most {limit:,} are read."
            )
    config, training = _read_config(config_path, source)
    model = DenoisingAutoencoder(config).eval()
    try:
        stored = load_file(tensors_path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{WEIGHTS_FILE} of {source} is damaged or not a safetensors file.") from error
    _check_and_copy(_decode(stored), model, source)
    return Weights(model, source, revision, training)


def _read_config(path: Path, source: str) -> tuple[ModelConfig, dict[str, Any]]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{CONFIG_FILE} of {source} is not JSON.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("model"), dict):
        raise WeightsError(f"{CONFIG_FILE} of {source} doesn't say format {FORMAT!r}: it is no model of this project.")
    known = {item.name for item in fields(ModelConfig)}
    given = set(config["model"])
    if given != known:
        problem = [f"unknown: {name!r}" for name in sorted(given - known)]
        problem += [f"missing: {name!r}" for name in sorted(known - given)]
        raise WeightsError(f"{CONFIG_FILE} of {source} has the wrong fields ({', '.join(problem)}).")
    training = config.get("training")
    return ModelConfig(**config["model"]), training if isinstance(training, dict) else {}


def _decode(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Back to float32: float16 as it is, int8 times its scale."""
    state = {}
    for name, tensor in stored.items():
        if name.endswith(SCALE):
            continue
        scale = stored.get(name + SCALE)
        state[name] = tensor.float() * scale if scale is not None else tensor
        if state[name].is_floating_point():
            state[name] = state[name].float()
    return state


def _check_and_copy(state: dict[str, Tensor], model: DenoisingAutoencoder, source: str) -> None:
    expected = model.state_dict()
    for name in sorted(set(expected) | set(state)):
        if name not in state or name not in expected:
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} is {_presence(name in state)}.")
        if state[name].shape != expected[name].shape:
            shapes = f"{tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} has shape {shapes}.")
        if not state[name].isfinite().all():
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} holds NaN or infinite values.")
    model.load_state_dict(state)


def _presence(found: bool) -> str:
    return "not one of the network that config.json describes" if found else "missing"
