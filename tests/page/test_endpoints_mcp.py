"""The endpoints as tools of MCP, through the real client, on a page that was started as the README says."""

import asyncio
import base64
from io import BytesIO

import numpy as np
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

import app
import denoiser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_MCP_SERVER", "True")
        page = app.build_page(model, "")
        app.launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield page.local_url
        page.close()


def call(url, name, arguments):
    """Return the names of the tools and the answer of one of them."""

    async def scene():
        async with (
            streamable_http_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            return names, await session.call_tool(name, arguments)

    return asyncio.run(scene())


def test_the_tools_are_the_endpoints_and_denoise_a_photo(url, photo):
    pixels = denoiser.open_image(photo).pixels
    data = {"photo": "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()}
    names, estimated = call(url, "estimate_noise", data)
    assert names == ["denoise", "estimate_noise", "add_noise"]
    assert float(estimated.content[0].text) == pytest.approx(denoiser.load().estimate_level(pixels), abs=0.1)
    _, denoised = call(url, "denoise", data | {"level": 25})
    [picture] = [item for item in denoised.content if item.type == "image"]
    found = np.array(Image.open(BytesIO(base64.b64decode(picture.data))))
    assert np.abs(found.astype(int) - denoiser.load().denoise(pixels, 25)).max() <= 1


def test_a_photo_that_cannot_be_fetched_gets_a_sentence(url):
    _, answer = call(url, "denoise", {"photo": "http://127.0.0.1:1/x.png"})
    assert answer.isError and "can't be fetched from this address" in answer.content[0].text
