"""Repositories of the loopback Hub: commits in memory, and how the Hub describes their files."""

import hashlib
import secrets
from pathlib import PurePosixPath
from typing import NamedTuple


def is_lfs(path: str, start: bytes) -> bool:
    """Whether a file goes to LFS: roughly the Hub's choice, which is git for text and LFS for everything else."""
    return path.endswith(".safetensors") or b"\0" in start[:512]


def object_id(path: str, data: bytes) -> str:
    """The ETag, and the client's test for an unchanged file: SHA-256 if it is LFS, git's blob id if not."""
    if is_lfs(path, data):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def with_folders(files: dict[str, bytes]) -> list[str]:
    return sorted(
        {part.as_posix() for path in files for part in (PurePosixPath(path), *PurePosixPath(path).parents[:-1])}
    )


def entry(path: str, files: dict[str, bytes]) -> dict:
    """A file or folder as the API describes it."""
    if path not in files:
        return {"type": "directory", "path": path, "oid": "0" * 40}
    return {"type": "file", "path": path, "oid": object_id(path, files[path]), "size": len(files[path])}


class Commit(NamedTuple):
    id: str
    title: str
    files: dict[str, bytes]  # the whole tree


class Repo:
    """Commits, oldest first; `refs` has them by branch, tag and id. As on the Hub, a new one has a commit on main."""

    def __init__(self, private: bool = False):
        self.private = private
        self.variables: dict[str, str] = {}  # of a Space
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
