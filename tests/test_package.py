"""The installable package: the library and the command, with the bundled weights inside."""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import denoiser
from denoiser import Photo, open_image, save_image
from denoiser.weights import bundled_names

ROOT = Path(__file__).resolve().parent.parent


def pins(lines):
    return {re.sub(r"[\s'\"]", "", line.partition("#")[0]) for line in lines if re.match(r"[\w-]", line)}


def test_the_pins_are_those_of_the_requirements():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everything = pins((ROOT / "requirements.txt").read_text().splitlines())
    assert pins(project["dependencies"]) | pins(project["optional-dependencies"]["page"]) == everything
    development = pins((ROOT / "requirements-dev.txt").read_text().splitlines())
    for extra in ("train", "export"):
        assert pins(project["optional-dependencies"][extra]) <= development


def test_the_version_is_the_same_everywhere():
    assert f"version: {denoiser.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {denoiser.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_an_installed_wheel_denoises_from_any_folder(tmp_path):
    def run(*command, cwd=tmp_path):
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    site = Path(
        run(tmp_path / "venv/bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    site.joinpath("dependencies.pth").write_text(sysconfig.get_path("purelib"))  # no network: this venv's own
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv"]
    run(*pip, "install", "--no-deps", "--no-index", "--no-build-isolation", ROOT)
    assert {"page.css", "page.js"} <= {path.name for path in site.glob("denoiser/page/*")}

    save_image(Photo(np.full((40, 60, 3), 128, np.uint8)), tmp_path / "noisy.png")
    run(tmp_path / "venv/bin/denoise", "noisy.png", "-o", "clean.png", "--model", "classic")
    assert isinstance(open_image(tmp_path / "clean.png"), Photo)
    assert sorted(path.name for path in site.glob("denoiser/bundled/*")) == sorted(bundled_names())
    where = run(tmp_path / "venv/bin/python", "-c", "import importlib.util as u; print(u.find_spec('denoiser').origin)")
    assert where.startswith(str(tmp_path / "venv"))
