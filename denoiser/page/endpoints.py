"""What programs call, over HTTP, gradio_client or MCP: files in, files out."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

import denoiser
from denoiser import Denoiser

from .parts import on_gpu, open_photo, plain_errors, result_path


def add_endpoints(model: Denoiser) -> None:
    @on_gpu
    def denoise(photo: gr.FileData, level: float | None = None) -> gr.FileData:
        """Remove the noise from a photo.

        Args:
            photo: the noisy photo: JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC
            level: strength of the noise, 0 to 100; left out, it is estimated
        """
        path = Path(photo["path"])
        noisy = open_photo(path)
        with plain_errors():
            file = result_path(path, "denoised")
            denoiser.save_image(model(noisy, level), file)
        return gr.FileData(path=str(file))

    @on_gpu
    def estimate_noise(photo: gr.FileData) -> float:
        """Estimate how strong the noise in a photo is: the standard deviation on the 0-255 scale.

        Args:
            photo: the noisy photo
        """
        opened = open_photo(photo["path"])
        with plain_errors():
            return round(model.estimate_level(opened.pixels), 2)

    def add_noise(photo: gr.FileData, level: float, seed: int = 0) -> gr.FileData:
        """Add Gaussian noise to a photo.

        Args:
            photo: a clean photo
            level: strength of the noise, 0 to 100: its standard deviation on the 0-255 scale
            seed: the same seed gives the same noise
        """
        path = Path(photo["path"])
        clean = open_photo(path)
        with plain_errors():
            file = result_path(path, "noisy")
            denoiser.save_image(denoiser.add_noise(clean, level, seed), file)
        return gr.FileData(path=str(file))

    for endpoint in (denoise, estimate_noise, add_noise):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_id="model")
