"""The photos that the page offers as examples, and the one that it shows on arrival. They ship with Gradio."""

from __future__ import annotations

import shutil
from pathlib import Path

import gradio as gr
import torch
from gradio import media

import denoiser
from denoiser import Denoiser, Photo, noise

from .display import write_photo
from .uploads import examples_folder

EXAMPLES = {"tower.jpg": 15, "cheetah.jpg": 25, "lion.jpg": 60}  # with the level of the noise
SAMPLE, SHOT, READ = "cheetah.jpg", 0.02, 0.03  # shown on arrival; for shot and read noise on [0, 1], as of a sensor


def clean_examples() -> list[str]:
    """Copy the example photos into the folder of examples; return their paths."""
    return [str(shutil.copy(media.get_image(name), examples_folder())) for name in EXAMPLES]


def noisy_examples() -> list[str]:
    """Add noise to the same photos; return the paths. They are written anew at each start."""
    paths = []
    for name, level in EXAMPLES.items():
        photo = denoiser.open_image(media.get_image(name))
        path = examples_folder() / f"{Path(name).stem}-noise-{level}.png"
        paths.append(str(write_photo(denoiser.add_noise(photo, level), path)))
    return paths


def sample_pair(model: Denoiser) -> tuple[str, str]:
    """Return the paths of a noisy and a denoised photo to show on arrival, with noise as a camera's sensor makes it."""
    pixels = torch.from_numpy(denoiser.open_image(media.get_image(SAMPLE)).pixels).permute(2, 0, 1) / 255
    noisy = noise.quantize(noise.poisson_gaussian(pixels, SHOT, READ, torch.Generator().manual_seed(0)))
    before = Photo((noisy * 255).round().byte().permute(1, 2, 0).numpy())
    paths = examples_folder() / "sample-before.jpg", examples_folder() / "sample-after.jpg"
    for photo, path in zip((before, model(before)), paths, strict=True):
        write_photo(photo, path)
    return str(paths[0]), str(paths[1])


def example_row(paths: list[str], elem_id: str) -> gr.Dataset:
    """Show example photos as small pictures to click; the component's value is the index of the one clicked."""
    return gr.Dataset(
        components=[gr.Image(render=False)],
        samples=[[path] for path in paths],
        type="index",
        label="Or try an example",
        elem_id=elem_id,
    )
