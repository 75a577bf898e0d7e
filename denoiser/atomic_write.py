"""Replacing a file completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces the one at `path`, if any, when the context ends without an error.

    Until then, and after an error, the old file is untouched. A symbolic link is kept and its target replaced, with
    the same permissions and, where the system allows it, the same owner. Raises OSError if the file can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    if old and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "the name belongs to something other than a file")
    mode = stat.S_IMODE(old.st_mode) if old else 0o666
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")  # same folder, so that the replacement is atomic
    try:
        with open(temporary, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if old:
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave an empty file
        if old:
            with contextlib.suppress(OSError, AttributeError):  # not root, or Windows
                os.chown(temporary, old.st_uid, old.st_gid)
            os.chmod(temporary, mode)  # the umask may have removed some of it
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
