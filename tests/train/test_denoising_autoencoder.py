"""The notebook runs from top to bottom offline, and the network that it trains denoises."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "train" / "denoising_autoencoder.ipynb"
SECTIONS = ["1. Setup", "2. Data", "3. Model", "4. Train", "5. Evaluate"]


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def printed(notebook, word):
    """Return the numbers of the line that starts with `word` in what a notebook printed."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            for line in output.get("text", "").splitlines():
                if line.startswith(word):
                    return [float(part) for part in line.split() if part.replace(".", "").isdigit()]
    raise AssertionError(f"nothing printed starts with {word!r}")


def test_the_notebook_has_its_five_sections_and_the_outputs_of_a_whole_run(notebook):
    headings = [cell.source.splitlines()[0] for cell in notebook.cells if cell.source.startswith("## ")]
    assert headings == [f"## {section}" for section in SECTIONS]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    noisy, denoised = printed(notebook, "PSNR:")
    assert denoised > noisy + 4
    assert NOTEBOOK.stat().st_size < 1_500_000


@pytest.mark.slow
def test_the_notebook_runs_without_a_network_and_psnr_rises(notebook, tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # whatever is fetched fails
    changes = {
        'checkout / "runs" / "notebook"': f"Path({str(tmp_path)!r})",
        "STEPS = 300": "STEPS = 16",
        "max(1, STEPS // 5)": "STEPS",
        "validation_photos=6": "validation_photos=2",
        "import denoiser\n": "import denoiser, train.data.photo_files as files\n"
        "files.SYNTHETIC_COUNT, files.SYNTHETIC_VALIDATION, files.SYNTHETIC_SIDE = 4, 2, 96\n",
    }
    for given, tried in changes.items():
        [cell] = [cell for cell in notebook.cells if cell.cell_type == "code" and given in cell.source]
        cell.source = cell.source.replace(given, tried)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    noisy, denoised = printed(notebook, "PSNR:")
    assert denoised > noisy + 1
    (accuracy,) = printed(notebook, "accuracy:")
    assert 0.3 < accuracy <= 1
    assert (tmp_path / "weights" / "model.safetensors").is_file()
