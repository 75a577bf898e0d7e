"""Model folders: config.json and model.safetensors (and README.md, results.json), on disk or in a Hub repository.

Both contain the same files and are read by the same loader. Only safetensors files are read or written, never pickles.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from .errors import WeightsError
from .model import DenoisingAutoencoder, ModelConfig
from .version import __version__

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
FORMAT = "photo-denoiser/1"
PACKAGE = Path(__file__).resolve().parent
# The bundled models, in the checkout or inside the installed package.
BUNDLED = PACKAGE.parent / "weights" if (PACKAGE.parent / "app.py").is_file() else PACKAGE / "bundled"
DEFAULT = "photo"  # the bundled model used if none is named

LIMITS = {CONFIG_FILE: 1 << 20, WEIGHTS_FILE: 512 << 20}  # bytes
LICENSE = "apache-2.0"  # of weights trained from scratch by this project
PLAIN_GIT_BYTES = 10_000_000  # Spaces refuse larger files in plain git, so larger models have kernels in int8
SCALE = ".int8_scale"  # suffix of the float32 tensor beside an int8 kernel, with one scale per output slice


@dataclass(frozen=True)
class Weights:
    """A network with its weights, and where they came from."""

    model: DenoisingAutoencoder
    source: str  # the folder's name or the Hub repository
    revision: str | None = None  # as requested from the Hub
    license: str = ""  # as in config.json; empty if not stated
    version: str = ""  # of the project that trained them; empty if not stated
    training: dict[str, Any] = field(default_factory=dict)  # how it was trained, for information only


def load_weights(source: str | Path = DEFAULT, revision: str | None = None) -> Weights:
    """Load a network: a bundled one by name, or from a model folder or a Hub repository ("user/name").

    revision is a branch, tag or commit of the repository. The network is in eval mode on the CPU, in float32. Raises
    WeightsError if the folder or repository is missing, incomplete or not in this project's format, or if the Hub can't
    be reached.
    """
    if folder := model_folder(source):
        if revision is not None:
            raise WeightsError(f"{folder.name!r} is not on the Hub and has no revision {revision!r}. Leave it out.")
        return _load(folder / CONFIG_FILE, folder / WEIGHTS_FILE, folder.name, None)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise _unknown(source)
    return _load(*_download(str(source), revision), str(source), revision)


def _unknown(source: str | Path) -> WeightsError:
    return WeightsError(
        f"{str(source)!r} is neither a model folder nor a Hub repository of the form user/name, "
        f"nor one of the bundled models: {', '.join(bundled_names())}."
    )


def bundled_names() -> list[str]:
    """Return the names of the bundled models."""
    return sorted(path.parent.name for path in BUNDLED.glob(f"*/{CONFIG_FILE}"))


def model_folder(source: str | Path) -> Path | None:
    """Return the folder of a bundled model or of a path; None if the source is neither.

    Bundled names take precedence; to load a folder of the same name, pass ./name or a Path.
    """
    if isinstance(source, str) and source in bundled_names():
        return BUNDLED / source
    try:
        return Path(source).resolve() if str(source) and Path(source).is_dir() else None
    except (OSError, ValueError, TypeError):  # not a possible file name
        return None


def save_weights(
    model: DenoisingAutoencoder, folder: str | Path, training: dict[str, Any] | None = None, license: str = LICENSE
) -> None:
    """Write config.json and model.safetensors into a folder, which is created if needed.

    license is the Hub's identifier of a licence. Weights fine-tuned from others keep the licence of those, or "" if it
    is not known. Floats are stored as float16. If the file would exceed PLAIN_GIT_BYTES, convolution kernels are stored
    as int8 instead, with one scale for each slice along the first dimension. Raises WeightsError for values that
    float16 can't hold, or if the files can't be written.
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
        if not stored[name].isfinite().all():
            raise WeightsError(f"The network's {name!r} holds values that can't be stored: it has diverged.")
    config = {
        "format": FORMAT,
        "version": __version__,
        "license": license,
        "model": asdict(model.config),
        "training": training or {},
    }
    partial = {name: folder / (name + ".partial") for name in (CONFIG_FILE, WEIGHTS_FILE)}
    try:  # both are written before either old file is replaced
        partial[CONFIG_FILE].write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        partial[WEIGHTS_FILE].write_bytes(save(stored, metadata={"format": "pt"}))  # save_file would make it private
    except OSError as error:
        for path in partial.values():
            path.unlink(missing_ok=True)
        raise WeightsError(f"The weights can't be written to {folder}: {error}.") from error
    for name, path in partial.items():
        path.replace(folder / name)


def _to_int8(kernel: Tensor) -> tuple[Tensor, Tensor]:
    scale = kernel.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12) / 127
    return (kernel / scale).round().to(torch.int8), scale


def _download(repo: str, revision: str | None) -> tuple[Path, Path]:
    """Download both files of the same commit, whatever is pushed in the meantime; return their paths in the cache."""
    where = f"{repo!r} at revision {revision!r}" if revision else repr(repo)
    name = CONFIG_FILE
    try:
        config = Path(hf_hub_download(repo, name, revision=revision))
        name, commit = WEIGHTS_FILE, config.parent.name
        found = hf_hub_download(repo, name, revision=commit, dry_run=True)
        _check_size(name, repo, found.file_size or 0, LIMITS[name])
        return config, Path(hf_hub_download(repo, name, revision=commit))
    except WeightsError:
        raise
    except HFValidationError as error:  # a name that the Hub does not allow, such as ./folder
        raise _unknown(repo) from error
    except GatedRepoError as error:
        raise WeightsError(f"The Hub repository {where} is gated. Request access there and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"The Hub repository {repo!r} has no revision {revision!r}.") from error
    except RepositoryNotFoundError as error:
        message = f"There is no folder and no Hub repository {where}."
        raise WeightsError(message + " If it is private, set HF_TOKEN to a token that can read it.") from error
    except FileNotFoundError as error:  # LocalEntryNotFoundError: no network, and nothing in the cache
        raise WeightsError(f"The Hub can't be reached and {where} is not in the cache.") from error
    except EntryNotFoundError as error:
        raise WeightsError(f"The Hub repository {where} has no {name}. It is not a model of this project.") from error
    except Exception as error:  # the client raises errors of several HTTP libraries
        raise WeightsError(f"{name} could not be fetched from {where} ({type(error).__name__}).") from error


def _load(config_path: Path, tensors_path: Path, source: str, revision: str | None) -> Weights:
    try:
        for path in (config_path, tensors_path):
            if not path.is_file():
                raise WeightsError(f"{source} has no {path.name}. It is not a model of this project.")
            _check_size(path.name, source, path.stat().st_size, LIMITS[path.name])
        config, about = _read_config(config_path, source)
        with tensors_path.open("rb"):
            pass  # an error here is one of the file system, and not of the tensors
    except OSError as error:
        raise WeightsError(f"{source} can't be read: {error.strerror or error}.") from error
    with torch.device("meta"):  # no memory is used until the file is known to fit
        model = DenoisingAutoencoder(config).eval()
    try:
        stored = load_file(tensors_path)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{WEIGHTS_FILE} of {source} is damaged or not a safetensors file.") from error
    _check(stored, model, source)
    state = _decode(stored, source)
    model.load_state_dict(state, assign=True)
    return Weights(model, source, revision, **about)


def _check_size(name: str, source: str, size: int, limit: int) -> None:
    if size > limit:
        raise WeightsError(f"{name} of {source} has {size:,} bytes; at most {limit:,} are read.")


def _read_config(path: Path, source: str) -> tuple[ModelConfig, dict[str, Any]]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{CONFIG_FILE} of {source} is not JSON.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("model"), dict):
        raise WeightsError(
            f"{CONFIG_FILE} of {source} doesn't say format {FORMAT!r}. It is not a model of this project."
        )
    known = {item.name for item in fields(ModelConfig)}
    given = {"estimator_blocks", *config["model"]}  # which older files don't state
    if given != known:
        problem = [f"unknown: {name!r}" for name in sorted(given - known)]
        problem += [f"missing: {name!r}" for name in sorted(known - given)]
        raise WeightsError(f"{CONFIG_FILE} of {source} has the wrong fields ({', '.join(problem)}).")
    kinds = {"version": str, "license": str, "training": dict}
    about = {name: config[name] for name, kind in kinds.items() if isinstance(config.get(name), kind)}
    return ModelConfig(**config["model"]), about


def _check(stored: dict[str, Tensor], model: DenoisingAutoencoder, source: str) -> None:
    """Raise WeightsError unless the stored tensors have exactly the names, shapes and dtypes of the network."""
    expected = model.state_dict()
    for name in sorted(set(expected) | {name for name in stored if not name.endswith(SCALE)}):
        if name not in stored or name not in expected:
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} is {_presence(name in stored)}.")
        given, wanted = stored[name], expected[name]
        dtype = torch.float32 if given.is_floating_point() or given.dtype == torch.int8 else given.dtype
        if given.shape != wanted.shape or dtype != wanted.dtype:
            kinds = f"{dtype} {tuple(given.shape)}, expected {wanted.dtype} {tuple(wanted.shape)}"
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} is {kinds}.")


def _decode(stored: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Convert stored tensors to float32: float16 directly, int8 times its scale. Raises WeightsError if not finite."""
    scales = {name: stored.pop(name) for name in list(stored) if name.endswith(SCALE)}
    state = {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.int8:
            scale = scales.pop(name + SCALE, None)
            shape = (tensor.shape[0], 1, 1, 1) if tensor.dim() == 4 else None
            if scale is None or scale.dtype != torch.float32 or scale.shape != shape:
                raise WeightsError(f"{WEIGHTS_FILE} of {source}: int8 tensor {name!r} has no matching scale.")
            tensor = tensor * scale
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
        if not state[name].isfinite().all():
            raise WeightsError(f"{WEIGHTS_FILE} of {source}: tensor {name!r} holds NaN or infinite values.")
    if scales:
        raise WeightsError(f"{WEIGHTS_FILE} of {source}: {sorted(scales)[0]!r} has no int8 tensor.")
    return state


def _presence(found: bool) -> str:
    return "not part of the network that config.json describes" if found else "missing"
