"""Training data: exact crops, augmentation, noise levels, noise, and what is read from where."""

import tracemalloc
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from denoiser import Photo, noise, save_image
from train.config import ConfigError, TrainConfig
from train.data import bsds500, dead_leaves
from train.data import photo_files as data
from train.data.batches import (
    add_noise,
    classic_augmentation,
    clean_crops,
    draw_batch,
    draw_sigma,
    draw_told,
    gaussian_batch,
)
from train.data.noise_level import local_sigma
from train.data.photo_set import PhotoSet
from train.data.training_data import Source, load_photos, open_training_data, training_set

SIZES = [(16, 16), (17, 40), (33, 18), (20, 19)]  # height, width


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coded(index, height, width):
    """A photo whose pixels say which photo, row and column they are."""
    row, column = np.mgrid[:height, :width]
    return np.stack([np.full_like(row, index), row, column], axis=2).astype(np.uint8)


def coded_crops(count, sizes=SIZES, size=16, seed=0, **options):
    photos = PhotoSet([coded(index, *shape) for index, shape in enumerate(sizes)])
    crops = photos.crops(count, size, seeded(seed), **options)
    return (crops * 255).round().long().permute(0, 2, 3, 1)


def corner(crops):
    """(photo, top, left) of each crop, whichever way it is turned."""
    return crops.amin(dim=(1, 2))


def windows(crops):
    """What each crop would be, were it cut out of its photo and not turned."""
    size = crops.shape[1]
    photo, top, left = corner(crops).view(-1, 3, 1, 1).expand(-1, -1, size, size).unbind(1)
    along = torch.arange(size)
    return torch.stack([photo, top + along[:, None], left + along], dim=3)


def symmetries(images):
    """The eight flips and quarter turns of (N, S, S, C) images."""
    return [torch.rot90(turned, k, (1, 2)) for turned in (images, images.flip(2)) for k in range(4)]


def matching_symmetry(crops):
    """(N, 8): which of the eight turned windows each crop equals, pixel for pixel."""
    return torch.stack([(crops == turned).flatten(1).all(dim=1) for turned in symmetries(windows(crops))], dim=1)


def test_each_crop_is_a_window_of_one_photo_in_exactly_one_of_eight_symmetries():
    assert (matching_symmetry(coded_crops(2000)).sum(dim=1) == 1).all()


def test_the_eight_symmetries_are_equally_likely():
    shares = matching_symmetry(coded_crops(8000)).float().mean(dim=0)
    assert shares.tolist() == pytest.approx([1 / 8] * 8, abs=0.02)


def test_without_turns_crops_are_plain_windows():
    crops = coded_crops(500, turns=False)
    assert torch.equal(crops, windows(crops))


@pytest.mark.parametrize("turns", [False, True])
def test_every_position_of_every_photo_occurs_and_no_other(turns):
    found = {tuple(place) for place in corner(coded_crops(15_000, turns=turns)).tolist()}
    assert found == {
        (index, top, left)
        for index, (height, width) in enumerate(SIZES)
        for top in range(height - 15)
        for left in range(width - 15)
    }


def test_positions_in_a_photo_are_equally_likely():
    places = corner(coded_crops(20_000, sizes=[(19, 18)]))
    counts = torch.bincount(places[:, 1] * 3 + places[:, 2], minlength=12)
    assert (counts / 20_000).tolist() == pytest.approx([1 / 12] * 12, abs=0.01)


def test_photos_are_drawn_in_proportion_to_their_pixels():
    shares = torch.bincount(corner(coded_crops(20_000))[:, 0]) / 20_000
    pixels = np.array([height * width for height, width in SIZES])
    assert shares.tolist() == pytest.approx((pixels / pixels.sum()).tolist(), abs=0.015)


def test_a_photo_of_the_size_of_a_crop_is_the_crop():
    photo = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    (crop,) = PhotoSet([photo]).crops(1, 16, seeded(), turns=False)
    np.testing.assert_array_equal((crop * 255).permute(1, 2, 0).numpy(), photo)


def test_crops_are_floats_from_0_to_1():
    crops = PhotoSet([np.array([[0, 51, 255]], dtype=np.uint8).repeat(256, 0).reshape(16, 16, 3)]).crops(
        5, 16, seeded()
    )
    assert crops.shape == (5, 3, 16, 16) and crops.dtype == torch.float32
    assert torch.equal(crops.amax(dim=(0, 2, 3)), torch.tensor([0, 0.2, 1]))


def test_the_seed_decides_the_crops():
    assert torch.equal(coded_crops(50, seed=3), coded_crops(50, seed=3))
    assert not torch.equal(coded_crops(50, seed=3), coded_crops(50, seed=4))


def test_a_set_of_no_photos_is_refused():
    with pytest.raises(ConfigError, match="no photos to train on"):
        PhotoSet([])


@pytest.mark.parametrize("augmentation", ["dihedral", "classic"])
def test_a_clean_batch_has_the_shape_and_range_of_the_config(augmentation):
    config = TrainConfig(batch_size=3, crop=32, augmentation=augmentation)
    batch = clean_crops(PhotoSet([coded(9, 40, 50)]), config, 3, seeded())
    assert batch.shape == (3, 3, 32, 32) and batch.dtype == torch.float32
    assert batch.min() >= 0 and batch.max() <= 1


@pytest.mark.parametrize("side", [16, 33])
def test_classic_augmentation_changes_a_flat_picture_in_brightness_alone(side):
    flat = torch.tensor([0.1, 0.4, 0.8]).view(1, 3, 1, 1).expand(500, 3, side, side)
    ratio = classic_augmentation(flat, seeded()) / flat
    brightness = ratio[:, :1, :1, :1]
    assert torch.allclose(ratio, brightness.expand_as(ratio), atol=1e-5)
    assert 0.5 <= brightness.min() < 0.51 and 1.19 < brightness.max() <= 1.2
    assert float(brightness.mean()) == pytest.approx(0.85, abs=0.03)


def test_classic_augmentation_stays_within_0_and_1_and_leaves_no_empty_corners():
    out = classic_augmentation(0.6 + 0.4 * torch.rand((200, 3, 24, 24), generator=seeded(1)), seeded())
    assert out.shape == (200, 3, 24, 24) and out.max() == 1
    assert out.min() >= 0.3 - 1e-6  # the darkest pixel at the lowest brightness


def test_classic_augmentation_turns_shifts_and_flips_as_far_as_the_reference():
    side, count = 32, 1000
    ramp = (torch.arange(side) + 0.5) / side
    picture = 0.8 * torch.stack([ramp.expand(side, side), ramp[:, None].expand(side, side), torch.ones(side, side)])
    out = classic_augmentation(picture.expand(count, 3, side, side), seeded())
    middle = (out[:, :2] / out[:, 2:])[:, :, 15:17, 15:17]  # where each of the four middle pixels came from: (x, y)
    shift = middle.mean(dim=(2, 3)) - 0.5
    across = (middle[..., 1] - middle[..., 0]).mean(dim=2) * side
    down = (middle[:, :, 1] - middle[:, :, 0]).mean(dim=2) * side
    angle = torch.rad2deg(torch.atan2(-down[:, 0], down[:, 1]))
    handedness = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    assert torch.allclose(handedness.abs(), torch.ones(count), atol=1e-3)  # turned or mirrored, never stretched
    assert 19 < angle.abs().max() <= 20.01 and abs(float(angle.mean())) < 2
    assert 0.19 < shift.abs().max() <= 0.2001 and float(shift.mean(dim=0).abs().max()) < 0.02
    assert float((handedness < 0).float().mean()) == pytest.approx(0.5, abs=0.06)


def test_the_seed_decides_the_classic_augmentation():
    crops = torch.rand((4, 3, 16, 16), generator=seeded(1))
    assert torch.equal(classic_augmentation(crops, seeded(2)), classic_augmentation(crops, seeded(2)))
    assert not torch.equal(classic_augmentation(crops, seeded(2)), classic_augmentation(crops, seeded(3)))


def test_uniform_levels_are_uniform_from_0_to_the_largest():
    levels = 255 * draw_sigma(TrainConfig(max_level=55.0), 100_000, seeded()).flatten()
    assert levels.min() >= 0 and levels.max() < 55
    shares = torch.tensor([0.01, 0.1, 0.5, 0.9, 0.99])
    assert torch.quantile(levels, shares).tolist() == pytest.approx((55 * shares).tolist(), abs=0.5)
    assert float(levels.mean()) == pytest.approx(27.5, abs=0.3)


def test_exponential_levels_follow_the_exponential_law():
    sigma = draw_sigma(TrainConfig(sigma_law="exponential"), 100_000, seeded()).flatten()
    assert sigma.min() >= 0 and sigma.isfinite().all()
    shares = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    expected = -38.25 / 255 * torch.log(1 - shares)
    assert torch.quantile(sigma, shares).tolist() == pytest.approx(expected.tolist(), rel=0.03)
    assert float(sigma.mean()) == pytest.approx(38.25 / 255, rel=0.02)


@pytest.mark.parametrize("law", ["uniform", "exponential"])
def test_each_crop_has_a_level_of_its_own_unless_one_a_batch_is_asked_for(law):
    generator = seeded()
    own = draw_sigma(TrainConfig(sigma_law=law), 8, generator)
    shared = [draw_sigma(TrainConfig(sigma_law=law, level_per_batch=True), 8, generator) for _ in range(3)]
    assert own.shape == shared[0].shape == (8, 1, 1, 1)
    assert len(own.unique()) == 8
    assert [len(sigma.unique()) for sigma in shared] == [1, 1, 1] and len(torch.cat(shared).unique()) == 3


def test_the_noise_on_each_crop_is_white_and_of_its_own_strength():
    config = TrainConfig(batch_size=6, quantize_share=0.0)
    clean, sigma = torch.full((6, 3, 64, 64), 0.5), torch.tensor([0.0, 0.02, 0.1, 0.2, 0.5, 1.0]).view(6, 1, 1, 1)
    residue = add_noise(clean, sigma, config, seeded()) - clean
    assert residue.std(dim=(1, 2, 3)).tolist() == pytest.approx(sigma.flatten().tolist(), rel=0.03)
    unit = residue[-1]
    assert abs(float(unit.mean())) < 0.03
    assert abs(float((unit[:, 1:] * unit[:, :-1]).mean())) < 0.03  # neighbours
    assert abs(float((unit[0] * unit[1]).mean())) < 0.05  # channels


@pytest.mark.parametrize(("clip", "quantize"), [(0.2, 0.3), (0.0, 0.5), (1.0, 0.0), (0.0, 1.0), (0.4, 0.6), (0, 0)])
def test_the_stated_shares_of_the_crops_are_clipped_or_rounded_and_the_rest_is_left_alone(clip, quantize):
    config = TrainConfig(batch_size=4000, clip_share=clip, quantize_share=quantize)
    clean = torch.rand((4000, 3, 8, 8), generator=seeded(1))
    sigma = torch.full((4000, 1, 1, 1), 0.5)
    plain = noise.gaussian(clean, sigma, seeded())
    noisy = add_noise(clean, sigma, config, seeded())

    def share(expected):
        return float((noisy == expected).flatten(1).all(dim=1).float().mean())

    certain = clip in (0, 1) and quantize in (0, 1)
    tolerance = 0 if certain else 0.03
    assert share(plain.clamp(0, 1)) == pytest.approx(clip, abs=tolerance)
    assert share((plain.clamp(0, 1) * 255).round() / 255) == pytest.approx(quantize, abs=tolerance)
    assert share(plain) == pytest.approx(1 - clip - quantize, abs=tolerance)
    assert share(plain) + share(plain.clamp(0, 1)) + share(noise.quantize(plain)) == pytest.approx(1)


GAUSSIAN = TrainConfig(batch_size=4, crop=16, camera_share=0, clean_share=0, grey_share=0, partial_share=0)


def two_sets():
    """Dark photos for Gaussian noise, bright ones for uploads."""
    return (PhotoSet([np.full((40, 40, 3), value, np.uint8)]) for value in (100, 200))


def test_a_batch_holds_crops_as_uploads_have_them_gaussian_and_clean_ones_in_their_shares():
    config = replace(GAUSSIAN, batch_size=16, camera_share=0.5, clean_share=0.25, quantize_share=0)
    photos, camera_photos = two_sets()
    uploads = clean = 0
    for seed in range(50):
        batch = draw_batch(photos, config, seeded(seed), camera_photos)
        assert batch.clean.shape == batch.noisy.shape == (16, 3, 16, 16)
        uploaded = batch.clean.mean(dim=(1, 2, 3)) > 150 / 255
        error = batch.noisy - batch.clean
        torch.testing.assert_close(batch.sigma[uploaded], local_sigma(error[uploaded]).expand_as(batch.sigma[uploaded]))
        untouched = (error == 0).flatten(1).all(dim=1) & ~uploaded
        assert (batch.sigma[untouched] == 0).all()
        assert (batch.sigma[~untouched & ~uploaded] > 0).all()
        uploads, clean = uploads + int(uploaded.sum()), clean + int(untouched.sum())
    assert uploads / 800 == pytest.approx(0.5, abs=0.04)
    assert clean / 800 == pytest.approx(0.25, abs=0.04)


def test_small_batches_have_their_share_of_rare_crops_too():
    config = replace(GAUSSIAN, batch_size=2, clean_share=0.06)
    photos = PhotoSet([coded(0, 40, 40)])
    sigma = [draw_batch(photos, config, seeded(seed)).sigma for seed in range(500)]
    assert (torch.cat(sigma) == 0).float().mean().item() == pytest.approx(0.06, abs=0.02)


def test_without_shares_a_batch_is_gaussian_alone():
    photos = PhotoSet([coded(0, 40, 40)])
    batch, source = draw_batch(photos, GAUSSIAN, seeded()), seeded()
    clean, sigma = photos.crops(4, 16, source), draw_sigma(GAUSSIAN, 4, source)
    assert torch.equal(batch.clean, clean) and torch.equal(batch.sigma, sigma)
    assert torch.equal(batch.noisy, add_noise(clean, sigma, GAUSSIAN, source))


@pytest.mark.parametrize("camera_share", [0, 1])
def test_grey_crops_have_one_plane_of_noise(camera_share):
    config = replace(GAUSSIAN, batch_size=200, grey_share=0.25, camera_share=camera_share, quantize_share=0)
    batch = draw_batch(PhotoSet([coded(200, 40, 40)]), config, seeded())
    is_grey = [
        (pixels.amax(dim=1) - pixels.amin(dim=1)).flatten(1).amax(dim=1) < 1e-6 for pixels in (batch.clean, batch.noisy)
    ]
    assert torch.equal(*is_grey) and 0.15 < is_grey[0].float().mean() < 0.35
    if not camera_share:  # the level is that of the one plane
        strength = (batch.noisy - batch.clean).square().mean(dim=(1, 2, 3)).sqrt() / batch.sigma.mean(dim=(1, 2, 3))
        assert strength[is_grey[0]].mean().item() == pytest.approx(1, abs=0.02)


def test_noise_in_a_part_has_the_map_of_that_part():
    config = replace(GAUSSIAN, batch_size=300, crop=32, partial_share=1.0, quantize_share=0)
    batch = gaussian_batch(PhotoSet([np.full((32, 32, 3), 128, np.uint8)]), config, 300, seeded())
    assert batch.sigma.shape == (300, 1, 32, 32)
    error = batch.noisy - batch.clean
    assert (error[(batch.sigma == 0).expand_as(error)] == 0).all()
    assert 0.2 < (batch.sigma == 0).float().mean() < 0.6
    inside = batch.sigma > 0.02
    assert (error / batch.sigma)[inside.expand_as(error)].std().item() == pytest.approx(1, abs=0.02)


def test_most_told_levels_are_true_and_the_others_span_what_a_person_can_give():
    sigma = torch.full((20_000, 1, 1, 1), 20 / 255)
    told, given = draw_told(sigma, seeded())
    assert told.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (given == sigma).float().mean().item() == pytest.approx(0.7, abs=0.02)
    wrong = 255 * given[given != sigma]
    assert wrong.min() < 1 and 99 < wrong.max() <= 100
    assert ((wrong >= 10) & (wrong <= 60)).float().mean() > 0.7  # half by 0.5 to 3 times
    assert draw_told(sigma.expand(-1, 1, 8, 8), seeded())[1].shape == (20_000, 1, 8, 8)


def test_camera_data_is_read_from_sources_of_its_own(tmp_path, small_synthetic_set):
    for index in range(20):
        write_photo(tmp_path / f"{index:02}.png")
    config = TrainConfig(data=("synthetic",), crop=16)
    assert open_training_data(config).camera_photos is None
    opened = open_training_data(replace(config, camera_data=(str(tmp_path),)))
    assert len(opened.camera_photos.heights) == 19  # one is held out
    with pytest.raises(ConfigError, match="--camera-data"):
        open_training_data(replace(config, crop=32, camera_data=(str(tmp_path),)))


def test_photos_below_a_folder_are_found_by_suffix_in_order_and_hidden_ones_are_not(tmp_path):
    names = ["b.png", "a.JPG", "deep/er/c.jpeg", "._a.jpg", "notes.txt", "d.png.part"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in data.photos_below(tmp_path)]
    assert found == ["a.JPG", "b.png", "deep/er/c.jpeg"]


def test_a_folder_with_train_and_val_is_split_by_them(tmp_path):
    for name in ("train/a.png", "train/more/b.png", "val/c.png", "d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    training, validation = data.source_paths(str(tmp_path))
    assert ([path.name for path in training], [path.name for path in validation]) == (["a.png", "b.png"], ["c.png"])


@pytest.mark.parametrize(("photos", "held_out"), [(2, 1), (19, 1), (20, 1), (39, 1), (40, 2), (105, 5)])
def test_of_a_plain_folder_every_20th_photo_is_held_out(tmp_path, photos, held_out):
    for index in range(photos):
        (tmp_path / f"{index:03d}.png").touch()
    training, validation = data.source_paths(str(tmp_path))
    assert len(validation) == held_out and not set(training) & set(validation)
    assert sorted(training + validation) == data.photos_below(tmp_path)


def test_a_folder_of_one_photo_serves_for_both(tmp_path):
    (tmp_path / "only.png").touch()
    assert data.source_paths(str(tmp_path)) == ([tmp_path / "only.png"],) * 2


@pytest.mark.parametrize("source", ["bsds500", "bsds400"])
def test_bsds_sources_take_the_train_split_and_bsds400_the_test_split_too(monkeypatch, source):
    splits = {"train": ["a"], "val": ["b", "c"], "test": ["d"]}
    monkeypatch.setattr(bsds500, "photo_paths", lambda: splits)
    monkeypatch.setattr(bsds500, "validation_paths", lambda: ["c"])
    assert data.source_paths(source) == (["a", "d"] if source == "bsds400" else ["a"], ["c"])


def test_a_missing_folder_is_refused_with_what_is_accepted(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere: no such folder; give bsds500, bsds400, synthetic, or a folder"):
        data.source_paths(str(tmp_path / "nowhere"))


def test_a_missing_validation_folder_is_refused(tmp_path, small_synthetic_set):
    with pytest.raises(ConfigError, match="nowhere"):
        load_photos(TrainConfig(data=("synthetic",), crop=16, val=str(tmp_path / "nowhere")))


def test_an_empty_data_folder_is_not_blamed_on_the_validation_photos(tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        load_photos(TrainConfig(data=(str(tmp_path),)))


def write_photo(path, height=20, width=24, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(Photo(np.full((height, width, 3), value, dtype=np.uint8)), path)
    return path


def test_photos_that_cannot_be_read_and_small_ones_are_skipped_and_named_on_stderr(tmp_path, capsys):
    good = write_photo(tmp_path / "good.png")
    (tmp_path / "junk.jpg").write_bytes(b"not a photo")
    (tmp_path / "half.png").write_bytes(good.read_bytes()[:60])
    paths = [tmp_path / "junk.jpg", good, tmp_path / "half.png", tmp_path / "gone.png"]
    paths += [write_photo(tmp_path / "flat.png", height=15, width=90), write_photo(tmp_path / "slim.png", width=15)]
    photos = data.read_photos(paths, smallest=16)
    assert [photo.shape for photo in photos] == [(20, 24, 3)]
    out, err = capsys.readouterr()
    assert not out
    assert all(f"skipped: {name!r}" in err for name in ("junk.jpg", "half.png", "gone.png"))
    assert "skipped: 2 photos with a side below 16 pixels" in err and "good" not in err


def random_pixels(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize(
    "photo",
    [
        Photo(random_pixels(8, 9, 3)),
        Photo(random_pixels(8, 9)),
        Photo(random_pixels(8, 9, 3), alpha=random_pixels(8, 9)),
        Photo(random_pixels(8, 9), alpha=random_pixels(8, 9)),
        Photo(random_pixels(8, 9, dtype=np.uint16)),
    ],
    ids=["rgb", "grey", "rgba", "grey-alpha", "grey-16-bit"],
)
def test_every_kind_of_photo_is_read_as_8_bit_rgb(tmp_path, photo):
    save_image(photo, tmp_path / "photo.png")
    (pixels,) = data.read_photos([tmp_path / "photo.png"])
    assert pixels.dtype == np.uint8 and pixels.shape == (8, 9, 3)
    scale = 257 if photo.bit_depth == 16 else 1
    expected = photo.pixels if photo.pixels.ndim == 3 else photo.pixels[:, :, None].repeat(3, axis=2)
    np.testing.assert_allclose(pixels, expected / scale, atol=0.5)


@dataclass(frozen=True)
class MadePhoto:
    """A photo that is made when it is read, as if it were decoded."""

    value: int
    side: int

    def read(self):
        return np.full((self.side, self.side, 3), self.value, np.uint8)


def test_while_photos_are_read_the_set_is_held_once():
    """Beside it are no more photos than the threads have read ahead."""
    files = [MadePhoto(number, 300) for number in range(100)]
    total = 100 * 300 * 300 * 3
    tracemalloc.start()
    try:
        config = TrainConfig(crop=16)
        photos = training_set("--data", ["made"], [Source(files, decoded_bytes=total)], config, "cpu", 0, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert photos.pixels.nbytes == total and (photos.pixels[:: 300 * 300, 0] == torch.arange(100)).all()
    assert peak < 1.25 * total


@pytest.mark.parametrize("expected_bytes", [0, 1000, 4 * 40 * 50 * 3, 10**6])
def test_a_set_is_the_same_however_well_its_size_was_guessed(expected_bytes):
    photos = [coded(number, 40 + number, 50) for number in range(4)]
    guessed = PhotoSet(iter(photos), expected_bytes=expected_bytes)
    assert np.array_equal(guessed.pixels, np.concatenate([photo.reshape(-1, 3) for photo in photos]))
    assert torch.equal(guessed.crops(5, 16, seeded()), PhotoSet(photos).crops(5, 16, seeded()))


def test_more_photos_than_memory_should_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_SET_BYTES", 2 * 20 * 24 * 3)
    paths = [write_photo(tmp_path / f"{index}.png") for index in range(3)]
    assert len(data.read_photos(paths[:2])) == 2
    with pytest.raises(ConfigError, match="train on fewer"):
        data.read_photos(paths)


def test_val_replaces_the_validation_photos_of_the_data(tmp_path):
    write_photo(tmp_path / "photos/train/a.png", value=1)
    write_photo(tmp_path / "photos/val/b.png", value=2)
    write_photo(tmp_path / "other/c.png", value=3)
    config = {"data": (str(tmp_path / "photos"),), "crop": 16}
    training, validation = load_photos(TrainConfig(**config))
    assert [photo[0, 0, 0] for photo in training + validation] == [1, 2]
    training, validation = load_photos(TrainConfig(**config, val=str(tmp_path / "other")))
    assert [photo[0, 0, 0] for photo in training + validation] == [1, 3]


@pytest.mark.parametrize(("there", "wanted", "used"), [(3, 8, 3), (8, 8, 8), (9, 4, 4), (32, 8, 8)])
def test_validation_photos_are_spread_over_the_set_and_no_more_than_asked_for(tmp_path, there, wanted, used):
    for index in range(there):
        write_photo(tmp_path / f"val/{index:02d}.png", value=index)
    write_photo(tmp_path / "train/a.png")
    _, validation = load_photos(TrainConfig(data=(str(tmp_path),), crop=16, validation_photos=wanted))
    values = [int(photo[0, 0, 0]) for photo in validation]
    assert values == sorted(set(values)) and len(values) == used
    assert values[-1] >= there // 2


@pytest.fixture
def small_synthetic_set(monkeypatch):
    for name, value in {"SYNTHETIC_COUNT": 3, "SYNTHETIC_VALIDATION": 2, "SYNTHETIC_SIDE": 32}.items():
        monkeypatch.setattr(data, name, value)


def test_synthetic_photos_for_training_and_validation_differ(small_synthetic_set):
    training, validation = load_photos(TrainConfig(data=("synthetic",), crop=16))
    assert [photo.shape for photo in training + validation] == [(32, 32, 3)] * 5
    assert len({photo.tobytes() for photo in training + validation}) == 5


def test_crops_larger_than_the_synthetic_photos_are_refused_or_the_photos_grow(small_synthetic_set):
    try:
        training, _ = load_photos(TrainConfig(data=("synthetic",), crop=64))
    except ConfigError as error:
        assert "--crop" in str(error)
    else:
        assert min(min(photo.shape[:2]) for photo in training) >= 64


def test_the_seed_decides_a_dead_leaves_picture():
    first, again, other = (dead_leaves.dead_leaves(24, seed) for seed in (1, 1, 2))
    assert first.shape == (24, 24, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_dead_leaves_cover_the_plane(monkeypatch):
    white = np.full(3, 255.0)
    monkeypatch.setattr(
        dead_leaves, "_shading", lambda _, across, down: np.ones((len(down), across.shape[1], 1)) * white
    )
    assert (dead_leaves.dead_leaves(48, seed=0) == 255).all(axis=2).mean() > 0.97


def test_dead_leaves_have_flat_regions_and_edges_and_span_the_range():
    picture = dead_leaves.dead_leaves(128, seed=0).astype(float)
    steps = np.abs(np.diff(picture, axis=1)).max(axis=2)
    assert picture.min() < 30 and picture.max() > 225
    assert np.median(steps) < 12 and np.quantile(steps, 0.98) > 60


def test_radii_follow_the_power_law_between_the_smallest_and_the_largest():
    rng = np.random.default_rng(0)
    radii = np.sort(np.concatenate([dead_leaves._radii(rng, 512) for _ in range(100)]))
    smallest, largest = dead_leaves.SMALLEST, dead_leaves.LARGEST * 512
    assert smallest <= radii[0] and radii[-1] <= largest
    # The distribution function of the density radius**-3, by integration.
    expected = (smallest**-2 - radii**-2) / (smallest**-2 - largest**-2)
    assert np.abs(expected - np.linspace(0, 1, len(radii))).max() < 0.01
