"""Model cards: a description of the weights, their measured results and their training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from denoiser.weights import WEIGHTS_FILE, Weights, load_weights

from ..config import HUB
from ..files import write_file
from ..measure.network_size import network_size
from ..measure.results import RESULTS_FILE, WEIGHTS_KEY, Result, fingerprint, markdown_table, read_results, stored_rows

CARD_FILE = "README.md"
PICTURES = {  # shown in the card if they are in the folder
    "example.jpg": "A photo with noise, denoised, and the original",
    "chart.png": "PSNR against CPU time, compared with published networks",
}
PEERS = """\
Published for the same photos, unclipped noise of level 15, 25 and 50: CDnCNN-B, blind, 33.89, 31.23 and 27.92 dB (Zhang
et al. 2017); FFDNet, told the level, 33.87, 31.21 and 27.96 (Zhang et al. 2018); DRUNet, told the level, 34.30, 31.69
and 28.51 (Zhang et al. 2021), which is the goal."""

DATA_TERMS = {
    "bsds500": "the 200 training photos of the Berkeley BSDS500 (Arbeláez et al. 2011), which are for non-commercial "
    "research and education",
    "bsds400": "the 200 training and 200 test photos of the Berkeley BSDS500 (Arbeláez et al. 2011), which are for "
    "non-commercial research and education",
    "photos_open": "325 photos under open terms (CID22: CC BY-SA 4.0; CLIC 2025: Unsplash Licence; GB82 and "
    "wallpapers of free desktops: CC0, Unsplash or Pexels Licence)",
    "synthetic": "dead leaves pictures drawn by this project, free of any terms",
}
ONNX_USE = """\
### Without PyTorch
`onnx/model.onnx` takes and returns sRGB on [0, 1], planar, of any height and width. With ONNX Runtime and Pillow:

```python
import numpy as np
import onnxruntime
from huggingface_hub import hf_hub_download
from PIL import Image

session = onnxruntime.InferenceSession(hf_hub_download("user/name", "onnx/model.onnx"))
noisy = np.asarray(Image.open("noisy.jpg").convert("RGB"), np.float32) / 255
planes = noisy.transpose(2, 0, 1)[None]  # 1×3×H×W
[clean] = session.run(["output"], {"input": planes})
Image.fromarray((255 * clean[0].transpose(1, 2, 0)).round().astype(np.uint8)).save("clean.png")
```

darktable 5.6 imports the `.dtmodel` in its AI preferences, by "import from file".

"""
GAUSSIAN_LIMITS = """\
Trained only on Gaussian noise. Camera noise depends on brightness and is smoothed by software, so it is often taken for
texture and left in."""
CAMERA_LIMITS = """\
Camera noise is simulated in training. Artefacts that the simulation lacks (strong noise reduction in the camera,
banding, hot pixels) may be left in or smeared, and texture that looks like noise is lost."""


def save_results(folder: str | Path, results: list[Result]) -> None:
    """Save measured results beside the weights and in the card.

    They are added to earlier results of the same weights, and replace those measured in the same way. Raises
    ConfigError if they can't be written.
    """
    weights = fingerprint(folder)
    joined = {(row.dataset, row.noise, row.told, row.level): row for row in [*read_results(folder), *results]}
    rows = [row.to_json() | {WEIGHTS_KEY: weights} for row in joined.values()]
    write_file(Path(folder, RESULTS_FILE), json.dumps(rows, indent=2) + "\n")
    write_card(folder)


def stale_files(folder: str | Path) -> list[str]:
    """Return the names of the card and results files that belong to other weights, or don't say to which."""
    card, results, weights = Path(folder, CARD_FILE), Path(folder, RESULTS_FILE), fingerprint(folder)
    stale = {
        CARD_FILE: card.is_file() and weights not in card.read_text(encoding="utf-8"),
        RESULTS_FILE: any(measured != weights for measured, _ in stored_rows(results)),
    }
    return [name for name in stale if stale[name]]


def forget_card(folder: str | Path) -> None:
    """Remove the card, results and pictures of replaced weights."""
    for name in (CARD_FILE, RESULTS_FILE, *PICTURES):
        Path(folder, name).unlink(missing_ok=True)


def name_of(folder: str | Path) -> str:
    """Return the name of a model: that of its folder, or of the run if the folder is a run's `weights`."""
    folder = Path(folder).resolve()
    return folder.parent.name if folder.name == "weights" else folder.name


def write_card(folder: str | Path) -> None:
    """Write the model card from config.json and results.json. Raises ConfigError if it can't be written."""
    write_file(Path(folder, CARD_FILE), card_of(folder))


def card_of(folder: str | Path, exported: bool = False) -> str:
    """Return the model card of a folder; it shows how to use the ONNX export if there is one beside the weights."""
    folder = Path(folder)
    pictures = [f"![{text}]({name})" for name, text in PICTURES.items() if (folder / name).is_file()]
    results = read_results(folder)
    return card_text(name_of(folder), load_weights(folder), fingerprint(folder), results, pictures, exported)


def card_text(
    name: str, weights: Weights, sha256: str, results: list[Result], pictures: list[str], exported: bool = False
) -> str:
    """Format the model card for the Hub: metadata with every result, then text for people."""
    training = weights.training
    metadata = ModelCardData(
        license=weights.license or None,
        library_name="pytorch",
        pipeline_tag="image-to-image",
        tags=["image-denoising", "image-restoration", "blind-denoising", "autoencoder"],
        datasets=[source.removeprefix(HUB) for source in _sources(training) if source.startswith(HUB)] or None,
        metrics=["psnr", "ssim"],
        model_name=f"photo-denoiser {name}",
        eval_results=_eval_results(results) or None,
    )
    parameters, gmac = network_size(weights.model)
    table = markdown_table(results) if results else "Not measured yet: run `python -m train evaluate --save`."
    if any(row.dataset == "cbsd68" for row in results):
        table += f"\n\n{PEERS}"
    measured = "\n\n".join([table, *pictures])
    return f"""---
{metadata.to_yaml()}
---
# photo-denoiser: {name}

A skip-connected denoising autoencoder for photos, {_kind(name)}. {parameters / 1e6:.2f} M parameters,
{gmac:.1f} GMAC for 256×256 pixels.{_version_text(weights.version)}

## Use
```python
import denoiser  # from the photo-denoiser checkout

model = denoiser.load("user/name")  # this repository or a copy of the folder
denoiser.save_image(model(denoiser.open_image("noisy.jpg")), "clean.png")
```
In the shell: `python -m denoiser noisy.jpg -o clean.png --model user/name`

{ONNX_USE if exported else ""}## Measured
Gaussian noise of the given level (σ on the 0–255 scale), PSNR in dB; blind unless a row says "told the level".
"unclipped" is the protocol of the literature, "8-bit" the same noise clipped and rounded as in a file; "real" is camera
noise, measured against the mean of many shots. Printed by `python -m train evaluate`.

{measured}

These results are for the `{WEIGHTS_FILE}` with the SHA-256 `{sha256}`.

## Training
{_training_text(training)}

## Limits
{limits_text(training)}

## Licence
The licence of the weights: {weights.license or "not recorded"}. The licence of the code: apache-2.0.
{terms_text(training)}
"""


def _kind(name: str) -> str:
    if name == "classic":
        return "the reference network of this project, blind only: the baseline for `photo`"
    return "blind and steerable: the noise level is estimated from the photo, or given"


def _version_text(version: str) -> str:
    return f" Version {version}." if version else ""


def _training_text(training: dict[str, Any]) -> str:
    if not training:
        return "Not recorded."
    measured = "mean of levels 15, 25 and 50"
    if _saw_cameras(training):
        measured = f"half of it the {measured}, half simulated uploads"
    return (
        f"{training['steps']:,} steps, {training['crops']:,} crops, {training['minutes']:g} minutes on "
        f"{training['device']}; {training['validation_psnr']:.2f} dB on the validation photos ({measured})."
        f"{_epochs(training)}\n\n{_settings_text(training)}"
    ) + _origin_text(training.get("started_from"))


def _settings(training: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the initial settings of a run, then each change; older weights record only one set."""
    settings = training.get("settings", [])
    return settings if isinstance(settings, list) else [settings]


def _runs(training: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the facts of a run, of the one whose weights it started from, and so on; {} where none are recorded."""
    runs = [training]
    while (started_from := runs[-1].get("started_from")) is not None:
        runs.append(started_from)
    return runs


def _sources(training: dict[str, Any]) -> list[str]:
    """Return the recorded training data of all runs, the last run's first."""
    return list(dict.fromkeys(source for run in _runs(training) for source in run.get("data", ())))


def _saw_cameras(training: dict[str, Any]) -> bool:
    """Return whether a run, without those before it, had the noise of cameras."""
    return any(part.get("camera_share") for part in _settings(training))


def _settings_text(training: dict[str, Any]) -> str:
    parts = []
    for part in _settings(training):
        listed = ", ".join(f"{key} {value}" for key, value in part.items() if key != "from_step" and value is not None)
        parts.append(
            f"From step {part['from_step']:,} on: {listed}." if part.get("from_step") else f"Settings: {listed}."
        )
    return "\n\n".join(parts)


def _origin_text(started_from: dict[str, Any] | None) -> str:
    return f"\n\nIt started from earlier weights: {_training_text(started_from)}" if started_from else ""


def _epochs(training: dict[str, Any]) -> str:
    """Return the length of a classic run in epochs of 200 photos, as the reference counts."""
    if training.get("recipe") != "classic":
        return ""
    return f" That is {round(training['crops'] / 200, 1):g} of the 150 epochs of the reference's recipe."


def limits_text(training: dict[str, Any]) -> str:
    """Return what the network can't do, by the noise that it was trained on in all runs."""
    return CAMERA_LIMITS if any(_saw_cameras(run) for run in _runs(training)) else GAUSSIAN_LIMITS


def terms_text(training: dict[str, Any]) -> str:
    """Return a sentence that names the training data of all runs and their terms."""
    sources = [DATA_TERMS.get(source, _unknown_terms(source)) for source in _sources(training)]
    if not sources:
        return "Their training data is not recorded."
    if not all(run.get("data") for run in _runs(training)):
        sources.append("earlier data that is not recorded")
    return f"They were trained on {', and on '.join(sources)}."


def _unknown_terms(source: str) -> str:
    if source.startswith(HUB):
        return f"the Hub dataset {source.removeprefix(HUB)}, under its terms"
    return f"the photo folder {source!r}"


def _eval_results(results: list[Result]) -> list[EvalResult]:
    """Return every PSNR and SSIM in the form of the Hub's results table."""
    found = []
    for row in results:
        level = "" if row.level is None else f"level {row.level:g}, "
        config = f"{level}{row.noise} noise" + (", told the level" if row.told else "")
        for metric, value in (("PSNR", round(row.psnr, 2)), ("SSIM", round(row.ssim, 4))):
            if not math.isfinite(value):  # the PSNR of identical pictures, which the Hub can't show
                continue
            found.append(
                EvalResult(
                    task_type="image-to-image",
                    task_name="Image denoising",
                    dataset_type=row.dataset,
                    dataset_name=f"{row.dataset}, {config}",
                    dataset_config=config,  # tells the rows of one data set apart
                    metric_type=metric.lower(),
                    metric_name=metric,
                    metric_value=value,
                )
            )
    return found
