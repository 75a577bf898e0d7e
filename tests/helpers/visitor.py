"""A visitor of the page who sends plain HTTP: also what no browser would send, and from any address."""

import json
import secrets
from pathlib import Path

import httpx

SECONDS = 60
BATCH = True, 25, "Like the upload", 95, False  # the settings of the tab for many photos, as it starts
ONE = True, 25, 100, "Before / after"  # the settings of the tab for one photo, as it starts
RUN = "run", "UploadButton", "Textbox"  # the callback for an upload in the tab for one photo, for number_of
# The name of a licence as a model card from anywhere may have it.
LICENSE = """MIT ![x](https://example.org/x.png) <img src="https://example.org/y.png"> <form><input></form> [a](//b) $x$

# www.example.org https://example.org a@example.org `code` *it* ~~no~~ | a | &lt; <!-- -->"""


class Visitor:
    """Asks a running page, by a callback's number or an endpoint's name; `address` is where a proxy says it is."""

    def __init__(self, url: str, address: str | None = None) -> None:
        self.session, self.key = secrets.token_hex(5), "sample"  # of the example, which is there on arrival
        headers = {"x-forwarded-for": address} if address else {}
        self.http = httpx.Client(base_url=f"{url}gradio_api", headers=headers, timeout=SECONDS)

    def upload(self, *paths: Path) -> list[dict]:
        """Upload files and return them as Gradio's callbacks take them."""
        files = [("files", (path.name, path.read_bytes())) for path in paths]
        return [named(path) for path in self.http.post("/upload", files=files).raise_for_status().json()]

    def join(self, number: int, *data: object) -> str:
        """Ask for a callback; returns the event's id."""
        body = {"data": data, "fn_index": number, "session_hash": self.session}
        return self.http.post("/queue/join", json=body).raise_for_status().json()["event_id"]

    def cancel(self, number: int, event: str) -> None:
        self.http.post("/cancel", json={"session_hash": self.session, "fn_index": number, "event_id": event})

    def answer(self, event: str, seconds: float = SECONDS) -> dict:
        """Return the end of an event: {"data": [...]} or {"error": ...}."""
        events = self.http.stream("GET", "/queue/data", params={"session_hash": self.session}, timeout=seconds)
        with events as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed" and message["event_id"] == event:
                    return message["output"]
        raise AssertionError("the page hung up")

    def ask(self, number: int, *data: object) -> dict:
        return self.answer(self.join(number, *data))

    def denoise(self, number: int, upload: dict, settings: tuple = ONE) -> dict:
        """Ask for callback `number`, RUN, and remember the key of the result as the browser does."""
        answer = self.ask(number, upload, self.key, *settings)
        self.key = answer["data"][0] if "data" in answer else None
        return answer

    def call(self, endpoint: str, *data: object) -> str:
        """Return what an endpoint streams back, as text."""
        event = self.http.post(f"/call/{endpoint}", json={"data": data}).raise_for_status().json()["event_id"]
        return self.http.get(f"/call/{endpoint}/{event}").text


def named(path: object, meta: bool = True) -> dict:
    """A file as Gradio's callbacks take it."""
    return {"path": str(path)} | ({"meta": {"_type": "gradio.FileData"}} if meta else {})


def number_of(page, name: str, *kinds: str) -> int:
    """Return the number of a page's callback by its name and, if given, the kinds of its inputs."""
    for number, callback in page.fns.items():
        inputs = tuple(type(block).__name__ for block in callback.inputs)
        if callback.name == name and inputs[: len(kinds)] == kinds:
            return number
    raise AssertionError(f"no callback {name} of {kinds}")
