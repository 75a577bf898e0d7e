"""Publish a model folder, or the page, on the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, RepoCard
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import filter_repo_objects

from denoiser.weights import CONFIG_FILE, WEIGHTS_FILE, load_weights

from ..config import ConfigError
from ..measure.results import RESULTS_FILE
from .card import CARD_FILE, PICTURES, card_of, name_of, stale_files, write_card
from .dtmodel import EXTENSION, dtmodel, model_id
from .export import export

ONNX_FILE = "onnx/model.onnx"  # where the Hub's other libraries look for it
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, RESULTS_FILE)
CHECKOUT = Path(__file__).resolve().parents[2]
SPACE_CARD = "README.md"
SPACE_FILES = ("app.py", "denoiser/**", "train/**", "weights/**", "requirements.txt", "README.md", "LICENSE")


@dataclass(frozen=True)
class Pushed:
    """The outcome of a push: its address, which is the pull request's if one was opened, and the commit."""

    url: str
    commit: str


def files_to_push(folder: str | Path) -> list[Path]:
    """Return the files of a model folder to push, after writing the card if it is missing.

    Raises WeightsError if load() would refuse the folder, ConfigError if the card or the results belong to other
    weights.
    """
    folder = Path(folder)
    load_weights(folder)
    if not (folder / CARD_FILE).is_file():
        write_card(folder)
    for name in stale_files(folder):
        raise ConfigError(
            f"{name} in {folder} belongs to other weights, or doesn't say to which: measure these with "
            f"`python -m train evaluate --model {folder} --data PHOTOS --save`, or delete it"
        )
    return [folder / name for name in (*FILES, *PICTURES) if (folder / name).is_file()]


def contents_to_push(folder: str | Path, onnx: bool = False) -> dict[str, Path | bytes]:
    """Return what goes to the Hub by the name it has there, with `onnx` including the exports and a card that shows it.

    Raises the errors of files_to_push and export.
    """
    contents: dict[str, Path | bytes] = {path.name: path for path in files_to_push(folder)}
    if onnx:
        name, weights = name_of(folder), load_weights(folder)
        exported = export(weights, name)
        contents[CARD_FILE] = card_of(folder, exported=True).encode()
        contents[ONNX_FILE] = exported
        contents[model_id(name) + EXTENSION] = dtmodel(weights, name, exported)
    return contents


def push(
    folder: str | Path,
    repo: str,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    onnx: bool = False,
) -> Pushed:
    """Push a model folder to the Hub in one commit, creating the repository and the branch `revision` if needed.

    With `onnx`, the weights' exports go along; without, those of an earlier push are removed, as they may be of other
    weights.
    Unchanged files make no new commit. The token is that of the Hub client: HF_TOKEN or `hf auth login`. Raises
    WeightsError if the folder can't be loaded, ConfigError if its card or results belong to other weights, if they
    can't be exported, or if the Hub refuses or can't be reached.
    """
    contents = contents_to_push(folder, onnx)
    api = HfApi()
    with plain_refusals(repo):
        api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo, branch=revision, exist_ok=True)
        there = api.list_repo_files(repo, revision=revision)
        exports = [path for path in there if path == ONNX_FILE or path.endswith(EXTENSION)]
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(path, content) for path, content in contents.items()),
                *(CommitOperationDelete(path) for path in exports if path not in contents),
            ],
            revision=revision,
            create_pr=create_pr,
            commit_message=f"Add {name_of(folder)}",
        )
        if tag is not None:
            api.create_tag(repo, tag=tag, revision=commit.oid)
    return Pushed(commit.pr_url or commit.commit_url, commit.oid)


def space_contents() -> dict[str, Path | bytes]:
    """Return the files of this checkout that go to a Space, by the name they have there."""
    found = filter_repo_objects(
        sorted(CHECKOUT.glob("[!.]*/**/*")) + sorted(CHECKOUT.glob("*")),
        allow_patterns=list(SPACE_FILES),
        ignore_patterns=["**/__pycache__/**"],
        key=lambda path: path.relative_to(CHECKOUT).as_posix(),
    )
    return {path.relative_to(CHECKOUT).as_posix(): path for path in found if path.is_file()}


def push_space(space: str, private: bool = False, model: str | None = None) -> Pushed:
    """Push this checkout to a Hugging Face Space in one commit, without tests, data and runs.

    With `model`, a Hub repository, the page runs on its weights instead of the bundled ones. Raises ConfigError as push
    does.
    """
    api = HfApi()
    files = space_contents()
    files[SPACE_CARD] = space_card(f"{api.endpoint}/spaces/{space}", model).encode()
    with plain_refusals(space):
        api.create_repo(space, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        if model:
            api.add_space_variable(space, "DENOISER_MODEL", model)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(space, operations, repo_type="space", commit_message="Update the page")
    return Pushed(f"{api.endpoint}/spaces/{space}", commit.oid)


def space_card(url: str, model: str | None) -> str:
    """Return README.md with the header entries that need the address of the Space and its model."""
    card = RepoCard((CHECKOUT / SPACE_CARD).read_text(encoding="utf-8"))
    header: Any = card.data  # takes any key
    header.thumbnail = f"{url}/resolve/main/denoiser/page/screenshot.jpg"
    if model:
        header.models = [model]
        header.preload_from_hub = [f"{model} {CONFIG_FILE},{WEIGHTS_FILE}"]
    return str(card)


@contextmanager
def plain_refusals(repo: str) -> Iterator[None]:
    """Turn every error of the Hub or the network into a ConfigError of one sentence that says what to do."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise ConfigError("there is no Hub token: run `hf auth login` or set HF_TOKEN to one that can write") from error
    except HFValidationError as error:
        raise ConfigError(f"{repo!r} is not a valid repository name; the form is user/name") from error
    except ValueError as error:
        raise ConfigError(f"the Hub rejected the card of {repo}: {error}") from error
    except HfHubHTTPError as error:
        if error.response.status_code == 409:
            message = f"{repo} already has that tag: {error.server_message}"
        elif error.response.status_code in (401, 403):
            message = f"this token can't write to {repo}: run `hf auth login` or set HF_TOKEN to one that can"
        else:
            message = f"the Hub refused ({error.response.status_code}): {error.server_message or 'no reason given'}"
        raise ConfigError(message) from error
    except Exception as error:  # the client lets its HTTP library's connection errors through
        raise ConfigError(f"{repo} could not be pushed ({type(error).__name__}): is the network up?") from error
