"""16-bit colour and alpha: every bit is kept, other programs agree, and hostile files are refused."""

import io
import struct
import zlib

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image

from denoiser.errors import ImageError
from denoiser.image_io import Photo, open_image, save_image
from denoiser.png_tiff import DeepTiff, read_samples

ORIENTATION, MAKE, EXIF_IFD, TAKEN, INTEROP, GPS_IFD, X_RESOLUTION = 274, 271, 0x8769, 36867, 40965, 0x8825, 282
# What each value of Orientation asks for: the rows and columns swapped or not, then mirrored along these axes.
TO_UPRIGHT = {1: (0, ()), 2: (0, 1), 3: (0, (0, 1)), 4: (0, 0), 5: (1, ()), 6: (1, 1), 7: (1, (0, 1)), 8: (1, 0)}
SAMPLES = np.random.default_rng(0).integers(0, 65536, (5, 7, 4), np.uint16)
SAMPLES[0, 0] = 0x1234, 0x00FF, 0xFF00, 0xABCD


def photo_of(channels, **metadata):
    """A 16-bit photo of the first samples: grey with alpha for 2 channels, RGB for 3, RGBA for 4."""
    pixels = SAMPLES[..., 0] if channels < 3 else SAMPLES[..., :3]
    return Photo(pixels, SAMPLES[..., channels - 1] if channels in (2, 4) else None, **metadata)


def assert_same(photo, samples):
    """The photo holds exactly these samples: uint16 (H, W, 2 to 4) as in photo_of."""
    grey, alpha = samples.shape[2] < 3, samples.shape[2] in (2, 4)
    assert photo.pixels.dtype == np.uint16 and (photo.alpha is not None) == alpha
    np.testing.assert_array_equal(photo.pixels, samples[..., 0 if grey else slice(3)])
    if alpha:
        np.testing.assert_array_equal(photo.alpha, samples[..., -1])


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, before=b"", behind=b""):
    """A 16-bit PNG written by hand, with chunks before and behind the pixels."""
    kind = {2: 4, 3: 2, 4: 6}[samples.shape[2]]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + before + data + behind + png_chunk(b"IEND", b"")


def tiff(samples, **options):
    buffer = io.BytesIO()
    photometric = "minisblack" if samples.shape[2] == 2 else "rgb"
    tifffile.imwrite(buffer, samples, **{"photometric": photometric, "planarconfig": "contig"} | options)
    return buffer.getvalue()


def exif_with(**tags):
    exif = Image.Exif()
    for tag, value in {MAKE: "Maker", EXIF_IFD: {TAKEN: "2024:01:02", INTEROP: {1: "R98"}}, GPS_IFD: {1: "N"}}.items():
        exif[tag] = value
    for tag, value in tags.items():
        exif[int(tag.strip("_"))] = value
    return exif


def parsed(block):
    exif = Image.Exif()
    exif.load(block)
    return {tag: exif.get_ifd(tag) if tag in (EXIF_IFD, GPS_IFD) else exif[tag] for tag in exif}


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_a_png_by_another_program_is_read_exactly(tmp_path, channels):
    samples = SAMPLES[..., [0, 3][:channels]] if channels == 2 else SAMPLES[..., :channels]
    (tmp_path / "x.png").write_bytes(png(samples))
    assert_same(open_image(tmp_path / "x.png"), samples)


def test_the_transparent_colour_of_a_png_becomes_alpha(tmp_path):
    key = png_chunk(b"tRNS", SAMPLES[0, 0, :3].astype(">u2").tobytes())
    (tmp_path / "x.png").write_bytes(png(SAMPLES[..., :3], before=key))
    alpha = np.where((SAMPLES[..., :3] == SAMPLES[0, 0, :3]).all(-1), 0, 65535)
    assert_same(open_image(tmp_path / "x.png"), np.dstack((SAMPLES[..., :3], alpha.astype(np.uint16))))


@pytest.mark.parametrize(
    ("channels", "options"),
    [
        *((channels, {}) for channels in (2, 3, 4)),
        (3, {"byteorder": ">"}),
        (3, {"bigtiff": True}),
        (3, {"compression": "zlib", "predictor": True}),
        (3, {"tile": (16, 16)}),
        (3, {"rowsperstrip": 2}),
    ],
)
def test_a_tiff_by_another_program_is_read_exactly(tmp_path, channels, options):
    samples, extra = SAMPLES[..., :channels], [] if channels == 3 else ["unassalpha"]
    (tmp_path / "x.tif").write_bytes(tiff(samples, extrasamples=extra, **options))
    assert_same(open_image(tmp_path / "x.tif"), samples)


def test_rarer_kinds_of_tiff_are_read_correctly(tmp_path):
    def read(samples, **options):
        (tmp_path / "x.tif").write_bytes(tiff(samples, **options))
        return open_image(tmp_path / "x.tif")

    planes = np.moveaxis(SAMPLES[..., :3], -1, 0).copy()
    assert_same(read(planes, planarconfig="separate"), SAMPLES[..., :3])
    assert_same(read(SAMPLES, extrasamples=["unspecified"]), SAMPLES[..., :3])
    five = np.dstack((SAMPLES, SAMPLES[..., 0]))
    assert_same(read(five, extrasamples=["unassalpha", "unspecified"]), SAMPLES)
    negative = read(SAMPLES[..., :2], photometric="miniswhite", extrasamples=["unassalpha"])
    assert_same(negative, np.dstack((~SAMPLES[..., 0], SAMPLES[..., 1])))
    for samples, extra in ((SAMPLES, ["unspecified"]), (five, ["unassalpha", "unspecified"])):
        photo = read(samples, extrasamples=extra)
        assert photo.is_part and photo.notes == ("The extra channels of 'x.tif' were left out.",)
    eight = read((SAMPLES >> 8).astype(np.uint8), extrasamples=["unspecified"])
    assert eight.is_part and not read(SAMPLES, extrasamples=["unassalpha"]).is_part
    half = np.full((5, 7, 4), 0x8000, np.uint16)
    half[..., :3] = 0x1234  # premultiplied by an alpha of one half
    assert np.abs(read(half, extrasamples=["assocalpha"]).pixels.astype(int) - 2 * 0x1234).max() <= 1


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_other_programs_read_what_is_written(tmp_path, channels):
    photo = photo_of(channels, exif=exif_with().tobytes(), xmp=b"<x:xmpmeta/>")
    expected = np.dstack([plane for plane in (photo.pixels, photo.alpha) if plane is not None])
    save_image(photo, tmp_path / "x.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), expected)
    save_image(photo, tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert data[24:26] == bytes([16, {2: 4, 3: 2, 4: 6}[channels]])  # bit depth and colour type
    start = data.index(b"IDAT")
    rows = zlib.decompress(data[start + 4 : start + 4 + int.from_bytes(data[start - 4 : start], "big")])
    rows = np.frombuffer(rows, np.uint8).reshape(5, -1)
    assert set(rows[:, 0]) == {1}  # the filter: each byte minus that of the pixel to the left
    plain = np.cumsum(rows[:, 1:].reshape(5, 7, -1), axis=1, dtype=np.uint8)
    np.testing.assert_array_equal(plain.reshape(-1).view(">u2").reshape(expected.shape), expected)


def test_a_tiff_of_many_strips_is_written_whole(tmp_path):
    for dtype in (np.uint8, np.uint16):
        pixels = np.random.default_rng(0).integers(0, 255, (700, 33, 3), dtype)
        save_image(Photo(pixels, exif=exif_with().tobytes()), tmp_path / "x.tif")
        np.testing.assert_array_equal(open_image(tmp_path / "x.tif").pixels, pixels)
        with tifffile.TiffFile(tmp_path / "x.tif") as file:
            assert len(file.pages[0].dataoffsets) > 1 and file.pages[0].compression.name == "ADOBE_DEFLATE"
            np.testing.assert_array_equal(file.asarray(), pixels)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_metadata_is_read_back_and_none_is_invented(tmp_path, suffix, endian):
    exif = exif_with(_282=300.0)
    exif.endian = endian
    save_image(photo_of(3, exif=exif.tobytes()), tmp_path / f"x.{suffix}")
    assert parsed(open_image(tmp_path / f"x.{suffix}").exif) == parsed(exif.tobytes())
    save_image(photo_of(3), tmp_path / f"bare.{suffix}")
    with Image.open(tmp_path / f"bare.{suffix}") as image:
        made_up = {"icc_profile", "exif", "xmp", *(["dpi"] if suffix == "png" else [])}  # Pillow's of a TIFF is
        assert not made_up.intersection(image.info) and X_RESOLUTION not in image.getexif()


def test_layout_tags_of_another_file_are_not_written(tmp_path):
    exif = exif_with(_256=99, _258=8, _273=(1, 2, 3), _274=6, _320=(0,) * 9)
    save_image(photo_of(3, exif=exif.tobytes()), tmp_path / "x.tif")
    assert_same(open_image(tmp_path / "x.tif"), SAMPLES[..., :3])
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        assert 320 not in file.pages[0].tags  # a palette


@pytest.mark.parametrize("place", ["before", "behind", "tiff"])
def test_every_orientation_is_turned_upright(tmp_path, place, subtests):
    for orientation in TO_UPRIGHT:
        with subtests.test(orientation=orientation):
            exif = exif_with(_274=orientation).tobytes()
            if place == "tiff":
                data = tiff(SAMPLES[..., :3], extratags=[(ORIENTATION, "H", 1, orientation)])
            else:
                data = png(SAMPLES[..., :3], **{place: png_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))})
            (tmp_path / "x").write_bytes(data)
            photo = open_image(tmp_path / "x")
            swapped, mirrored = TO_UPRIGHT[orientation]
            assert_same(photo, np.flip(SAMPLES[..., :3].swapaxes(0, 1) if swapped else SAMPLES[..., :3], mirrored))
            assert ORIENTATION not in parsed(photo.exif or b"")


@pytest.mark.parametrize("value", [struct.pack("<HII", 3, 1, n) for n in (0, 9, 60_000)] + [b"\2\0\4\0\0\0six\0"])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path, value):
    exif = b"II*\0\x08\0\0\0\1\0" + struct.pack("<H", ORIENTATION) + value + bytes(4)
    (tmp_path / "x.png").write_bytes(png(SAMPLES, before=png_chunk(b"eXIf", exif)))
    assert_same(open_image(tmp_path / "x.png"), SAMPLES)


def test_metadata_behind_the_pixels_is_found(tmp_path):
    exif = png_chunk(b"eXIf", exif_with().tobytes().removeprefix(b"Exif\0\0"))
    text = png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + b"<x:xmpmeta/>")
    (tmp_path / "x.png").write_bytes(png(SAMPLES, before=exif, behind=text))
    assert open_image(tmp_path / "x.png").xmp == b"<x:xmpmeta/>"


@pytest.mark.parametrize(("dtype", "kind"), [("f2", "floating-point"), ("f4", "floating-point"), ("u4", "32-bit")])
def test_other_sample_types_are_refused_by_name(tmp_path, dtype, kind):
    (tmp_path / "x.tif").write_bytes(tiff(SAMPLES[..., :3].astype(dtype)))
    with pytest.raises(ImageError, match=f"'x.tif' holds {kind} pixels"):
        open_image(tmp_path / "x.tif")


def with_tags(data, **values):
    """A little-endian TIFF in which the tags, named _256 and so on, have other values."""
    data = bytearray(data)
    directory = int.from_bytes(data[4:8], "little")
    for at in range(directory + 2, directory + 2 + 12 * int.from_bytes(data[directory : directory + 2], "little"), 12):
        tag = int.from_bytes(data[at : at + 2], "little")
        if f"_{tag}" in values:
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, values[f"_{tag}"])
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_tags(tiff(SAMPLES[..., :3]), _256=60_000, _257=60_000), "60000×60000 pixels"),
        (with_tags(tiff(SAMPLES[..., :3]), _257=9_000), "damaged"),
        (with_tags(tiff(SAMPLES[..., :3], tile=(16, 16)), _322=65_536, _323=65_536), "damaged"),  # 24 GiB a tile
        (with_tags(tiff(SAMPLES[..., :3]), _277=4), "damaged"),
        (png(SAMPLES)[:-60], "damaged"),
        (png(SAMPLES[:2]).replace(struct.pack(">II", 7, 2), struct.pack(">II", 7, 9)), None),
        (tiff(SAMPLES[..., :3])[:-60], "damaged"),
        (tiff(SAMPLES[..., :3], tile=(16, 16))[:-60], "damaged"),
    ],
    ids=["bomb", "too few rows", "huge tile", "samples", "cut.png", "too few rows.png", "cut.tif", "cut tile.tif"],
)
@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_a_header_that_lies_is_refused(tmp_path, data, words):
    (tmp_path / "x.tif").write_bytes(data)
    with pytest.raises(ImageError, match=words) as caught:
        open_image(tmp_path / "x.tif")
    assert str(tmp_path) not in str(caught.value)


def test_a_file_whose_two_readers_disagree_is_refused():
    file = io.BytesIO(tiff(SAMPLES[..., :3]))
    header = DeepTiff(file)
    assert read_samples(header, file, 1).shape == (5, 7, 3)
    header._size = (5, 7)
    with pytest.raises(ValueError, match="7×5"):
        read_samples(header, file, 1)


def repaired(data):
    """The PNG with corrected checksums, so that its decoder doesn't stop at them."""
    data, at = bytearray(data), 8
    while at + 12 <= len(data) and at + 12 + (size := int.from_bytes(data[at : at + 4], "big")) <= len(data):
        data[at + 8 + size : at + 12 + size] = struct.pack(">I", zlib.crc32(data[at + 4 : at + 8 + size]))
        at += 12 + size
    return bytes(data)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_gives_a_photo_or_an_image_error(tmp_path, suffix):
    path, rng, read = tmp_path / f"x.{suffix}", np.random.default_rng(0), 0
    save_image(photo_of(4, exif=exif_with().tobytes(), xmp=b"<x:xmpmeta/>"), path)
    whole = path.read_bytes()
    for _ in range(200):
        data = np.frombuffer(whole, np.uint8).copy()
        data[rng.integers(8, len(data), 2)] = rng.integers(0, 256, 2)
        path.write_bytes(repaired(data.tobytes()) if suffix == "png" else data.tobytes())
        try:
            read += isinstance(open_image(path), Photo)
        except ImageError as error:
            assert str(tmp_path) not in str(error)
    assert 0 < read < 200  # both happen, so the damage goes deep enough to matter


def test_libvips_caches_nothing(tmp_path):
    save_image(photo_of(4), tmp_path / "x.png")
    open_image(tmp_path / "x.png")
    assert pyvips.cache_get_size() == 0
