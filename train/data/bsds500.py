"""The Berkeley BSDS500 photos: the download, and the splits that this project uses.

Arbelaez, Maire, Fowlkes, Malik: "Contour Detection and Hierarchical Image Segmentation", PAMI 2011. The photos are for
non-commercial research and education; they are fetched from Berkeley and never redistributed.
"""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from tqdm import tqdm

from ..config import ConfigError

URL = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz"
SHA256 = "97e49d31764f3912f0c4122707d53062ac9e783ba0f095e447a4d53c1a41af8e"
MIRROR = "https://github.com/BIDS/BSDS500"
IMAGES = "BSR/BSDS500/data/images"  # in the archive
COUNTS = {"train": 200, "val": 100, "test": 200}
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
        archive = Path(folder, "bsds500.tgz")
        try:
            _fetch(URL, archive)
        except (OSError, http.client.HTTPException) as error:
            reason = str(error).partition("\n")[0]
            raise ConfigError(
                f"BSDS500 could not be downloaded from {URL} ({reason}). Check the network, or copy the "
                f"photos (also in {MIRROR}) to {root}/train, {root}/val and {root}/test, or train on --data synthetic."
            ) from error
        try:
            _unpack(archive, Path(folder))
            root.mkdir(parents=True, exist_ok=True)
            for split in COUNTS:
                shutil.rmtree(root / split, ignore_errors=True)
                shutil.move(Path(folder, IMAGES, split), root / split)
        except OSError as error:
            raise ConfigError(f"the photos of BSDS500 could not be unpacked to {root}: {error}") from error


def _fetch(url: str, target: Path) -> None:
    """Download the archive. Raises OSError or HTTPException if that fails or if what came is another file."""
    with urllib.request.urlopen(url, timeout=30) as response, target.open("wb") as file:
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm.wrapattr(response, "read", total=size or None, desc="BSDS500") as body:
            shutil.copyfileobj(body, file)
    if hashlib.sha256(target.read_bytes()).hexdigest() != SHA256:
        raise OSError("what came is not the whole archive: its SHA-256 differs")


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        photos = [member for member in tar if member.name.startswith(IMAGES) and member.name.endswith(".jpg")]
        tar.extractall(folder, photos, filter="data")
