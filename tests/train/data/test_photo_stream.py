"""Streams of photos that don't fit in memory: exact resume, epochs, and what is skipped."""

import threading
import time

import numpy as np
import pytest
import torch

from denoiser import Photo, save_image
from denoiser.errors import ImageError
from train.config import ConfigError, TrainConfig
from train.data import hub_dataset as hub_data
from train.data import photo_files as data
from train.data import photo_stream as stream
from train.data import training_data as sources
from train.data.photo_set import PhotoSet
from train.data.photo_stream import PhotoStream, in_turns, shuffled
from train.data.read_ahead import in_threads
from train.data.training_data import Picture, local_files, open_training_data

SIDE, SLOTS, CROP = 16, 5, 8


class Coded:
    """A photo whose pixels say which photo, row and column they are, or one that is broken."""

    def __init__(self, number, height=20, width=24, broken=False):
        self.number, self.shape, self.broken = number, (height, width), broken

    def __str__(self):
        return f"photo {self.number}"

    def read(self):
        if self.broken:
            raise ImageError(f"{self} is damaged")
        row, column = np.mgrid[: self.shape[0], : self.shape[1]]
        return np.stack([np.full_like(row, self.number), row, column], axis=2).astype(np.uint8)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch):
    sizes = {"REGION_SIDE": SIDE, "POOL_BYTES": 3 * SIDE**2 * SLOTS, "CROPS_PER_REGION": 4, "REGIONS_AHEAD": 3}
    for name, value in sizes.items():
        monkeypatch.setattr(stream, name, value)
    monkeypatch.setattr(hub_data, "ROWS_AHEAD", 3)


def make_stream(photos=13, seed=3):
    files = [Coded(number) for number in range(photos)] if isinstance(photos, int) else photos
    return PhotoStream(shuffled(files, seed), (seed, 0), CROP)


def draw(photos, crops, count=40):
    """Draw the crops that follow `crops` earlier ones, with their own generator."""
    photos.seek(crops)
    return photos.crops(count, CROP, torch.Generator().manual_seed(crops))


def photos_of(crops):
    return set((crops[:, 0] * 255).round().long().unique().tolist())


@pytest.mark.parametrize("step", [1, 7, 21, 90])
def test_a_stream_resumed_anywhere_equals_the_uninterrupted_one(step):
    uninterrupted = make_stream()
    for crops in range(0, 100, step):
        expected = draw(uninterrupted, crops)
        if crops % 5 == 0:
            assert torch.equal(draw(make_stream(), crops), expected)
    assert torch.equal(draw(uninterrupted, 50), draw(make_stream(), 50))  # and back


def test_slow_photos_change_nothing_and_are_waited_for(monkeypatch):
    fast, slow = make_stream(), make_stream()
    expected = [draw(fast, crops) for crops in range(0, 60, 4)]
    read, delays = Coded.read, iter(np.random.default_rng(0).random(1000) * 0.01)
    monkeypatch.setattr(Coded, "read", lambda self: (time.sleep(next(delays)), read(self))[1])
    assert all(torch.equal(draw(slow, crops), then) for crops, then in zip(range(0, 60, 4), expected, strict=True))
    assert slow.waited > 0


def test_a_jump_decodes_only_the_pool_and_what_is_read_ahead(monkeypatch):
    reads, read = [], Coded.read
    monkeypatch.setattr(Coded, "read", lambda self: (reads.append(self.number), read(self))[1])
    draw(make_stream(1000), 4000)
    assert SLOTS <= len(reads) <= SLOTS + 3


def test_the_pool_keeps_its_size_and_each_region_serves_its_crops():
    photos = make_stream(1000)
    draw(photos, 0)
    pixels, seen = photos.pixels.data_ptr(), set()
    for crops in range(0, 400, 4):
        seen |= photos_of(draw(photos, crops))
        assert photos.pixels.data_ptr() == pixels and photos.total == SLOTS * SIDE**2
    assert photos.placed == SLOTS + 99 and len(photos_of(draw(photos, 396, 500))) == SLOTS


def test_every_photo_is_drawn_once_an_epoch_and_each_epoch_has_another_order():
    files = [Coded(number) for number in range(13)]
    place = shuffled(files, 1)(0)
    epochs = [[next(place).number for _ in files] for _ in range(3)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert [next(shuffled(files, 1)(20)).number] == epochs[1][7:8]


def test_processes_share_the_photos_of_an_epoch_among_them():
    files = [Coded(number) for number in range(12)]
    shares = [{next(place).number for _ in range(4)} for place in (shuffled(files, 1, rank, 3)(0) for rank in range(3))]
    assert sorted(number for share in shares for number in share) == list(range(12))


def test_sources_take_turns_wherever_one_starts():
    parts = [shuffled([Coded(100 * part + number) for number in range(4)], part) for part in range(3)]
    place = in_turns(parts)(0)
    order = [next(place).number for _ in range(30)]
    assert [number // 100 for number in order] == [0, 1, 2] * 10
    for start in range(10):
        later = in_turns(parts)(start)
        assert [next(later).number for _ in range(8)] == order[start : start + 8]


def test_regions_lie_anywhere_and_small_photos_are_used_whole():
    cutter = make_stream().cutter
    corners = {tuple(cutter(number, Coded(0))[0, 0, 1:]) for number in range(400)}
    assert corners == {(row, column) for row in range(5) for column in range(9)}
    assert cutter(0, Coded(0, 9, 200)).shape == (9, 16, 3)
    photos = make_stream([Coded(1, 9, 200), Coded(2, 8, 8)])
    crops = (draw(photos, 0, 200) * 255).round()
    assert {float(crop[0].max()) for crop in crops} == {1.0, 2.0}
    assert all((crop[0] == crop[0, 0, 0]).all() and crop[1].max() - crop[1].min() == 7 for crop in crops)


def test_unusable_photos_are_named_once_and_leave_their_slot_empty(capsys):
    bad = {3: Coded(3, broken=True), 5: Coded(5, 7, 90)}
    photos = make_stream([bad.get(number, Coded(number)) for number in range(8)])
    seen = set().union(*(photos_of(draw(photos, crops)) for crops in range(0, 200, 4)))
    assert seen == {0, 1, 2, 4, 6, 7} and len(photos.skipped) == 2
    assert torch.equal(draw(photos, 100), draw(make_stream([bad.get(n, Coded(n)) for n in range(8)]), 100))
    lines = capsys.readouterr().err.splitlines()
    assert lines.count("skipped: photo 3 is damaged") == 2  # by each of the two streams
    assert sum("'photo 5' is 90×7 pixels" in line for line in lines) == 2


def test_a_set_of_only_damaged_photos_is_refused_and_not_all_are_named(capsys, monkeypatch):
    monkeypatch.setattr(stream, "MAX_NAMED", 3)
    with pytest.raises(ConfigError, match="none of 5 photos could be used"):
        draw(make_stream([Coded(number, broken=True) for number in range(9)]), 0)
    assert capsys.readouterr().err.count("is damaged") == 3


def test_no_thread_outlives_its_stream():
    before = set(threading.enumerate())
    photos = make_stream([Coded(number, broken=number % 2 == 0) for number in range(50)])
    draw(photos, 0)
    assert photos.skipped
    workers = [thread for thread in set(threading.enumerate()) - before if "ThreadPoolExecutor" in thread.name]
    assert workers
    del photos
    assert not any(thread.is_alive() for thread in workers)


def test_calls_in_threads_keep_their_order_and_run_ahead_to_a_limit():
    made = []

    def call(number):
        made.append(number)
        time.sleep(0.002 * (number % 3))
        return number

    results = in_threads(((lambda number=number: call(number)) for number in range(1000)), ahead=5, threads=3)
    assert [next(results).result() for _ in range(20)] == list(range(20))
    assert len(made) <= 25


def write_photos(folder, count=4, side=20):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        save_image(Photo(np.full((side, side + 4, 3), number, np.uint8)), folder / f"{number:02}.png")
    return folder


def config_of(*names, **options):
    return TrainConfig(**({"data": tuple(map(str, names)), "crop": 16} | options))


def test_only_the_headers_of_a_folder_are_read_first(tmp_path, capsys):
    write_photos(tmp_path)
    save_image(Photo(np.zeros((15, 90, 3), np.uint8)), tmp_path / "flat.png")
    (tmp_path / "junk.jpg").write_bytes(b"not a photo")
    (tmp_path / "empty.png").touch()
    files, size = local_files(data.photos_below(tmp_path), smallest=16)
    assert [str(file) for file in files] == [str(tmp_path / f"{number:02}.png") for number in range(4)]
    assert size == 4 * 20 * 24 * 3
    err = capsys.readouterr().err
    assert "skipped: 'junk.jpg'" in err and "skipped: 'empty.png'" in err and "skipped: 2 photos that can't" in err
    assert "skipped: 1 photos with a side below 16 pixels" in err


def test_a_set_is_held_in_memory_if_it_fits_else_streamed(tmp_path, monkeypatch):
    write_photos(tmp_path / "train", 6)
    write_photos(tmp_path / "val", 3)
    (tmp_path / "train" / "99.png").write_bytes((tmp_path / "train" / "00.png").read_bytes()[:60])  # its header is fine
    held = open_training_data(config_of(tmp_path))
    assert type(held.photos) is PhotoSet and held.camera_photos is None and len(held.validation) == 3
    assert held.about == "6 photos to train on, 3 to validate on" and held.waited == 0
    monkeypatch.setattr(sources, "MAX_SET_BYTES", 3000)
    options = {"camera_data": (str(tmp_path / "val"),)}
    streamed = open_training_data(config_of(tmp_path, val=str(tmp_path / "train"), **options))
    assert type(streamed.photos) is PhotoStream and len(streamed.validation) == 6
    assert streamed.about.startswith("7 photos to train on, read as they are needed")
    seen = set()
    for crops in range(0, 40, 4):
        streamed.seek(crops)
        assert photos_of(streamed.camera_photos.crops(2, 16, torch.Generator())) <= {0, 1, 2}
        seen |= photos_of(streamed.photos.crops(20, 16, torch.Generator()))
    assert seen == set(range(6)) and len(streamed.photos.skipped) == 1


def test_nothing_to_train_on_is_refused(tmp_path):
    write_photos(tmp_path, side=12)
    with pytest.raises(ConfigError, match="--data .* holds no photos of at least 16 pixels a side"):
        open_training_data(config_of(tmp_path))


def test_pictures_and_folders_mix(tmp_path, monkeypatch):
    for name, value in {"SYNTHETIC_COUNT": 3, "SYNTHETIC_VALIDATION": 2, "SYNTHETIC_SIDE": 32}.items():
        monkeypatch.setattr(data, name, value)
    write_photos(tmp_path)
    opened = open_training_data(config_of("synthetic", tmp_path))
    assert len(opened.photos.heights) == 3 + 3 and len(opened.validation) == 2 + 1
    assert Picture(opened.validation[0]).read() is opened.validation[0]
