"""Limits on requests to the page: their size, their addresses, and the files and values they contain."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import gradio as gr
from gradio import route_utils
from gradio_client.utils import async_traverse, is_file_obj, is_http_url_like
from starlette.datastructures import FormData, Headers
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from denoiser import ImageError

from .uploads import own_folder, photo_file, sweep

MAX_FILES = 50  # per request
MAX_FILE_BYTES = 200 << 20
MAX_UPLOAD_BYTES = 1 << 30  # of a request with files
MAX_FIELD_BYTES = 1 << 10  # of a form field beside the files; the page itself sends none
MAX_MCP_BYTES = 32 << 20  # a photo in a data: URL
MAX_BODY_BYTES = 128 << 10  # of any other request: the names of fifty files, and some settings
SWEEP_BYTES = 64 << 20  # received bytes of an upload between two checks of the disk space
FETCH_SECONDS = 60
INVALID_INPUT = "This request can't be processed. Reload the page and choose a photo first."
API = "/gradio_api"
# Where the page and its clients post to. Gradio has further routes, such as a screen recorder that runs ffmpeg.
OPEN_FOR_POST = tuple(API + path for path in ("/upload", "/queue/join", "/call/", "/run/", "/cancel", "/reset", "/mcp"))
OPEN_FOR_POST += ("/login",)
# Routes of Gradio that act as a proxy for any address, or copy a session's settings to disk.
CLOSED = tuple(API + path for path in ("/file=http:", "/file=https:", "/file/http:", "/file/https:", "/deep_link"))


class Limits:
    """ASGI middleware that refuses requests above the limits, or to addresses that the page does not use."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(CLOSED) or (scope["method"] == "POST" and not path.startswith(OPEN_FOR_POST)):
            return await PlainTextResponse("Not found.", 404)(scope, receive, send)
        uploading, limit = path.startswith(f"{API}/upload"), MAX_BODY_BYTES
        if uploading or path.startswith(f"{API}/mcp"):
            limit = MAX_UPLOAD_BYTES if uploading else MAX_MCP_BYTES
        too_much = f"The request is too large: at most {limit:,} bytes are accepted."
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            return await PlainTextResponse(too_much, 413)(scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            before, received = received, received + len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, too_much)
            if uploading and (before == 0 or before // SWEEP_BYTES < received // SWEEP_BYTES):
                await asyncio.to_thread(sweep)
            return message

        with contextlib.suppress(ClientDisconnect):  # during an upload: there is nobody left to answer
            return await self.app(scope, counted, send)


class UploadParser(route_utils.GradioMultiPartParser):
    """Gradio's parser with limits on files and form fields, which deletes what an aborted upload left.

    Gradio itself takes a thousand files at once and form fields of any length, and keeps partial files.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"max_files": MAX_FILES})

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            super().on_part_data(data, start, end)
        elif len(self._current_part.data) + end - start <= MAX_FIELD_BYTES:
            self._current_part.data += data[start:end]
        else:
            # Gradio answers 413 to these words, and 400 to others.
            raise MultiPartException(f"A field exceeds the maximum allowed size of {MAX_FIELD_BYTES} bytes.")

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def enforce_limits(page: gr.Blocks) -> None:
    """Check the inputs of every callback: files must be in the upload folder, and values usable.

    Gradio itself lets files without `meta` through. To other bad input it reacts with a traceback in the log only.
    """
    route_utils.GradioMultiPartParser = UploadParser
    preprocess = page.preprocess_data

    async def resolve_file(file: dict[str, Any]) -> dict[str, Any]:
        if page.mcp_server and is_http_url_like(file["path"]):
            return file | {"path": await asyncio.wait_for(fetch_photo(file["path"]), FETCH_SECONDS)}
        return file | {"path": str(photo_file(file["path"]))}

    async def preprocess_checked(block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any) -> list[Any]:
        try:
            inputs = await async_traverse(inputs, resolve_file, is_file_obj)
            values = await preprocess(block_fn, inputs, *arguments, **options)
            if not all(map(is_usable, block_fn.inputs, values)):
                raise ValueError("unusable value")
            return values
        except gr.Error as error:
            error.print_exception = False
            raise
        except ImageError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            raise gr.Error(INVALID_INPUT, print_exception=False) from error

    page.preprocess_data = preprocess_checked


def is_usable(block: Any, value: Any) -> bool:
    """Return whether a setting is a single finite value and an example exists; Gradio only checks a slider's range."""
    if isinstance(block, gr.Dataset):
        return value in range(len(block.samples))
    if not isinstance(block, (gr.Slider, gr.Dropdown, gr.Radio, gr.Checkbox)):
        return True
    return math.isfinite(value) if isinstance(value, (int, float)) else isinstance(value, str)


async def fetch_photo(address: str) -> str:
    """Download a photo that an MCP client names by its URL into the upload folder, and return its path.

    Raises ImageError if that fails or the photo is too big. Gradio refuses URLs that are not public.
    """
    path = own_folder() / (PurePosixPath(urlparse(address).path).name[-100:] or "photo")
    try:
        request = Request({"type": "http", "method": "GET", "headers": []})
        answer = await route_utils.secure_url_stream_response(address, request)
        try:
            with path.open("wb") as file:
                async for chunk in answer.body_iterator:
                    if file.tell() + len(chunk) > MAX_FILE_BYTES:
                        raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
                    file.write(chunk)
        finally:
            await answer.background()
    except Exception as error:  # anything can go wrong between here and a foreign server
        raise ImageError("The photo can't be fetched from this address. Give the URL of an image file.") from error
    sweep()
    return str(path)
