"""What a request to the page may carry: how much, to which addresses, and which files and values."""

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

MAX_FILES = 50  # in one request
MAX_FILE_BYTES = 200 << 20
MAX_UPLOAD_BYTES = 1 << 30  # of one request with files
MAX_FIELD_BYTES = 1 << 10  # of what else is in it: the page sends nothing
MAX_MCP_BYTES = 32 << 20  # a photo in a data: URL
MAX_BODY_BYTES = 128 << 10  # of any other request: fifty files by name, and some settings
SWEEP_BYTES = 64 << 20  # after so much of an upload there is a look at the room that it takes
FETCH_SECONDS = 60
UNUSABLE = "That can't be used. Load the page anew and choose a photo first."
API = "/gradio_api"
# What the page and its clients send to. Gradio listens at more: a recorder, which runs ffmpeg, and more of that kind.
OPEN_FOR_POST = tuple(API + path for path in ("/upload", "/queue/join", "/call/", "/run/", "/cancel", "/reset", "/mcp"))
OPEN_FOR_POST += ("/login",)
# A proxy for any address, and a copy of a session's settings on the disk.
CLOSED = tuple(API + path for path in ("/file=http:", "/file=https:", "/file/http:", "/file/https:", "/deep_link"))


class Limits:
    """The ASGI middleware that holds requests to these limits."""

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
        too_much = f"At most {limit:,} bytes are taken at once."
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

        with contextlib.suppress(ClientDisconnect):  # in the middle of an upload: there is nobody to answer
            return await self.app(scope, counted, send)


class UploadParser(route_utils.GradioMultiPartParser):
    """Gradio's takes a thousand files at once, form fields of any length, and keeps what was broken off."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"max_files": MAX_FILES})

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            super().on_part_data(data, start, end)
        elif len(self._current_part.data) + end - start <= MAX_FIELD_BYTES:
            self._current_part.data += data[start:end]
        else:
            raise MultiPartException(f"A field exceeds the maximum allowed size of {MAX_FIELD_BYTES} bytes.")

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def hold_to_limits(page: gr.Blocks) -> None:
    """See to it that no callback of a page gets a file that isn't a visitor's, or a value that it can't use.

    Gradio itself lets files without `meta` through, and answers to the rest with nothing but a traceback in the log.
    """
    route_utils.GradioMultiPartParser = UploadParser
    preprocess = page.preprocess_data

    async def named_file(file: dict[str, Any]) -> dict[str, Any]:
        if page.mcp_server and is_http_url_like(file["path"]):
            return file | {"path": await asyncio.wait_for(fetched(file["path"]), FETCH_SECONDS)}
        return file | {"path": str(photo_file(file["path"]))}

    async def checked(block_fn: Any, inputs: list[Any], *arguments: Any, **options: Any) -> list[Any]:
        try:
            inputs = await async_traverse(inputs, named_file, is_file_obj)
            values = await preprocess(block_fn, inputs, *arguments, **options)
            if not all(map(is_usable, block_fn.inputs, values)):
                raise ValueError("a setting")
            return values
        except gr.Error as error:
            error.print_exception = False
            raise
        except ImageError as error:
            raise gr.Error(str(error), print_exception=False) from error
        except Exception as error:
            raise gr.Error(UNUSABLE, print_exception=False) from error

    page.preprocess_data = checked


def is_usable(block: Any, value: Any) -> bool:
    """Whether a setting is one value, and finite: Gradio only looks whether it is out of range."""
    if not isinstance(block, (gr.Slider, gr.Dropdown, gr.Radio, gr.Checkbox)):
        return True
    return math.isfinite(value) if isinstance(value, (int, float)) else isinstance(value, str)


async def fetched(address: str) -> str:
    """Fetch a photo that a program names by its address, as MCP's do, into the upload folder.

    Raises ImageError where that is not possible, or it is too big. The address is public: Gradio sees to that.
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
    except Exception as error:  # what is at the other end, and on the way there, is anybody's guess
        raise ImageError("The photo can't be fetched from there. Give the address of a picture file.") from error
    sweep()
    return str(path)
