"""Training data: which photos a source holds, how they are read, and what is held out."""

from dataclasses import replace

import numpy as np
import pytest

from denoiser import Photo, save_image
from train.config import ConfigError, TrainConfig
from train.data import bsds500
from train.data import photo_files as data
from train.data.training_data import load_photos, open_training_data


def test_camera_data_is_read_from_its_own_sources(tmp_path, small_synthetic_set):
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
def test_every_20th_photo_of_a_plain_folder_is_held_out(tmp_path, photos, held_out):
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


def test_unreadable_and_small_photos_are_skipped_and_reported(tmp_path, capsys):
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


def test_too_many_photos_for_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_SET_BYTES", 2 * 20 * 24 * 3)
    paths = [write_photo(tmp_path / f"{index}.png") for index in range(3)]
    assert len(data.read_photos(paths[:2])) == 2
    with pytest.raises(ConfigError, match="use fewer"):
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


@pytest.mark.parametrize(("there", "wanted", "used"), [(3, 8, 3), (8, 8, 8), (9, 4, 4), (32, 8, 8), (11, 7, 7)])
def test_validation_photos_are_spread_over_the_set(tmp_path, there, wanted, used):
    for index in range(there):
        write_photo(tmp_path / f"val/{index:02d}.png", value=index)
    write_photo(tmp_path / "train/a.png")
    _, validation = load_photos(TrainConfig(data=(str(tmp_path),), crop=16, validation_photos=wanted))
    values = [int(photo[0, 0, 0]) for photo in validation]
    assert values == sorted(set(values)) and len(values) == used
    gaps = np.diff([*values, there])
    assert values[0] == 0 and gaps.max() - gaps.min() <= 1


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
