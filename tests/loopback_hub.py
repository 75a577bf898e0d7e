"""A Hugging Face Hub on 127.0.0.1, in memory, so that tests push and pull with the real `huggingface_hub`.

The caching, retries and exceptions of that client are what users meet; a fake client would only repeat our own beliefs
about them. This is the other end of the wire, as far as client 2.4 without Xet asks for it: ROUTES lists all that is
answered, for models and Spaces, and anything else gets a 501 that names the request.

    with LoopbackHub() as hub:
        hub.create_repo("someone/denoiser").commit({"config.json": b"{}"}, "Add a model")
        hub.fail("GET .*/resolve/", status=503)

The fixture `hub`, for a conftest.py to import, also points the client of this process at the Hub. A subprocess gets
`env={**os.environ, **hub_environment(hub, home)}`.
"""

import base64
import hashlib
import json
import re
import runpy
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

USER = "tester"  # whose both tokens are
WRITE_TOKEN, READ_TOKEN = "hf_loopback_write", "hf_loopback_read"
RIGHTS = {None: "none", f"Bearer {READ_TOKEN}": "read", f"Bearer {WRITE_TOKEN}": "write"}
MAX_GIT_SIZE = 10 * 1024 * 1024  # bytes; a larger file goes to LFS whatever it holds


def needs_lfs(path: str, start: bytes, size: int) -> bool:
    """The Hub's choice: small text goes to git, everything else to LFS."""
    return size > 0 and (path.endswith(".safetensors") or size > MAX_GIT_SIZE or b"\0" in start[:512])


def object_id(path: str, data: bytes) -> str:
    """The ETag, and the client's test for an unchanged file: SHA-256 if it is LFS, git's blob id if not."""
    if needs_lfs(path, data, len(data)):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Refusal(Exception):
    """An error as the Hub reports it; by `code` the client picks its exception."""

    status: int
    message: str
    code: str = ""


@dataclass
class Fault:
    pattern: str
    times: float = 1
    refusal: Refusal | None = None
    seconds: float = 0
    cut: bool = False


@dataclass
class Commit:
    id: str
    title: str
    files: dict[str, bytes]  # the whole tree


class Repo:
    """Commits, oldest first; `refs` has them by branch, tag and id. As on the Hub, a new one has a commit on main."""

    def __init__(self, private: bool = False):
        self.private = private
        self.commits: list[Commit] = []
        self.refs: dict[str, Commit] = {}
        self.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")

    def commit(self, changes: dict[str, bytes | None], title: str, branch: str = "main") -> Commit:
        """Add a commit to a branch; None deletes a file."""
        files = {**(self.refs[branch].files if self.commits else {}), **changes}
        commit = Commit(secrets.token_hex(20), title, {path: data for path, data in files.items() if data is not None})
        self.commits.append(commit)
        self.refs[branch] = self.refs[commit.id] = commit
        return commit

    def at(self, revision: str) -> Commit:
        if revision not in self.refs:
            raise Refusal(404, "Invalid rev id", code="RevisionNotFound")
        return self.refs[revision]


class LoopbackHub:
    """The server: `with` starts it, `stop` takes it down early, and what it has seen stays to be looked at.

    `repos` goes by repository id, for a Space with "spaces/" in front; `requests` are "METHOD path" strings.
    `fail`, `cut` (after half of the body) and `delay` spoil the next `times` requests (math.inf: all) in which a
    regular expression is found, such as "GET .*/resolve/". A request meets one fault, the oldest that is left.
    """

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.objects: dict[str, bytes] = {}  # uploaded to LFS, by SHA-256
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "LoopbackHub":
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()

    __exit__ = stop

    def create_repo(self, name: str, private: bool = False) -> Repo:
        self.repos[name] = Repo(private)
        return self.repos[name]

    def fail(self, pattern: str, status: int, times: float = 1, code: str = "") -> None:
        self.faults.append(Fault(pattern, times, refusal=Refusal(status, "The test asked for this", code)))

    def cut(self, pattern: str, times: float = 1) -> None:
        self.faults.append(Fault(pattern, times, cut=True))

    def delay(self, pattern: str, seconds: float, times: float = 1) -> None:
        self.faults.append(Fault(pattern, times, seconds=seconds))

    def take_fault(self, request: str) -> Fault:
        with self.lock:
            due = (fault for fault in self.faults if fault.times > 0 and re.search(fault.pattern, request))
            fault = next(due, Fault(""))
            fault.times -= 1
            return fault


class Handler(BaseHTTPRequestHandler):
    """One request. ROUTES picks the method that answers it; the groups of the pattern are the arguments.

    This class speaks HTTP/1.0 unless told otherwise: no connection is kept alive, so none outlives LoopbackHub.stop.
    """

    hub: LoopbackHub

    def answer(self) -> None:
        request = f"{self.command} {urlsplit(self.path).path}"
        self.hub.requests.append(request)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.fault = self.hub.take_fault(request)
        time.sleep(self.fault.seconds)
        try:
            self.route(request)
        except Refusal as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            self.send({"error": error.message}, error.status, headers)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def route(self, request: str) -> None:
        self.rights = RIGHTS.get(self.headers.get("Authorization"))
        if self.fault.refusal:
            raise self.fault.refusal
        if self.rights is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        for pattern, endpoint in ROUTES:
            if match := re.fullmatch(pattern, request):
                return endpoint(self, **{name: unquote(text) for name, text in match.groupdict("main").items()})
        raise Refusal(501, f"The loopback Hub does not know {request}")

    def send(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Bytes go out as they are, anything else as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if self.fault.cut else body)

    def repo(self, name: str, write: bool = False) -> Repo:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and self.rights == "none"):
            raise Refusal(401 if self.rights == "none" else 404, "Repository not found", code="RepoNotFound")
        if write:
            self.require_write(name)
        return repo

    def require_write(self, name: str) -> None:
        if self.rights == "none":  # over https the client takes any 401 for a repository that is not there
            raise Refusal(401, "Invalid username or password.", code="RepoNotFound")
        if self.rights == "read" or name.split("/")[-2] != USER:
            raise Refusal(403, "You need a token with write access to this namespace")

    def whoami(self) -> None:
        if self.rights == "none":
            raise Refusal(401, "Invalid username or password.")
        self.send({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": self.rights}}})

    def create_repo(self) -> None:
        wanted = json.loads(self.body)
        prefix = "spaces/" if wanted.get("type") == "space" else ""
        name = f"{prefix}{wanted.get('organization') or USER}/{wanted['name']}"
        self.require_write(name)
        exists = name in self.hub.repos
        if not exists:
            self.hub.create_repo(name, private=wanted.get("visibility") == "private")
        self.send({"url": f"{self.hub.url}/{name}"}, 409 if exists else 200)  # exist_ok takes the url from the 409

    def validate_card(self) -> None:
        self.send({"errors": [], "warnings": []})

    def info(self, name: str, revision: str) -> None:
        repo = self.repo(name)
        commit = repo.at(revision)
        siblings = [{"rfilename": path} for path in commit.files]
        self.send({"id": name, "sha": commit.id, "private": repo.private, "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        files = self.repo(name).at(revision).files.items()
        self.send([{"type": "file", "path": p, "oid": object_id(p, data), "size": len(data)} for p, data in files])

    def add_ref(self, name: str, revision: str, branch: str) -> None:
        repo, wanted = self.repo(name, write=True), json.loads(self.body)
        ref = wanted.get("tag", branch)
        if ref in repo.refs:
            raise Refusal(409, "Reference already exists")
        repo.refs[ref] = repo.at(wanted.get("startingPoint", revision))
        self.send({})

    def preupload(self, name: str, revision: str) -> None:
        """Which files are LFS, and what is there already: the client leaves out those that have not changed."""
        present = self.repo(name, write=True).at(revision).files
        answers = []
        for item in json.loads(self.body)["files"]:
            path = item["path"]
            lfs = needs_lfs(path, base64.b64decode(item["sample"]), item["size"])
            known = {"oid": object_id(path, present[path])} if path in present else {}
            answers.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, **known})
        self.send({"files": answers})

    def lfs_batch(self, name: str) -> None:
        """Where to put the objects that are not there yet."""
        self.repo(name, write=True)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.hub.objects:
                item["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{item['oid']}"}}
        self.send({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The body has another SHA-256")
        self.hub.objects[oid] = self.body
        self.send({})

    def commit(self, name: str, revision: str) -> None:
        repo = self.repo(name, write=True)
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        if not repo.at(revision).id.startswith(header["value"].get("parentCommit", "")):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        changes: dict[str, bytes | None] = {}
        for operation in operations:
            match operation:
                case {"key": "file", "value": {"path": path, "content": content}}:
                    changes[path] = base64.b64decode(content)
                case {"key": "lfsFile", "value": {"path": path, "oid": oid}}:
                    changes[path] = self.hub.objects[oid]
                case {"key": "deletedFile", "value": {"path": path}}:
                    changes[path] = None
        commit = repo.commit(changes, header["value"]["summary"], revision)
        self.send({"commitOid": commit.id, "commitUrl": f"{self.hub.url}/{name}/commit/{commit.id}"})

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit = self.repo(name).at(revision)
        if path not in commit.files:
            raise Refusal(404, "Entry not found", code="EntryNotFound")
        data = commit.files[path]
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{object_id(path, data)}"', "Accept-Ranges": "bytes"}
        if needs_lfs(path, data, len(data)):
            headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(data))}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data = data[first : last + 1]
        self.send(data, 206 if wanted else 200, headers)


NAME = r"/(?P<name>(?:spaces/)?[\w.-]+/[\w.-]+)"  # the key into LoopbackHub.repos
API = rf"/api(?:/models)?{NAME}"
REVISION = r"(?P<revision>[^/]+)"
ROUTES = [
    ("GET /api/whoami-v2", Handler.whoami),
    ("POST /api/repos/create", Handler.create_repo),
    ("POST /api/validate-yaml", Handler.validate_card),
    (rf"GET {API}(?:/revision/{REVISION})?", Handler.info),
    (rf"GET {API}/tree/{REVISION}", Handler.tree),
    (rf"POST {API}/(?:tag/{REVISION}|branch/(?P<branch>[^/]+))", Handler.add_ref),
    (rf"POST {API}/preupload/{REVISION}", Handler.preupload),
    (rf"POST {NAME}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    (rf"POST {API}/commit/{REVISION}", Handler.commit),
    (rf"(?:GET|HEAD) {NAME}/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]


def hub_environment(hub: LoopbackHub, home: Path, token: str = WRITE_TOKEN) -> dict[str, str]:
    """The variables under which a new process uses this Hub and keeps its cache in `home`; "" is no token."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # or weights go to another service, by another protocol
        "HF_HUB_DISABLE_TELEMETRY": "1",  # or the first request of a process is GET /api/agent-harnesses
        "no_proxy": "127.0.0.1",
    }


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A running, empty Hub that this process's client takes for the real one, however long ago it was imported.

    The client turns its environment into huggingface_hub.constants once, on import, and looks there at every call; so
    the constants are worked out again. Only the HfApi behind its module-level functions has a copy of the endpoint.
    """
    from huggingface_hub import close_session, constants, hf_api

    with LoopbackHub() as running:
        for name, value in hub_environment(running, tmp_path_factory.mktemp("hf")).items():
            monkeypatch.setenv(name, value)
        for name, value in runpy.run_path(constants.__file__).items():
            if name.isupper():
                monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(hf_api.api, "endpoint", running.url)
        close_session()  # it may have been opened with a proxy
        yield running
