"""The endpoints, through the real client and as their own documentation shows them."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio import media
from gradio_client import Client, exceptions, handle_file

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


def test_the_endpoint_gives_the_pixels_of_the_python_api(url, noisy_file, model, tmp_path):
    client = Client(url, verbose=False, download_files=tmp_path)
    noisy = denoiser.open_image(noisy_file)
    for level in (None, 40):
        result = client.predict(handle_file(noisy_file), level, api_name="/denoise")
        assert np.array_equal(denoiser.open_image(result).pixels, model(noisy, level).pixels)


def test_the_endpoint_says_what_is_wrong(url, noisy_file, tmp_path):
    client = Client(url, verbose=False, download_files=tmp_path)
    with pytest.raises(exceptions.AppError, match="0 to 100"):
        client.predict(handle_file(noisy_file), 1000, api_name="/denoise")
    fake = tmp_path / "fake.png"
    fake.write_text("not a photo")
    with pytest.raises(exceptions.AppError, match="is not a JPEG"):
        client.predict(handle_file(fake), None, api_name="/denoise")


def test_noise_is_estimated_and_added_by_endpoints_too(url, clean, model, tmp_path):
    client = Client(url, verbose=False, download_files=tmp_path)
    photo = handle_file(media.get_image("tower.jpg"))
    noisy = client.predict(photo, 30, 5, api_name="/add_noise")
    assert Path(noisy).name == "tower-noisy.jpg"
    assert client.predict(handle_file(noisy), api_name="/estimate_noise") == pytest.approx(30, rel=0.15)
    with pytest.raises(exceptions.AppError, match="0 to 100"):
        client.predict(photo, -1, 5, api_name="/add_noise")


def test_there_are_no_endpoints_but_those_for_programs(url):
    endpoints = Client(url, verbose=False).view_api(return_format="dict")["named_endpoints"]
    assert list(endpoints) == ["/denoise", "/estimate_noise", "/add_noise"]
