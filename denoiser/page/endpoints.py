"""The endpoints for programs, over HTTP, gradio_client or MCP: files in, files out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

import denoiser
from denoiser import Denoiser

from .callbacks import NETWORK, Service, network_runner, open_photo, photo_callback, report_progress
from .display import result_name, write_photo
from .uploads import own_folder


def add_endpoints(model: Denoiser, service: Service) -> None:
    """Add the endpoints to the current page.

    Each is a generator, so that it can be stopped. Gradio reads its signature and docstring for the API: the return
    type is that of the last item it yields.
    """
    network = network_runner(model)

    def denoise(photo: gr.FileData, level: float | None = None) -> gr.FileData:
        """Remove the noise from a photo.

        Args:
            photo: the noisy photo: JPEG, PNG, WebP, TIFF, BMP, AVIF or HEIC
            level: noise strength, 0 to 100; estimated if left out
        """
        noisy = open_photo(photo)
        result = yield from report_progress(network(noisy, level, estimate=False))
        yield gr.FileData(path=str(write_photo(result.clean, own_folder() / result_name(photo, "denoised"))))

    def estimate_noise(photo: gr.FileData) -> float:  # type: ignore[misc]  # the type of what it yields last
        """Estimate how strong the noise in a photo is: its standard deviation on the 0-255 scale.

        Args:
            photo: the noisy photo
        """
        result = yield from report_progress(network(open_photo(photo), denoise=False))
        yield round(result.level, 2)

    def add_noise(photo: gr.FileData, level: float, seed: int = 0) -> gr.FileData:
        """Add Gaussian noise to a photo.

        Args:
            photo: a clean photo
            level: noise strength, 0 to 100: its standard deviation on the 0-255 scale
            seed: the same seed gives the same noise
        """
        noisy = denoiser.add_noise(open_photo(photo), level, seed)
        yield gr.FileData(path=str(write_photo(noisy, own_folder() / result_name(photo, "noisy"))))

    endpoints: tuple[Callable[..., Any], ...] = (denoise, estimate_noise, add_noise)
    for endpoint in endpoints:
        callback = photo_callback(service.network, endpoint, nothing_new=None)
        gr.api(callback, api_name=endpoint.__name__, **NETWORK)
