"""The experiments: each changes only what its name says, and the table compares them with the first."""

import numpy as np
import pytest
import torch

from denoiser import Photo, save_image
from denoiser.model import DenoisingAutoencoder, ModelConfig
from train.__main__ import main
from train.config import ConfigError, TrainConfig
from train.data.dead_leaves import dead_leaves
from train.lab import experiments
from train.lab.experiments import VARIANTS, Outcome, Variant, experiment, outcomes_table
from train.measure.network_size import network_size

TINY = ModelConfig(widths=(16, 24), encoder_blocks=(1, 1), decoder_blocks=(1,))
NOISY = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SIGMA = torch.full((2, 1, 1, 1), 0.1)


def network(change=lambda network: None):
    """A tiny network whose features matter, with the same weights for every change that keeps their shapes."""
    torch.manual_seed(0)
    model = DenoisingAutoencoder(TINY)
    torch.nn.init.normal_(model.body.tail.weight, std=0.05)
    change(model)
    return model.eval()


def output(model, sigma=SIGMA):
    with torch.inference_mode():
        return model(NOISY, sigma)


@pytest.mark.parametrize("change", [experiments.concatenated_skips, experiments.branches])
def test_concatenated_skips_start_as_the_baseline(change):
    torch.manual_seed(0)
    varied = network(change)
    varied.load_state_dict({**varied.state_dict(), **network().state_dict()}, strict=False)
    if change is experiments.branches:  # its convolutions have moved one level down
        varied = network(change)
    assert torch.allclose(output(varied), output(network()), atol=1e-6)


def test_a_branch_is_one_convolution_with_both_kernels():
    conv = torch.nn.Conv2d(16, 16, 3, padding=1)
    branch = experiments.PointBranch(conv)
    torch.nn.init.normal_(branch.point)
    features = torch.rand(1, 16, 8, 8)
    expected = conv(features) + torch.nn.functional.conv2d(features, branch.point)
    assert torch.allclose(branch(features), expected, atol=1e-5)


def test_without_the_map_the_level_is_not_seen():
    seen, unseen = network(), network(experiments.without_map)
    assert not torch.equal(output(seen, 0.5 * SIGMA), output(seen))
    assert torch.equal(output(unseen, 0.5 * SIGMA), output(unseen))


def test_at_full_resolution_the_same_widths_cost_far_more():
    assert network_size(network(experiments.full_resolution))[1] > 2 * network_size(network())[1]


@pytest.mark.slow
def test_the_shapes_cost_about_what_the_baseline_costs():
    def gmac(shape, change):
        model = DenoisingAutoencoder(shape)
        change(model)
        return network_size(model)[1]

    networks = {(variant.shape, variant.change): name for name, variant in VARIANTS.items()}  # others cost the same
    baseline = gmac(VARIANTS["baseline"].shape, VARIANTS["baseline"].change)
    for network, name in networks.items():
        assert gmac(*network) == pytest.approx(baseline, rel=0.16), name


@pytest.fixture
def small(monkeypatch):
    """Two tiny experiments on generated pictures."""
    photos = [dead_leaves(48, seed) for seed in range(3)]
    tiny = {"base": Variant(shape=TINY), "growing": Variant(shape=TINY, growing_crops=(16, 32))}
    monkeypatch.setattr(experiments, "VARIANTS", tiny | {"more": Variant(shape=TINY, extra="photos")})
    monkeypatch.setattr(experiments, "RECIPE", TrainConfig(crop=16, batch_size=2, warmup_steps=1))
    monkeypatch.setattr(experiments, "TIMED_SIDE", 32)
    monkeypatch.setattr(experiments, "load_photos", lambda config: (photos[:2], photos[2:]))


@pytest.mark.slow
def test_an_experiment_trains_and_measures(small):
    base, growing = experiment(["base", "growing"], 0.004, [])
    assert base.name == "base" and base.crops >= 2 and growing.crops >= 2
    assert all(10 < psnr < 50 for psnr in base.psnr) and base.psnr[0] > base.psnr[-1]
    assert base.gmac == growing.gmac > 0 and base.seconds_per_megapixel > 0


def test_more_photos_are_trained_on(small, monkeypatch):
    counts = []
    real = experiments.PhotoSet
    monkeypatch.setattr(
        experiments, "PhotoSet", lambda photos, device: counts.append(len(photos)) or real(photos, device)
    )
    list(experiment(["base", "more"], 0.001, [np.zeros((48, 48, 3), np.uint8)]))
    assert counts == [2, 3]


def test_unknown_experiments_are_refused(small, capsys):
    with pytest.raises(ConfigError, match="no experiment 'wider'; choose from: base; growing; more"):
        list(experiment(["wider"], 0.001, []))
    assert main(["experiment", "more"]) == 1
    assert "--photos" in capsys.readouterr().err


def test_the_table_compares_with_the_first():
    outcomes = [
        Outcome("base", (33.0, 30.0, 27.0), 1000, 8.8, 0.9),
        Outcome("worse", (32.7, 29.7, 26.7), 900, 8.8, 0.9),
    ]
    rows = outcomes_table(outcomes).splitlines()
    assert rows[2] == "| base | 33.00 | 30.00 | 27.00 | 30.00 | +0.00 | 1,000 | 8.8 | 0.90 |"
    assert "| 29.70 | -0.30 | 900 |" in rows[3]
    assert len({row.count("|") for row in rows}) == 1


def test_photos_smaller_than_a_crop_are_left_out(tmp_path, monkeypatch, capsys):
    used = []
    monkeypatch.setattr("train.__main__.experiment", lambda names, minutes, photos: used.extend(photos) or [])
    for side in (experiments.RECIPE.crop - 1, experiments.RECIPE.crop):
        save_image(Photo(np.zeros((side, 200, 3), np.uint8)), tmp_path / f"{side}.png")
    assert main(["experiment", "--photos", str(tmp_path)]) == 0
    assert [photo.shape for photo in used] == [(experiments.RECIPE.crop, 200, 3)]
    assert "skipped: 1 photos" in capsys.readouterr().err
