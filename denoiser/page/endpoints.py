"""What programs call, over HTTP, gradio_client or MCP: files in, files out."""

from __future__ import annotations

import gradio as gr

import denoiser
from denoiser import Denoiser

from .parts import NETWORK, Service, by_turns, followed, network_of, opened, result_path, written


def add_endpoints(model: Denoiser, service: Service) -> None:
    """Each is a generator, so that it can be stopped; what it yields last is of the type that it says it returns."""
    network = network_of(model)

    def denoise(photo: gr.FileData, level: float | None = None) -> gr.FileData:
        """Remove the noise from a photo.

        Args:
            photo: the noisy photo: JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC
            level: strength of the noise, 0 to 100; left out, it is estimated
        """
        noisy = opened(photo)
        result = yield from followed(network(noisy, level, estimate=False))
        yield gr.FileData(path=str(written(result.clean, result_path(photo, "denoised"))))

    def estimate_noise(photo: gr.FileData) -> float:
        """Estimate how strong the noise in a photo is: the standard deviation on the 0-255 scale.

        Args:
            photo: the noisy photo
        """
        result = yield from followed(network(opened(photo), denoise=False))
        yield round(result.level, 2)

    def add_noise(photo: gr.FileData, level: float, seed: int = 0) -> gr.FileData:
        """Add Gaussian noise to a photo.

        Args:
            photo: a clean photo
            level: strength of the noise, 0 to 100: its standard deviation on the 0-255 scale
            seed: the same seed gives the same noise
        """
        noisy = denoiser.add_noise(opened(photo), level, seed)
        yield gr.FileData(path=str(written(noisy, result_path(photo, "noisy"))))

    for endpoint in (denoise, estimate_noise, add_noise):
        callback = by_turns(service.network, endpoint, nothing_new=None)
        gr.api(callback, api_name=endpoint.__name__, **NETWORK)
