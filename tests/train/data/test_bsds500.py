"""The BSDS500 download, from a loopback server: what is unpacked, what is refused, and the splits."""

import contextlib
import hashlib
import io
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from denoiser import Photo, save_image
from train.config import ConfigError
from train.data import bsds500

COUNTS = {"train": 200, "val": 100, "test": 200}
IMAGES = "BSR/BSDS500/data/images"
CBSD68 = (
    "3096 12084 14037 16077 19021 21077 24077 33039 101085 101087 102061 103070 105025 106024 108005 108070 108082 "
    "109053 119082 123074 126007 130026 134035 143090 145086 147091 148026 148089 157055 159008 160068 163085 167062 "
    "167083 170057 175032 175043 182053 189080 196073 197017 208001 210088 216081 219090 220075 223061 227092 229036 "
    "236037 241004 241048 253027 253055 260058 271035 285079 291000 295087 296007 296059 299086 300091 302008 304034 "
    "304074 306005 351093"
)
CBSD68_IDS = CBSD68.split()
VALIDATION_IDS = bsds500.VALIDATION_IDS.split()
NAMES = {
    "train": [f"{1000 + index}.jpg" for index in range(200)],
    "val": [f"{name}.jpg" for name in (*CBSD68_IDS, *VALIDATION_IDS)],
    "test": [f"{5000 + index}.jpg" for index in range(200)],
}
FEW = {split: names[:count] for (split, names), count in zip(NAMES.items(), (4, 2, 3), strict=True)}


@pytest.fixture
def few(monkeypatch):
    """A BSDS500 of nine photos, for tests that don't depend on their number."""
    monkeypatch.setattr(bsds500, "COUNTS", {split: len(names) for split, names in FEW.items()})


@pytest.fixture(scope="session")
def jpeg(tmp_path_factory):
    path = tmp_path_factory.mktemp("jpeg") / "photo.jpg"
    save_image(Photo(np.full((16, 16, 3), 128, dtype=np.uint8)), path)
    return path.read_bytes()


def archive(jpeg, names):
    """An archive with the photos of these names, and what else the real one holds."""
    files = {f"{IMAGES}/{split}/{name}": jpeg for split in names for name in names[split]}
    files |= {f"{IMAGES}/train/Thumbs.db": b"windows", "BSR/BSDS500/data/groundTruth/train/2092.mat": b"truth"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def pinned(data, monkeypatch):
    """Make an archive the one that is expected."""
    monkeypatch.setattr(bsds500, "SHA256", hashlib.sha256(data).hexdigest())
    return data


@pytest.fixture
def good_archive(jpeg, monkeypatch):
    return pinned(archive(jpeg, NAMES), monkeypatch)


@pytest.fixture
def small_archive(few, jpeg, monkeypatch):
    return pinned(archive(jpeg, FEW), monkeypatch)


@pytest.fixture
def serve(monkeypatch):
    """serve(body, status) makes bsds500.URL a loopback server of that body; returns the list of requested paths."""
    with contextlib.ExitStack() as stack:

        def start(body, status=200, length=None, raw=None):
            requests = []

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    requests.append(self.path)
                    if raw is not None:
                        self.wfile.write(raw)
                        return
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body) if length is None else length))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    pass

            server = HTTPServer(("127.0.0.1", 0), Handler)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(server.server_close)
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            monkeypatch.setattr(bsds500, "URL", f"http://127.0.0.1:{server.server_port}/bsds500.tgz")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            return requests

        yield start


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def expected_files(root, names=NAMES):
    return sorted(f"{root}/{split}/{name}" for split in names for name in names[split])


def refused(root):
    """Return the message of the failed download, which must leave nothing behind."""
    before = files_below(root.parent)
    with pytest.raises(ConfigError) as caught:
        bsds500.photo_paths(root)
    assert files_below(root.parent) == before
    assert [path for path in root.parent.iterdir() if path.name.startswith("bsds500-")] == []
    return str(caught.value)


def assert_says_what_else_to_do(message, root):
    assert bsds500.URL in message and "network" in message
    assert f"{root}/train" in message and "--data synthetic" in message


def test_the_photos_are_downloaded_once_and_then_taken_from_the_folder(tmp_path, serve, good_archive, jpeg):
    requests = serve(good_archive)
    first, second = (bsds500.photo_paths(tmp_path / "data/bsds500") for _ in range(2))
    assert requests == ["/bsds500.tgz"]
    assert first == second
    assert {split: len(paths) for split, paths in first.items()} == COUNTS
    assert files_below(tmp_path) == expected_files("data/bsds500")
    assert all(path.read_bytes() == jpeg for path in first["train"])
    assert all(paths == sorted(paths) for paths in first.values())


def test_photos_that_are_there_need_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(bsds500, "URL", "http://127.0.0.1:9/must-not-be-asked")
    for split in NAMES:
        (tmp_path / split).mkdir()
        for name in NAMES[split]:
            (tmp_path / split / name).touch()
    assert len(bsds500.photo_paths(tmp_path)["val"]) == 100


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_download_that_stops_early_is_refused(tmp_path, serve, small_archive, share):
    serve(small_archive[: int(share * len(small_archive))], length=len(small_archive))
    assert_says_what_else_to_do(refused(tmp_path / "bsds500"), tmp_path / "bsds500")


@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_a_download_with_a_changed_byte_is_refused(tmp_path, serve, small_archive, place):
    damaged = bytearray(small_archive)
    damaged[int(place * (len(damaged) - 1))] ^= 1
    serve(bytes(damaged))
    assert_says_what_else_to_do(refused(tmp_path / "bsds500"), tmp_path / "bsds500")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_answer_without_the_archive_is_refused(tmp_path, serve, status):
    serve(b"<html>not here</html>", status=status)
    message = refused(tmp_path / "bsds500")
    assert str(status) in message
    assert_says_what_else_to_do(message, tmp_path / "bsds500")


def test_a_page_in_place_of_the_archive_is_refused_in_one_line(tmp_path, serve):
    serve(b"<html>log in to this network</html>")
    message = refused(tmp_path / "bsds500")
    assert_says_what_else_to_do(message, tmp_path / "bsds500")
    assert "\n" not in message and "ReadError" not in message


@pytest.mark.parametrize("raw", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"], ids=["nothing", "another protocol"])
def test_a_server_that_does_not_speak_http_is_refused(tmp_path, serve, raw):
    serve(b"", raw=raw)
    assert_says_what_else_to_do(refused(tmp_path / "bsds500"), tmp_path / "bsds500")


def test_no_server_is_refused(tmp_path, monkeypatch):
    with socket.socket() as taken:  # bound but not listening: nobody else can answer on this port
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(bsds500, "URL", f"http://127.0.0.1:{taken.getsockname()[1]}/bsds500.tgz")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert_says_what_else_to_do(refused(tmp_path / "bsds500"), tmp_path / "bsds500")


def test_an_incomplete_folder_is_completed(tmp_path, serve, small_archive):
    (tmp_path / "bsds500/train").mkdir(parents=True)
    (tmp_path / "bsds500/train/1000.jpg").touch()
    serve(small_archive)
    bsds500.photo_paths(tmp_path / "bsds500")
    assert files_below(tmp_path) == expected_files("bsds500", FEW)


def test_an_incomplete_folder_is_kept_if_the_download_fails(tmp_path, serve):
    (tmp_path / "bsds500/train").mkdir(parents=True)
    (tmp_path / "bsds500/train/1000.jpg").touch()
    serve(b"", status=404)
    refused(tmp_path / "bsds500")


def test_a_link_to_an_incomplete_folder_is_completed_or_refused(tmp_path, serve, small_archive):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/notes.txt").write_text("mine")
    (tmp_path / "bsds500").symlink_to(tmp_path / "elsewhere")
    serve(small_archive)
    bsds500.photo_paths(tmp_path / "bsds500")
    assert (tmp_path / "elsewhere/notes.txt").read_text() == "mine"


def test_other_files_in_the_folder_survive_the_download(tmp_path, serve, small_archive):
    """Photos of the user in the folder are not deleted."""
    (tmp_path / "bsds500/train").mkdir(parents=True)
    (tmp_path / "bsds500/notes.txt").write_text("mine")
    serve(small_archive)
    bsds500.photo_paths(tmp_path / "bsds500")
    assert (tmp_path / "bsds500/notes.txt").read_text() == "mine"


def test_the_validation_photos_are_those_of_the_split_that_are_not_in_cbsd68(tmp_path, serve, good_archive):
    serve(good_archive)
    paths = bsds500.validation_paths(tmp_path / "bsds500")
    assert {path.stem for path in paths} == set(VALIDATION_IDS)
    assert all(path.is_file() and path.parent.name == "val" for path in paths)


def test_models_are_not_selected_on_photos_of_cbsd68():
    assert len(VALIDATION_IDS) == len(set(VALIDATION_IDS)) == 32 and len(set(CBSD68_IDS)) == 68
    assert not set(VALIDATION_IDS) & set(CBSD68_IDS)
