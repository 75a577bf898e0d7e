"""The Berkeley BSDS500 photos: download, check, unpack, and the splits that this project uses.

Arbelaez, Maire, Fowlkes, Malik: "Contour Detection and Hierarchical Image Segmentation", PAMI 2011. The photos are for
non-commercial research and education; they are fetched from Berkeley and never redistributed.
"""

from __future__ import annotations

import gzip
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from tqdm import tqdm

from ..config import ConfigError

URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
MEMBERS = "BSR/BSDS500/data/images/"
COUNTS = {"train": 200, "val": 100, "test": 200}
MAX_PHOTO_BYTES = 1 << 20  # the largest of the 500 has about 150 KB: a much larger member is not a photo
FETCH_ERRORS = (urllib.error.URLError, http.client.HTTPException, tarfile.TarError, zlib.error, OSError, EOFError)
CACHE = Path("data/bsds500")

# The validation photos that are not in CBSD68 (the other 68 are): models are selected on these, never on CBSD68.
VALIDATION_IDS = (
    "8023 37073 38082 38092 41033 41069 42012 42049 43074 45096 54082 55073 58060 62096 65033 66053 69015 69020 "
    "69040 76053 78004 85048 86000 86016 86068 87046 89072 97033 156065 361010 376043 385039 "
)


def photo_paths(root: Path = CACHE) -> dict[str, list[Path]]:
    """Return the photo paths of each split, after downloading the photos if `root` lacks them.

    The result is {"train": 200 paths, "val": 100, "test": 200}. Raises ConfigError if the download fails.
    """
    if not _complete(root):
        _download(root)
    return {split: sorted((root / split).glob("*.jpg")) for split in COUNTS}


def validation_paths(root: Path = CACHE) -> list[Path]:
    """Return the paths of the 32 validation photos that are not in CBSD68."""
    chosen = set(VALIDATION_IDS.split())
    return [path for path in photo_paths(root)["val"] if path.stem in chosen]


def _complete(root: Path) -> bool:
    return all(len(list((root / split).glob("*.jpg"))) == count for split, count in COUNTS.items())


def _download(root: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix="bsds500-") as folder:
        archive, unpacked = Path(folder, "bsds500.tgz"), Path(folder, "photos")
        try:
            _fetch(URL, archive)
            _unpack(archive, unpacked)
        except FETCH_ERRORS as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"BSDS500 could not be downloaded from {URL} ({reason}). Check the network, unpack the archive by "
                f"hand to have its photos in {root}/train, {root}/val and {root}/test, or train on --data synthetic."
            ) from error
        if not _complete(unpacked):
            found = {split: len(list((unpacked / split).glob("*.jpg"))) for split in COUNTS}
            raise ConfigError(f"the archive at {URL} holds {found} photos; expected {COUNTS}")
        try:
            root.mkdir(parents=True, exist_ok=True)
            for split in COUNTS:
                shutil.rmtree(root / split, ignore_errors=True)
                shutil.move(unpacked / split, root / split)
        except OSError as error:
            raise ConfigError(f"the photos of BSDS500 could not be moved to {root}: {error}") from error


def _fetch(url: str, target: Path) -> None:
    with urllib.request.urlopen(url, timeout=30) as response, target.open("wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(total=size or None, unit="B", unit_scale=True, desc="BSDS500") as bar:
            while chunk := response.read(1 << 18):
                file.write(chunk)
                bar.update(len(chunk))


def _unpack(archive: Path, target: Path) -> None:
    """Extract only the photos, by name, so that nothing else in the archive reaches the disk."""
    with gzip.open(archive) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            _take_photos(tar, target)
        while stream.read(1 << 20):  # read to the end, where the checksum is
            pass


def _take_photos(tar: tarfile.TarFile, target: Path) -> None:
    for member in tar:
        name = Path(member.name)
        split = name.parent.name
        wanted = member.name == f"{MEMBERS}{split}/{name.name}" and split in COUNTS and name.suffix == ".jpg"
        if wanted and member.isfile() and member.size <= MAX_PHOTO_BYTES and (content := tar.extractfile(member)):
            (target / split).mkdir(parents=True, exist_ok=True)
            with (target / split / name.name).open("wb") as file:
                shutil.copyfileobj(content, file)
