"""Package an exported network for darktable, which imports a .dtmodel: a zip of config.json and model.onnx."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from denoiser.weights import DEFAULT, Weights

from .card import limits_text
from .export import metadata

PROJECT = "photo-denoiser"
EXTENSION = ".dtmodel"


def model_id(name: str) -> str:
    """Return the id of a model in darktable, where two of one id exclude each other."""
    return PROJECT if name == DEFAULT else f"{PROJECT}-{name}"


def dtmodel(weights: Weights, name: str, onnx_file: bytes) -> bytes:
    """Return the .dtmodel with an exported blind network in it."""
    identifier = model_id(name)
    config = json.dumps(config_of(weights, name), indent=2) + "\n"
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in (("config.json", config), ("model.onnx", onnx_file)):
            archive.writestr(zipfile.ZipInfo(f"{identifier}/{file}"), content, zipfile.ZIP_DEFLATED)
    return package.getvalue()


def config_of(weights: Weights, name: str) -> dict[str, Any]:
    """Return darktable's description of a model, with the terms and limits that it asks models to name."""
    facts = metadata(weights, name)
    return {
        "id": model_id(name),
        "name": facts["name"],
        "description": "Blind denoiser for photos: a small convolutional autoencoder",
        "task": "denoise",
        "arch": "generic",
        "backend": "onnx",
        "version": facts["version"],
        "tiling": True,
        "model_card": {
            "scope": "noise of cameras and Gaussian noise in developed photos",
            "license": facts["license"],
            "training_data": facts["training_data"],
            "notes": limits_text(weights.training),
        },
    }
