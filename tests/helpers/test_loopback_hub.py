"""The real client uses the loopback Hub, although it was imported before that Hub started."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import loopback_hub
import numpy as np
import pytest
from huggingface_hub import HfApi, errors, hf_hub_download
from safetensors.numpy import save_file

REPO = "tester/denoiser"


@pytest.fixture
def folder(tmp_path):
    save_file({"weight": np.arange(500_000, dtype=np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"width": 32}')
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A denoiser")
    return tmp_path


@pytest.fixture
def pushed(hub, folder):
    huggingface_hub.create_repo(REPO)
    return HfApi().upload_folder(repo_id=REPO, folder_path=folder, commit_message="Push weights")


def test_an_upload_is_one_commit_and_comes_back_the_same(hub, folder, pushed):
    assert [commit.title for commit in hub.repos[REPO].commits] == ["initial commit", "Push weights"]
    HfApi().create_tag(REPO, tag="v1")
    HfApi().create_branch(REPO, branch="next", revision="v1")
    for revision in ("main", "next", "v1", pushed.oid):
        for file in folder.iterdir():
            assert Path(hf_hub_download(REPO, file.name, revision=revision)).read_bytes() == file.read_bytes()
    assert HfApi().get_safetensors_metadata(REPO).parameter_count == {"F32": 500_000}  # asks for a range
    assert Path(huggingface_hub.snapshot_download(REPO), "config.json").exists()


def test_only_changes_are_committed(hub, folder, pushed):
    assert HfApi().upload_folder(repo_id=REPO, folder_path=folder).oid == pushed.oid
    huggingface_hub.delete_file("config.json", REPO, commit_message="Drop the config")
    first, *_, last = hub.repos[REPO].commits
    assert (last.title, set(last.files)) == ("Drop the config", {".gitattributes", "model.safetensors", "README.md"})
    with pytest.raises(errors.HfHubHTTPError, match="A commit has happened since"):
        HfApi().upload_file(repo_id=REPO, path_or_fileobj=b"x", path_in_repo="x", parent_commit=first.id)


def test_missing_things_raise_the_exceptions_of_the_client(pushed):
    with pytest.raises(errors.RepositoryNotFoundError):
        hf_hub_download("tester/nothing", "config.json")
    with pytest.raises(errors.RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="v9")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        hf_hub_download(REPO, "nothing.json")


def test_each_token_allows_what_it_should(hub, monkeypatch):
    huggingface_hub.create_repo(REPO, private=True)
    assert huggingface_hub.create_repo(REPO, exist_ok=True).repo_id == REPO
    huggingface_hub.create_repo("demo", repo_type="space", space_sdk="gradio")
    assert huggingface_hub.space_info("tester/demo").sha == hub.repos["spaces/tester/demo"].commits[0].id
    monkeypatch.setenv("HF_TOKEN", loopback_hub.READ_TOKEN)
    assert huggingface_hub.whoami()["auth"]["accessToken"]["role"] == "read"
    assert hf_hub_download(REPO, ".gitattributes")
    with pytest.raises(errors.HfHubHTTPError, match="403 Forbidden"):
        huggingface_hub.upload_file(repo_id=REPO, path_or_fileobj=b"x", path_in_repo="x")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(errors.RepositoryNotFoundError):
        hf_hub_download(REPO, "config.json")
    with pytest.raises(errors.HfHubHTTPError, match="Invalid credentials"):
        huggingface_hub.create_repo("other", token="hf_expired")


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_failure_surfaces(hub, pushed, status):
    hub.fail("POST .*/commit/", status)
    with pytest.raises(errors.HfHubHTTPError) as caught:
        HfApi().upload_file(repo_id=REPO, path_or_fileobj=b"x", path_in_repo="x")
    assert caught.value.response.status_code == status


def test_a_late_and_broken_download_arrives(hub, folder, pushed):
    hub.delay("HEAD .*/resolve/", seconds=0.2)
    hub.cut("GET .*/resolve/")
    start = time.monotonic()
    path = hf_hub_download(REPO, "model.safetensors")
    assert time.monotonic() - start > 0.2
    assert Path(path).read_bytes() == (folder / "model.safetensors").read_bytes()
    assert [request.split()[0] for request in hub.requests[-3:]] == ["HEAD", "GET", "GET"]


def test_a_stopped_hub_is_out_of_reach(hub, pushed, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))  # or 23 s
    path = hf_hub_download(REPO, "config.json")
    hub.stop()
    assert hf_hub_download(REPO, "config.json") == path
    with pytest.raises(errors.LocalEntryNotFoundError):
        hf_hub_download(REPO, "README.md")


def test_a_subprocess_uses_the_hub(hub, pushed, tmp_path):
    code = f"from huggingface_hub import hf_hub_download; print(hf_hub_download({REPO!r}, 'config.json'))"
    environment = {**os.environ, **loopback_hub.hub_environment(hub, tmp_path / "home")}
    path = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(path.stdout.strip()).is_relative_to(tmp_path / "home")
