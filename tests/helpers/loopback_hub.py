"""A Hugging Face Hub on 127.0.0.1, in memory, so that tests push and pull with the real `huggingface_hub`.

The caching, retries and exceptions of that client are what users meet; a fake client would only repeat our own beliefs
about them. This is the other end of the wire, as far as client 2.4 without Xet asks for it: ROUTES lists all that is
answered, for models and Spaces, and to read datasets; other requests get a 501. The fixture `hub`, for a conftest.py to
import, also points the client of this process at the Hub; a subprocess gets
`env={**os.environ, **hub_environment(hub, home)}`.
"""

import base64
import hashlib
import json
import re
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import CodeType
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hub_repository import Commit, Repo, entry, is_lfs, object_id, with_folders

USER = "tester"  # whose both tokens are
WRITE_TOKEN, READ_TOKEN = "hf_loopback_write", "hf_loopback_read"
RIGHTS = {None: "none", f"Bearer {READ_TOKEN}": "read", f"Bearer {WRITE_TOKEN}": "write"}


class Refusal(Exception):
    """Status, message and, where it has one, the code by which the client picks its exception."""


@dataclass
class Fault:
    pattern: str
    times: float = 1
    refusal: Refusal | None = None
    seconds: float = 0
    cut: bool = False


class LoopbackHub(ThreadingHTTPServer):
    """The running server. `stop`, or the end of `with`, takes it down; what it has seen stays to be looked at.

    `repos` is keyed by repository id, with "spaces/" or "datasets/" in front where it is one; `requests`
    are "METHOD path" strings.
    `fail`, `cut` and `delay` spoil the next `times` requests (math.inf: all) in which a regular expression such as
    "GET .*/resolve/" is found; `cut` sends half of the body. One request has one fault, the oldest that is left.
    """

    request_queue_size = 128  # a reader with many threads finds the default of 5 full

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.requests: list[str] = []
        self.objects: dict[str, bytes] = {}  # uploaded to LFS, by SHA-256
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self, *_) -> None:
        self.shutdown()
        self.server_close()  # leaves nobody connected: HTTP/1.0, as spoken here, keeps no connection alive

    __exit__ = stop

    def fail(self, pattern: str, status: int, times: float = 1, code: str = "") -> None:
        self.faults.append(Fault(pattern, times, refusal=Refusal(status, "The test asked for this", code)))

    def cut(self, pattern: str, times: float = 1) -> None:
        self.faults.append(Fault(pattern, times, cut=True))

    def delay(self, pattern: str, seconds: float, times: float = 1) -> None:
        self.faults.append(Fault(pattern, times, seconds=seconds))


class Handler(BaseHTTPRequestHandler):
    """One request. ROUTES picks the method that answers; the groups of the pattern, or "main", are its arguments."""

    def answer(self) -> None:
        request = f"{self.command} {urlsplit(self.path).path}"
        self.server.requests.append(request)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.rights = RIGHTS.get(self.headers.get("Authorization"))
        with self.server.lock:
            due = (fault for fault in self.server.faults if fault.times > 0 and re.search(fault.pattern, request))
            self.fault = next(due, Fault(""))
            self.fault.times -= 1
        time.sleep(self.fault.seconds)
        try:
            self.route(request)
        except Refusal as refusal:
            status, message, code = (*refusal.args, "")[:3]
            self.send({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def route(self, request: str) -> None:
        if self.fault.refusal:
            raise self.fault.refusal
        if self.rights is None:
            raise Refusal(401, "Invalid credentials in Authorization header")
        for pattern, endpoint in ROUTES:
            if match := re.fullmatch(pattern, request):
                return endpoint(self, **{name: unquote(text) for name, text in match.groupdict("main").items()})
        raise Refusal(501, f"The loopback Hub does not know {request}")

    def send(self, content: bytes | dict | list, status: int = 200, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if self.fault.cut else body)

    def find(self, name: str, revision: str = "main", write: bool = False) -> tuple[Repo, Commit]:
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and self.rights == "none"):
            raise Refusal(401 if self.rights == "none" else 404, "Repository not found", "RepoNotFound")
        if write:
            self.require_write(name)
        if revision not in repo.refs:
            raise Refusal(404, "Invalid rev id", "RevisionNotFound")
        return repo, repo.refs[revision]

    def require_write(self, name: str) -> None:
        if self.rights == "none":  # over https the client takes any 401 for a repository that is not there
            raise Refusal(401, "Invalid username or password.", "RepoNotFound")
        if self.rights == "read" or name.split("/")[-2] != USER:
            raise Refusal(403, "You need a token with write access to this namespace")

    def whoami(self) -> None:
        self.send({"type": "user", "name": USER, "orgs": [], "auth": {"accessToken": {"role": self.rights}}})

    def create_repo(self) -> None:
        wanted = json.loads(self.body)
        space = "spaces/" if wanted.get("type") == "space" else ""
        name = f"{space}{wanted.get('organization') or USER}/{wanted['name']}"
        self.require_write(name)
        status = 409 if name in self.server.repos else 200
        self.server.repos.setdefault(name, Repo(wanted.get("visibility") == "private"))
        self.send({"url": f"{self.server.url}/{name}"}, status)  # with exist_ok the client takes the url from a 409

    def info(self, name: str, revision: str) -> None:
        repo, commit = self.find(name, revision)
        files = [{"rfilename": path, "size": len(data)} for path, data in commit.files.items()]
        self.send({"id": name, "sha": commit.id, "private": repo.private, "siblings": files})

    def tree(self, name: str, revision: str, path: str) -> None:
        """List the folders and files below a folder, at any depth."""
        files, folder = self.find(name, revision)[1].files, "" if path == "main" else f"{path}/"
        self.send([entry(found, files) for found in with_folders(files) if found.startswith(folder)])

    def paths_info(self, name: str, revision: str) -> None:
        files, wanted = self.find(name, revision)[1].files, parse_qs(self.body.decode()).get("paths", [])
        self.send([entry(path, files) for path in wanted if path in with_folders(files)])

    def add_ref(self, name: str, revision: str, branch: str) -> None:
        wanted = json.loads(self.body)
        repo, commit = self.find(name, wanted.get("startingPoint", revision), write=True)
        if (ref := wanted.get("tag", branch)) in repo.refs:
            raise Refusal(409, "Reference already exists")
        repo.refs[ref] = commit
        self.send({})

    def add_variable(self, name: str) -> None:
        wanted = json.loads(self.body)
        self.find(name, write=True)[0].variables[wanted["key"]] = wanted["value"]
        self.send({wanted["key"]: {"value": wanted["value"]}})

    def preupload(self, name: str, revision: str) -> None:
        """Tell which files are LFS, and which are there already: the client leaves out unchanged ones."""
        present = self.find(name, revision, write=True)[1].files
        files = json.loads(self.body)["files"]
        for item in files:
            path, start = item["path"], base64.b64decode(item.pop("sample"))
            item |= {"uploadMode": "lfs" if is_lfs(path, start) else "regular", "shouldIgnore": False}
            if path in present:
                item["oid"] = object_id(path, present[path])
        self.send({"files": files})

    def lfs_batch(self, name: str) -> None:
        self.find(name, write=True)
        objects = json.loads(self.body)["objects"]
        for item in objects:
            if item["oid"] not in self.server.objects:
                item["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}}
        self.send({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "The body has another SHA-256")
        self.server.objects[oid] = self.body
        self.send({})

    def commit(self, name: str, revision: str) -> None:
        repo, parent = self.find(name, revision, write=True)
        header, *operations = (json.loads(line) for line in self.body.splitlines())
        if not parent.id.startswith(header["value"].get("parentCommit", "")):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        content = {
            "file": lambda value: base64.b64decode(value["content"]),
            "lfsFile": lambda value: self.server.objects[value["oid"]],
            "deletedFile": lambda value: None,
        }
        changes = {line["value"]["path"]: content[line["key"]](line["value"]) for line in operations}
        answer = {}
        if "create_pr=1" in urlsplit(self.path).query:  # as on the Hub, a branch of its own; here there is but one
            revision = "refs/pr/1"
            repo.refs[revision] = parent
            answer["pullRequestUrl"] = f"{self.server.url}/{name}/discussions/1"
        commit = repo.commit(changes, header["value"]["summary"], revision)
        self.send({"commitOid": commit.id, "commitUrl": f"{self.server.url}/{name}/commit/{commit.id}"} | answer)

    def resolve(self, name: str, revision: str, path: str) -> None:
        commit = self.find(name, revision)[1]
        if (data := commit.files.get(path)) is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        size, etag = len(data), f'"{object_id(path, data)}"'
        headers = {"X-Repo-Commit": commit.id, "ETag": etag, "Accept-Ranges": "bytes"}
        if is_lfs(path, data):
            headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(size)}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
            data, headers["Content-Range"] = data[first : last + 1], f"bytes {first}-{last}/{size}"
        self.send(data, 206 if wanted else 200, headers)


NAME = r"/(?P<name>(?:spaces/|datasets/)?[\w.-]+/[\w.-]+)"  # the key into LoopbackHub.repos
API, REVISION = rf"/api(?:/models)?{NAME}", r"(?P<revision>[^/]+)"
ROUTES = [
    ("GET /api/whoami-v2", Handler.whoami),
    ("POST /api/repos/create", Handler.create_repo),
    ("POST /api/validate-yaml", lambda handler: handler.send({"errors": [], "warnings": []})),
    (rf"GET {API}(?:/revision/{REVISION})?", Handler.info),
    (rf"GET {API}/tree/{REVISION}(?:/(?P<path>.+))?", Handler.tree),
    (rf"POST {API}/paths-info/{REVISION}", Handler.paths_info),
    (rf"POST {API}/(?:tag/{REVISION}|branch/(?P<branch>[^/]+))", Handler.add_ref),
    (rf"POST {API}/variables", Handler.add_variable),
    (rf"POST {API}/preupload/{REVISION}", Handler.preupload),
    (rf"POST {NAME}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (r"PUT /lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    (rf"POST {API}/commit/{REVISION}", Handler.commit),
    (rf"(?:GET|HEAD) {NAME}/resolve/{REVISION}/(?P<path>.+)", Handler.resolve),
]


def hub_environment(hub: LoopbackHub, home: Path, token: str = WRITE_TOKEN) -> dict[str, str]:
    """Environment variables for a new process to use this Hub and keep its cache in `home`; token "" means none."""
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


@cache
def code_of(path: str) -> CodeType:
    return compile(Path(path).read_bytes(), path, "exec")


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A running, empty Hub that this process's client takes for the real one, however long ago it was imported.

    The client turns its environment into huggingface_hub.constants once, on import, and looks there at every call; so
    the constants are worked out again. Only the HfApi behind its module-level functions and the file systems that have
    been made have a copy of the endpoint. The library `datasets` turns its environment into constants likewise.
    """
    from huggingface_hub import HfFileSystem, close_session, constants, hf_api

    with LoopbackHub() as running:
        for name, value in hub_environment(running, tmp_path_factory.mktemp("hf")).items():
            monkeypatch.setenv(name, value)
        for module in filter(None, (constants, sys.modules.get("datasets.config"))):
            worked_out = {"__name__": module.__name__, "__file__": module.__file__}
            exec(code_of(module.__file__), worked_out)
            for name, value in worked_out.items():
                if name.isupper():
                    monkeypatch.setattr(module, name, value)
        HfFileSystem.clear_instance_cache()
        monkeypatch.setattr(hf_api.api, "endpoint", running.url)
        close_session()  # may have been opened with a proxy
        yield running
