"""What a request to the page may carry; what is over the limits gets an answer, and no traceback."""

import asyncio
import json
import socket
from pathlib import Path

import httpx
import pytest
from page_process import wait_for
from starlette.responses import StreamingResponse
from visitor import BATCH, ONE, RUN, Visitor, named, number_of

import app
from denoiser import ImageError
from denoiser.page import limits
from denoiser.page.display import escape_markdown
from denoiser.page.uploads import upload_folder

pytestmark = pytest.mark.slow

VIEW, FORMAT = "Before / after", "Like the upload"
JUNK = [None, 5, -1.5, True, "x", "", [], {}, [[]], {"path": 5}, {"path": None, "url": "x"}, {"meta": {}}, "\0", 1e308]


@pytest.fixture
def visitor(tiny_page):
    return Visitor(tiny_page[1])


def in_pieces(size):
    """A body that doesn't say how long it is."""
    return (b"x" * 1000 for _ in range(-(-size // 1000)))


@pytest.mark.parametrize("body", [bytes, in_pieces])
@pytest.mark.parametrize("path", ["/queue/join", "/call/denoise", "/run/denoise", "/cancel", "/reset"])
def test_a_request_that_is_too_long_is_refused(visitor, path, body):
    headers = {"content-type": "application/json"}
    answer = visitor.http.post(path, content=body(limits.MAX_BODY_BYTES + 1000), headers=headers)
    assert answer.status_code == 413 and f"{limits.MAX_BODY_BYTES:,}" in answer.text


def test_fifty_files_of_long_names_fit_into_a_request(visitor, tiny_page, tmp_path):
    files = [named(f"/tmp/photo-denoiser-12345678/{'f' * 64}/" + "й" * 127) for _ in range(50)]
    for file in files:
        file.update(url=httpx.URL("http://localhost:7860").join(file["path"]).raw_path.decode(), orig_name="й" * 127)
    body = {
        "data": [files, *BATCH],
        "fn_index": number_of(tiny_page[0], "run", "File"),
        "session_hash": visitor.session,
    }
    content = json.dumps(body, ensure_ascii=False).encode()
    assert len(content) > limits.MAX_BODY_BYTES / 2
    headers = {"content-type": "application/json"}
    assert visitor.http.post("/queue/join", content=content, headers=headers).status_code == 200


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_too_long_is_refused(visitor, monkeypatch, announced):
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 100_000)
    body = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n' + bytes(200_000) + b"\r\n--x--"
    content = body if announced else (body[start : start + 1000] for start in range(0, len(body), 1000))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = visitor.http.post("/upload", content=content, headers=headers)
    assert answer.status_code == 413 and "100,000" in answer.text


def test_form_fields_and_the_number_of_files_are_limited(visitor, capfd):
    for path in ("/upload", "/upload?upload_id=1"):
        answer = visitor.http.post(path, files={"files": (None, "x" * 2000)})
        assert answer.status_code == 413 and "field" in answer.text
    files = [("files", (f"{number}.png", b"x")) for number in range(limits.MAX_FILES + 1)]
    assert visitor.http.post("/upload", files=files[1:]).status_code == 200
    answer = visitor.http.post("/upload", files=files)
    assert answer.status_code == 400 and "50" in answer.text
    assert "Traceback" not in capfd.readouterr().err


def test_an_upload_that_is_broken_off_leaves_nothing(tiny_page, capfd):
    address, before = httpx.URL(tiny_page[1]), set(upload_folder().iterdir())
    start = b'--x\r\ncontent-disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(300_000)
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nContent-Type: "
    with socket.create_connection((address.host, address.port)) as connection:
        connection.sendall(head + b"multipart/form-data; boundary=x\r\n\r\n" + start)
        wait_for(lambda: set(upload_folder().iterdir()) > before)
    wait_for(lambda: set(upload_folder().iterdir()) == before)
    assert "Traceback" not in capfd.readouterr().err


def test_the_queue_is_not_walked_round(visitor, tiny_page, photo):
    page, _ = tiny_page
    upload = visitor.upload(photo)[0]
    for endpoint in ("denoise", "estimate_noise", "add_noise", "run", "run_1", "run_2", "show_again", "make_file"):
        for path in ("run", "api"):
            answer = visitor.http.post(f"/{path}/{endpoint}", json={"data": [upload, 20, 0]})
            assert answer.status_code in (404, 500), (path, endpoint)  # 500: there is none of that name
    for number, callback in page.fns.items():
        if callback.fn is not None and any(
            type(block).__name__ in ("UploadButton", "File", "Api") for block in callback.inputs
        ):
            body = {"data": [upload] * 9, "fn_index": number, "session_hash": visitor.session}
            assert visitor.http.post("/run/predict", json=body).status_code == 404


def test_what_the_page_does_not_need_is_closed(visitor):
    for path in ("/process_recording", "/component_server", "/vibe-edit", "/stream/1", "/run-history/connect"):
        assert visitor.http.post(path, json={}).status_code == 404
    for path in ("/file=https://example.org/photo.png", "/file/http://example.org/", "/deep_link?session_hash=x"):
        assert visitor.http.get(path).status_code == 404


@pytest.mark.parametrize("root", ["", "/photos"])
def test_the_limits_hold_behind_a_proxy_that_keeps_or_strips_its_path(root):
    async def status(path):
        sent = []

        async def application(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path, "root_path": root, "headers": []}
        await limits.Limits(application)(scope, None, send)
        return sent[0]["status"]

    for prefix in {"", root}:
        assert asyncio.run(status(f"{prefix}/gradio_api/component_server")) == 404
        assert asyncio.run(status(f"{prefix}/gradio_api/queue/join")) == 200


def test_no_file_or_value_gets_an_empty_answer_or_a_traceback(visitor, tiny_page, photo, capfd):
    page, _ = tiny_page
    upload = visitor.upload(photo)[0]
    for junk in JUNK:
        for endpoint, rest in {"denoise": [None], "estimate_noise": [], "add_noise": [20, 0]}.items():
            assert_answered(visitor.call(endpoint, junk, *rest))
        assert_answered(visitor.call("denoise", upload, junk))
        assert_answered(visitor.call("add_noise", upload, junk, 0))
        assert_answered(visitor.call("add_noise", upload, 20, junk))
        for number in (
            number_of(page, *RUN),
            number_of(page, "run", "UploadButton", "Slider"),
        ):
            fine = [upload, None, *ONE] if len(page.fns[number].inputs) > 2 else [upload, 25]
            for place, value in enumerate(fine):
                if value is not None:
                    assert_answered(visitor.ask(number, *fine[:place], junk, *fine[place + 1 :]))
            assert_answered(visitor.ask(number, *fine[:-1]))
        for files in (junk, [junk], [upload, junk]):
            assert_answered(visitor.ask(number_of(page, "run", "File"), files, *BATCH))
        assert_answered(visitor.ask(number_of(page, "zip_files"), None))
        for amount, view in ((junk, VIEW), (50, junk)):
            assert_answered(visitor.ask(number_of(page, "show_again"), visitor.key, amount, view))
        for place, value in enumerate(fine := [None, 50, FORMAT, 95, False]):
            if value is not None:
                assert_answered(visitor.ask(number_of(page, "make_file"), *fine[:place], junk, *fine[place + 1 :]))
    for number in ("NaN", "Infinity", "1e400"):
        body = {
            "data": [None, "number", VIEW],
            "fn_index": number_of(page, "show_again"),
            "session_hash": visitor.session,
        }
        content = json.dumps(body).replace('"number"', number)
        headers = {"content-type": "application/json"}
        event = visitor.http.post("/queue/join", content=content, headers=headers).json()["event_id"]
        assert "error" in visitor.answer(event)
    assert "Traceback" not in capfd.readouterr().err


def assert_answered(answer):
    """A result, or a sentence."""
    if isinstance(answer, str):
        lines = [line.removeprefix("data: ") for line in answer.splitlines()]
        answer = json.loads(lines[lines.index("event: error") + 1]) if "event: error" in lines else {"data": True}
    assert answer.get("data") or len(answer["error"]) > 15, answer


def test_no_setting_gets_into_a_path(visitor, tiny_page, photo):
    page, _ = tiny_page
    visitor.denoise(number_of(page, *RUN), visitor.upload(photo)[0])
    answer = visitor.ask(number_of(page, "make_file"), visitor.key, 50, FORMAT, 95, "/../../../../tmp/x")
    assert answer["data"][0]["path"].endswith("/50-95-True/holiday-denoised.png")


def test_a_seed_that_is_no_whole_number_is_named(visitor, photo):
    upload = visitor.upload(photo)[0]
    for seed in ("x", 1.5, 2**70, True, [1]):
        assert "whole number" in visitor.call("add_noise", upload, 20, seed)


def test_what_is_remembered_of_visitors_is_limited(tiny_page, monkeypatch):
    page, url = tiny_page
    assert page.state_holder.capacity == app.MAX_SESSIONS
    visitor, number, held = Visitor(url), number_of(page, "show_again"), page.state_holder.session_data
    visitor.ask(number, None, 100, VIEW)
    monkeypatch.setattr(page.state_holder, "capacity", len(held))
    for visitor.session in map(str, range(20)):
        visitor.ask(number, None, 100, VIEW)
    assert visitor.session in held and len(held) <= page.state_holder.capacity


def test_text_from_elsewhere_is_no_markup():
    assert escape_markdown("café 5 m, <b>\n\n# [x](y)") == r"café 5 m\, \<b\> \# \[x\]\(y\)"


# --- photos by address, which is how programs of MCP name them ---------------------------------------------------


def fetch(monkeypatch, chunks, limit=1000):
    async def answer(address, request):
        async def body():
            for chunk in chunks:
                yield chunk

        async def close():
            pass

        return StreamingResponse(body(), background=close)

    monkeypatch.setattr(limits.route_utils, "secure_url_stream_response", answer)
    monkeypatch.setattr(limits, "MAX_FILE_BYTES", limit)
    return asyncio.run(limits.fetch_photo("https://example.org/a/photo.png?x=1"))


def test_a_photo_is_fetched_up_to_its_limit(tiny_page, monkeypatch):
    path = fetch(monkeypatch, [b"abc", b"def"])
    assert path.endswith("/photo.png") and Path(path).read_bytes() == b"abcdef"

    def endless():
        while True:
            yield bytes(100)

    with pytest.raises(ImageError, match="can't be fetched"):
        fetch(monkeypatch, endless())


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/x.png", "http://localhost/", "http://[::1]/", "https://", "http:x"]
)
def test_nothing_is_fetched_from_this_machine(tiny_page, address):
    with pytest.raises(ImageError, match="can't be fetched"):
        asyncio.run(limits.fetch_photo(address))
