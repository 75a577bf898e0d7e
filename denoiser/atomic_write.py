"""A file that is replaced whole or not at all."""

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
    """Open a new file that takes the place of the one at the path, if any, once all is written and on the disk.

    Whatever happens before leaves what was there. A link stays and its target is replaced; owner and permissions stay.
    Raises OSError where the file can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        old = target.stat()
    except FileNotFoundError:
        old = None
    if old and not stat.S_ISREG(old.st_mode):
        raise OSError(errno.EINVAL, "there is something else than a file of that name")
    mode = stat.S_IMODE(old.st_mode) if old else 0o666
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")  # same folder, so that the replacement is atomic
    try:
        with open(temporary, "x+b", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            if old:
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name with nothing in it
        if old:
            with contextlib.suppress(OSError, AttributeError):  # only root may give files away, and not on Windows
                os.chown(temporary, old.st_uid, old.st_gid)
            os.chmod(temporary, mode)  # of which the umask may have taken something
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
