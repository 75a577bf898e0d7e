"""The networks: any size, any batch, and a config that says exactly what is built."""

import dataclasses
import json
from itertools import product

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from denoiser.errors import WeightsError
from denoiser.model import MAX_LEVELS, NETWORKS, DenoisingAutoencoder, ModelConfig, pad_to_multiple

SIZES = [(1, 1), (1, 7), (9, 1), (2, 3), (8, 8), (16, 16), (17, 31), (37, 53), (64, 48)]


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def preset_without_memory(name):
    with torch.device("meta"):
        return DenoisingAutoencoder(NETWORKS[name]).eval()


@pytest.fixture(params=["tiny_model", "tiny_classic"])
def any_model(request):
    return request.getfixturevalue(request.param)


@torch.no_grad()
def test_any_size_is_kept(any_model, subtests):
    for size in SIZES:
        with subtests.test(size=size):
            restored = any_model(picture(2, 3, *size))
            assert restored.shape == (2, 3, *size)
            assert restored.isfinite().all()


@pytest.mark.parametrize("levels", range(2, MAX_LEVELS + 1))
@torch.no_grad()
def test_networks_with_any_number_of_levels_keep_any_size(levels):
    config = ModelConfig(widths=(4,) * levels, encoder_blocks=(1,) * levels, decoder_blocks=(1,) * (levels - 1))
    assert DenoisingAutoencoder(config).eval()(picture(1, 3, 37, 53)).shape == (1, 3, 37, 53)


@torch.no_grad()
def test_pictures_of_a_batch_are_independent(any_model):
    batch = picture(3, 3, 24, 40)
    alone = torch.cat([any_model(one[None]) for one in batch])
    torch.testing.assert_close(any_model(batch), alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_memory_layout_does_not_change_the_result(any_model):
    noisy = picture(2, 3, 24, 40)
    contiguous = any_model(noisy)
    any_model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(
        any_model(noisy.contiguous(memory_format=torch.channels_last)), contiguous, rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_sigma_zero_is_exactly_the_identity(tiny_model, subtests):
    for size in SIZES:
        with subtests.test(size=size):
            noisy = picture(2, 3, *size) * 3 - 1
            assert torch.equal(tiny_model(noisy, torch.zeros(1, 1, 1, 1)), noisy)


@torch.no_grad()
def test_a_map_is_obeyed_pixel_by_pixel(tiny_model):
    noisy, sigma = picture(1, 3, 40, 48), torch.zeros(1, 1, 40, 48)
    sigma[..., 24:] = 0.2
    restored = tiny_model(noisy, sigma)
    assert torch.equal(restored[..., :24], noisy[..., :24])
    assert (restored - noisy)[..., 24:].abs().mean() > 1 / 255


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1, 1), (2, 1, 1, 1), (2, 1, 19, 21), (19, 21)], ids=str)
@torch.no_grad()
def test_a_level_of_any_broadcastable_shape_means_the_same(tiny_model, shape):
    noisy = picture(2, 3, 19, 21)
    assert torch.equal(tiny_model(noisy, torch.full(shape, 0.1)), tiny_model(noisy, torch.full((2, 1, 19, 21), 0.1)))


@torch.no_grad()
def test_blind_denoising_uses_the_estimate(tiny_model):
    noisy = picture(2, 3, 32, 48)
    assert torch.equal(tiny_model(noisy), tiny_model(noisy, tiny_model.estimate_sigma(noisy)))


@torch.no_grad()
def test_the_estimate_is_one_level_a_pixel_and_never_negative(tiny_model, subtests):
    for size in SIZES:
        with subtests.test(size=size):
            sigma = tiny_model.estimate_sigma(picture(2, 3, *size) * 20 - 10)
            assert sigma.shape == (2, 1, *size)
            assert (sigma >= 0).all()


@torch.no_grad()
def test_a_fresh_network_starts_near_the_identity(tiny_config):
    noisy = picture(1, 3, 32, 32)
    restored = DenoisingAutoencoder(tiny_config)(noisy, torch.full((1, 1, 1, 1), 0.1))
    assert (restored - noisy).abs().mean() < 1 / 255


def test_every_parameter_learns_from_a_blind_pass(tiny_model, tiny_classic):
    for model in (tiny_model, tiny_classic.train()):
        model(picture(2, 3, 32, 32)).square().mean().backward()
        assert [name for name, value in model.named_parameters() if not value.grad.abs().sum() > 0] == []


def test_normalisation_and_dropout_are_there_where_the_config_asks(tiny_config):
    plain = {type(layer) for layer in DenoisingAutoencoder(tiny_config).modules()}
    config = dataclasses.replace(tiny_config, normalization="batch", dropout=0.25, negative_slope=0.2)
    model = DenoisingAutoencoder(config)
    assert not plain & {nn.BatchNorm2d, nn.Dropout2d}
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout2d)} == {0.25}
    assert {layer.negative_slope for layer in model.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())


def test_only_the_residual_network_is_steerable(tiny_model, tiny_classic):
    assert tiny_model.steerable
    assert not tiny_classic.steerable


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 16), (16, 16), (17, 9)], ids=str)
def test_padding_only_adds_to_the_right_and_below(size):
    pixels = picture(1, 3, *size)
    padded = pad_to_multiple(pixels, 16)
    assert [side % 16 for side in padded.shape[-2:]] == [0, 0]
    assert max(padded.shape[-2] - size[0], padded.shape[-1] - size[1]) < 16
    assert torch.equal(padded[..., : size[0], : size[1]], pixels)
    assert set(padded.flatten().tolist()) == set(pixels.flatten().tolist())


# The presets


@pytest.mark.parametrize(("name", "count"), [("residual", 3_906_244), ("classic", 7_958_531)])
def test_the_networks_keep_their_parameter_counts(name, count):
    assert sum(value.numel() for value in preset_without_memory(name).parameters()) == count


def test_the_default_costs_at_most_eleven_gmac_at_256():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        DenoisingAutoencoder(NETWORKS["residual"]).eval()(torch.zeros(1, 3, 256, 256))
    assert 1e9 < counter.get_total_flops() / 2 <= 11e9


# Configs


@pytest.mark.parametrize(
    "config", [*NETWORKS.values(), ModelConfig(widths=(8, 8), encoder_blocks=(0, 1), decoder_blocks=(3,))]
)
def test_a_config_survives_json(config):
    again = ModelConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config
    assert hash(again) == hash(config)


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        NETWORKS["residual"].dropout = 0.5


RESIDUAL_FAULTS = [
    ("architecture", "unet"),
    ("architecture", None),
    ("architecture", ["residual"]),
    ("widths", 48),
    ("widths", "48"),
    ("widths", None),
    ("widths", (48, 96, 192.0)),
    ("widths", (48, 96, "192")),
    ("widths", (48, 96, True)),
    ("widths", (48, 96, 0)),
    ("widths", (48, 96, -192)),
    ("widths", (48, 96, 10**9)),
    ("widths", ()),
    ("widths", (48,)),
    ("widths", (8,) * 7),
    ("encoder_blocks", (2, 2)),
    ("encoder_blocks", (2, 2, 2, 2)),
    ("encoder_blocks", (2, 2, -1)),
    ("encoder_blocks", (2, 2, 10**6)),
    ("encoder_blocks", {"0": 2}),
    ("decoder_blocks", (2,)),
    ("decoder_blocks", (2, 2, 2)),
    ("decoder_blocks", (2, None)),
    ("estimator_blocks", -1),
    ("estimator_blocks", 10**6),
    ("estimator_blocks", (4,)),
    ("estimator_blocks", True),
    ("normalization", "layer"),
    ("normalization", None),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("dropout", float("nan")),
    ("dropout", "0.1"),
    ("dropout", True),
    ("negative_slope", 1),
    ("negative_slope", -0.1),
    ("negative_slope", float("inf")),
    ("negative_slope", None),
]
CLASSIC_FAULTS = [
    ("widths", (64, 64, 128)),
    ("widths", (64, 64, 128, 128, 256, 512, 512)),
    ("encoder_blocks", (2,)),
    ("decoder_blocks", (0, 0)),
    ("estimator_blocks", 1),
]


def test_a_config_that_cannot_be_built_is_refused_by_field(subtests):
    for preset, (field, value) in [*product(["residual"], RESIDUAL_FAULTS), *product(["classic"], CLASSIC_FAULTS)]:
        case = subtests.test(network=preset, field=field, value=value)
        with case, pytest.raises(WeightsError, match=f"'{field}' is "):
            dataclasses.replace(NETWORKS[preset], **{field: value})
