"""The endpoints for programs, over HTTP, gradio_client or MCP: files in, files out."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from functools import wraps
from typing import Any, get_type_hints

import gradio as gr

import denoiser
from denoiser import Denoiser

from .callbacks import NETWORK, Callback, Service, network_runner, open_photo, photo_callback, report_progress
from .display import result_name, write_photo
from .uploads import own_folder

PHOTO_EXAMPLE = {"path": "noisy.jpg", "url": "noisy.jpg", "meta": {"_type": "gradio.FileData"}}
# What the page about the endpoints shows for each parameter: its label and an example.
SHOWN = {"photo": ("Photo", PHOTO_EXAMPLE), "level": ("Noise level", 25), "seed": ("Seed", 0)}
NO_UPLOAD = "{!r} is not an uploaded photo. From Python, pass handle_file({!r}), which uploads it."


def add_endpoints(page: gr.Blocks, model: Denoiser, service: Service) -> None:
    """Add the endpoints to the page.

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
        endpoint.__annotations__ = get_type_hints(endpoint)  # Gradio doesn't resolve a return type that is a string
        callback = uploads_only(photo_callback(service.network, endpoint, nothing_new=None))
        added = gr.api(callback, api_name=endpoint.__name__, **NETWORK)
        label_endpoint(page.fns[added["id"]], list(inspect.signature(endpoint).parameters))


def uploads_only(callback: Callback) -> Callback:
    """Let a callback for a photo say what to do where a program sends the path of a file instead of the file."""

    @wraps(callback)
    async def checked(photo: Any, *arguments: Any) -> AsyncGenerator[Any, None]:
        if isinstance(photo, str):
            raise gr.Error(NO_UPLOAD.format(photo[:200], photo[:200]), print_exception=False)
        async for update in callback(photo, *arguments):
            yield update

    return checked


def label_endpoint(function: Any, parameters: list[str]) -> None:
    """Name the parameters of an endpoint and its result; Gradio would call them "1st" and so on."""
    result = "Noise level" if function.name == "estimate_noise" else "Photo"
    shown = [*(SHOWN[name] for name in parameters), (result, None)]
    for block, (label, example) in zip([*function.inputs, *function.outputs], shown, strict=True):
        block.label = label
        block.example_payload = block.example_value = lambda example=example: example
