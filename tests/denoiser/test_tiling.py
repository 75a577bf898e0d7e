"""Tiling: nobody can tell from the result that it was made in pieces."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from denoiser.tiling import ALIGNMENT, MOST_PIXELS, OVERLAP, TILE, tiled

# Smaller than a tile, a tile, one pixel more, primes, several tiles and one pixel less, for a tile of 32.
SIZES = [(1, 1), (1, 70), (31, 32), (32, 32), (33, 32), (32, 33), (37, 101), (64, 96), (63, 97), (131, 89)]
every_size = pytest.mark.parametrize("size", SIZES, ids=str)


def values(*shape, dtype=torch.float32, seed=0):
    drawn = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.to(dtype)


@pytest.mark.parametrize("overlap", [0, 16, 48])
def test_the_identity_is_exact(overlap, subtests):
    for size in SIZES:
        with subtests.test(size=size):
            pixels = values(1, 3, *size)
            assert torch.equal(tiled(lambda tile: tile, pixels, 32, overlap), pixels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64])
def test_any_type_and_channel_count_passes(dtype, subtests):
    for count, channels in product((1, 2), (1, 3, 4)):
        with subtests.test(count=count, channels=channels):
            pixels = values(count, channels, 37, 53, dtype=dtype)
            result = tiled(lambda tile: tile, pixels, 32, 16)
            assert result.dtype == dtype
            assert torch.equal(result, pixels)


@pytest.mark.parametrize("channels", [1, 5])
def test_the_function_may_change_type_and_channel_count(channels):
    pixels = values(2, 3, 37, 53, dtype=torch.uint8)

    def fn(tile):
        return tile[:, :1].expand(-1, channels, -1, -1).double() / 2

    result = tiled(fn, pixels, 32, 16)
    assert result.dtype == torch.float64
    assert torch.equal(result, fn(pixels))


def test_a_function_that_sees_no_further_than_the_overlap_gives_the_whole_result(subtests):
    for size in SIZES:
        with subtests.test(size=size):

            def fn(tile):  # the largest value within 16 pixels, nothing beyond the border
                return F.max_pool2d(tile, kernel_size=33, stride=1, padding=16)

            pixels = values(1, 2, *size)
            assert torch.equal(tiled(fn, pixels, 32, 16), fn(pixels))


def test_an_overlap_that_is_too_small_shows():
    def fn(tile):
        return F.max_pool2d(tile, kernel_size=65, stride=1, padding=32)

    pixels = values(1, 1, 97, 97).square()
    pixels[..., 28, 28] = 1e6
    assert not torch.equal(tiled(fn, pixels, 32, 16), fn(pixels))


@pytest.mark.parametrize("tile", [32, 48])
def test_a_strided_function_falls_on_the_grid_of_the_whole_picture(tile, subtests):
    for size in SIZES:
        with subtests.test(size=size):

            def fn(pixels):  # the largest value of each cell of an ALIGNMENT-wide grid, in every pixel of the cell
                height, width = pixels.shape[-2:]
                cells = F.max_pool2d(pixels, ALIGNMENT, ceil_mode=True)
                return F.interpolate(cells, scale_factor=ALIGNMENT)[..., :height, :width]

            pixels = values(1, 3, *size)
            assert torch.equal(tiled(fn, pixels, tile, 16), fn(pixels))


@every_size
def test_no_tile_is_larger_than_allowed_and_progress_counts_each_once(size):
    seen, calls = [], []
    pixels = values(1, 3, *size)
    tiled(lambda tile: seen.append(tile.shape[-2:]) or tile, pixels, 32, 16, lambda *counts: calls.append(counts))
    assert max(max(shape) for shape in seen) <= 32 + 2 * 16
    assert calls == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(seen) <= -(-size[0] // 32) * -(-size[1] // 32)


def test_progress_that_raises_stops_the_work():
    seen = []

    def stop_at_two(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiled(lambda tile: seen.append(tile) or tile, values(1, 3, 97, 97), 32, 16, stop_at_two)
    assert len(seen) == 2


def test_an_error_of_the_function_passes_through():
    def fail(tile):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        tiled(fail, values(1, 3, 40, 40), 32, 16)


def test_the_input_stays_as_it_was():
    pixels = values(1, 3, 70, 70)
    before = pixels.clone()
    tiled(lambda tile: tile + 1, pixels, 32, 16)
    assert torch.equal(pixels, before)


def test_the_result_is_new_memory():
    pixels = values(1, 3, 20, 20)
    tiled(lambda tile: tile, pixels, 32, 16).zero_()
    assert pixels.any()


def test_a_view_of_mirrored_channels_is_read_as_it_looks():
    pixels = values(1, 40, 50, 3).permute(0, 3, 1, 2).flip(1)
    assert torch.equal(tiled(lambda tile: tile, pixels, 32, 16), pixels)


@pytest.mark.parametrize("size", [(4000, 6000), (6000, 4000), (4243, 5657), (3000, 4000), (20, 30000)], ids=str)
def test_no_tile_is_too_large_and_the_context_of_all_is_less_than_three_tenths_of_a_big_photo(size):
    seen = []
    tiled(lambda tile: seen.append(tile.shape[-2:].numel()) or tile, torch.zeros(1, 1, *size, dtype=torch.uint8))
    assert max(seen) <= MOST_PIXELS and sum(seen) < 1.3 * size[0] * size[1]


def test_the_defaults_are_aligned():
    assert TILE % ALIGNMENT == 0 and OVERLAP % ALIGNMENT == 0


@pytest.mark.parametrize("name", ["tiny_model", "tiny_classic"])
@pytest.mark.parametrize("tile", [48, 64])
@torch.no_grad()
def test_a_real_network_gives_the_same_photo_to_within_a_level(name, tile, photo_tensor, request):
    model = request.getfixturevalue(name)
    whole = model(photo_tensor)
    assert (whole - photo_tensor).abs().mean() > 4 / 255  # the network does something that could differ
    difference = (tiled(model, photo_tensor, tile) - whole).abs()
    assert difference.max() < 1 / 255
    assert (tiled(model, photo_tensor, tile, overlap=0) - whole).abs().max() > 5 / 255  # and it can fail


@pytest.mark.parametrize("size", [(65, 65), (79, 130), (129, 67)], ids=str)
@torch.no_grad()
def test_a_real_network_does_so_at_sizes_that_fit_no_grid(size, tiny_model, photo_tensor):
    photo = photo_tensor[..., : size[0], : size[1]]
    assert (tiled(tiny_model, photo, 48) - tiny_model(photo)).abs().max() < 1 / 255


@torch.no_grad()
def test_the_estimate_has_no_seams_either(tiny_model, photo_tensor):
    whole = tiny_model.estimate_sigma(photo_tensor)
    tiles = tiled(tiny_model.estimate_sigma, photo_tensor, 64)
    assert tiles.shape == whole.shape == (1, 1, 200, 180)
    torch.testing.assert_close(tiles, whole, rtol=0, atol=1e-5)
