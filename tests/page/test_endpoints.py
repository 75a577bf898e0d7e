"""The endpoints as their own documentation shows them."""

import httpx
import pytest
from gradio_client import Client, exceptions

import denoiser

pytestmark = pytest.mark.slow


def test_parameters_and_results_have_names(url):
    endpoints = httpx.get(f"{url}gradio_api/info").json()["named_endpoints"]
    labels = {name: [item["label"] for item in shown["parameters"]] for name, shown in endpoints.items()}
    returned = [item for shown in endpoints.values() for item in shown["returns"]]
    results = [(item["label"], item["python_type"]["type"]) for item in returned]
    assert labels == {
        "/denoise": ["Photo", "Noise level"],
        "/estimate_noise": ["Photo"],
        "/add_noise": ["Photo", "Noise level", "Seed"],
    }
    assert results == [("Photo", "filepath"), ("Noise level", "float"), ("Photo", "filepath")]


def test_the_examples_run_as_they_are_shown(url, noisy_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noisy.jpg").symlink_to(noisy_file)
    for shown in httpx.get(f"{url}gradio_api/info").json()["named_endpoints"].values():
        exec(shown["code_snippets"]["python"].replace("Client(", "Client(verbose=False, src="), {})
    denoised, level, noisy = capsys.readouterr().out.split()
    assert 10 < float(level) < 40
    assert all(denoiser.open_image(path).pixels.size for path in (denoised, noisy))


def test_a_plain_path_gets_told_what_to_do(url):
    with pytest.raises(exceptions.AppError, match=r"'noisy.jpg' is not an uploaded photo.*handle_file\('noisy.jpg'\)"):
        Client(url, verbose=False).predict("noisy.jpg", api_name="/denoise")
