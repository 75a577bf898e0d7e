"""The photos that the page offers as examples; the first one is shown on arrival. They ship with Gradio."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import torch
from gradio import media

import denoiser
from denoiser import Denoiser, Photo, noise

from .display import describe_result, write_photo
from .result_cache import CachedResult
from .uploads import examples_folder, own_folder

EXAMPLES = {"groot.jpeg": 0.01, "tower.jpg": 0.004, "lion.jpg": 0.02}  # with the shot noise, see camera_noise
READ_NOISE = 1.5  # standard deviation, as a multiple of the shot noise's variance at white
SAMPLE = "sample"  # the key of the result that is shown on arrival


@dataclass(frozen=True)
class Samples:
    """The paths of the examples, without and with noise, and the result for the first one with a pair to show it."""

    clean: list[str]
    noisy: list[str]
    result: CachedResult
    pair: tuple[str, str]


def make_samples(model: Denoiser) -> Samples:
    """Write the examples into their folder and denoise the first one."""
    folder, clean, noisy = examples_folder(), [], []
    for name, shot in EXAMPLES.items():
        clean.append(str(shutil.copy(media.get_image(name), folder)))
        photo = camera_noise(denoiser.open_image(clean[-1]), shot)
        noisy.append(str(write_photo(photo, folder / f"{Path(name).stem}-with-noise.png")))
    before = denoiser.open_image(noisy[0])
    after, level = model(before), model.estimate_level(before.pixels)
    pair = str(write_photo(before, folder / "before.jpg")), str(write_photo(after, folder / "after.jpg"))
    text = describe_result(before, level)
    result = CachedResult(before, after, Path(noisy[0]).resolve(), own_folder(), True, round(level), text)
    return Samples(clean, noisy, result, pair)


def camera_noise(photo: Photo, shot: float) -> Photo:
    """Add noise to an 8-bit photo as a sensor has it: stronger where it is bright, with variance `shot` at white."""
    pixels = torch.from_numpy(photo.pixels).permute(2, 0, 1) / 255
    noisy = noise.poisson_gaussian(pixels, shot, READ_NOISE * shot, torch.Generator().manual_seed(0))
    return photo.with_pixels((noise.quantize(noisy) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def example_row(paths: list[str], elem_id: str) -> gr.Dataset:
    """Show example photos as small pictures to click; the component's value is the index of the one clicked."""
    return gr.Dataset(
        components=[gr.Image(render=False)],
        samples=[[path] for path in paths],
        type="index",
        label="Or try an example",
        elem_id=elem_id,
    )
