"""Photos in memory: what they refuse, and their metadata without the location."""

import time

import numpy as np
import pytest
from PIL import Image

from denoiser.errors import ImageError
from denoiser.metadata import xmp_without
from denoiser.photo import Photo

MODEL, EXIF_IFD, GPS_IFD, TAKEN, INTEROP = 272, 0x8769, 0x8825, 36867, 40965
PIXELS = np.zeros((6, 9, 3), np.uint8)


def test_with_pixels_refuses_other_sizes_and_types():
    photo = Photo(PIXELS, PIXELS[..., 0])
    assert photo.with_pixels(PIXELS[..., 0] + 1).pixels.min() == 1
    for bad in (PIXELS.swapaxes(0, 1), PIXELS.astype(np.float32), PIXELS[..., :2], PIXELS.astype(np.uint16)):
        with pytest.raises(ImageError):
            photo.with_pixels(bad)


@pytest.mark.parametrize(("pixels", "alpha"), [(None, None), ([[1]], None), (PIXELS, [[1]])])
def test_other_types_than_arrays_are_refused(pixels, alpha):
    with pytest.raises(ImageError, match="must be a NumPy array, not (NoneType|list)"):
        Photo(pixels, alpha)


def exif_block(gps):
    exif = Image.Exif()
    exif[MODEL] = "Camera"
    exif[EXIF_IFD] = {TAKEN: "2024:01:02 03:04:05", INTEROP: {1: "R98"}}
    if gps:
        exif[GPS_IFD] = {1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.2)}
    return exif.tobytes()


def test_the_location_is_removed_from_the_exif_and_the_rest_stays():
    with_gps = exif_block(gps=True)
    assert len(with_gps) > len(exif_block(gps=False))
    assert Photo(PIXELS, exif=with_gps).without_location().exif == exif_block(gps=False)
    assert Photo(PIXELS, exif=exif_block(gps=False)).without_location().exif == exif_block(gps=False)


PACKET = b"""<x:xmpmeta><rdf:RDF><rdf:Description xmp:Rating="5" %b tiff:Model="Camera">%b
<dc:title>Harbour</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize(
    ("attribute", "element"),
    [
        (b'\n  exif:GPSLatitude="48,51.5N"\n exif:GPSLongitude = "2,17.7E"', b""),
        (b"exif:GPSLatitude='48,51.5N'", b"<exif:GPSLongitude>2,17.7E</exif:GPSLongitude>"),
        (
            b'drone-dji:GpsLatitude="+48.85"',
            b'<EXIF:GPSAltitude rdf:datatype="x">1/2</EXIF:GPSAltitude ><e:GPSStatus/>',
        ),
    ],
)
def test_the_location_is_removed_from_the_xmp_and_the_rest_stays(attribute, element):
    packet = Photo(PIXELS, xmp=PACKET % (attribute, element)).without_location().xmp
    assert packet.split() == (PACKET % (b"", b"")).split()


def test_metadata_that_cannot_be_parsed_is_removed_with_the_location():
    nested = PACKET % (b"", b"<exif:GPSPlace><rdf:Alt>48,51.5N</rdf:Alt></exif:GPSPlace>")
    for xmp in (nested, (PACKET % (b'exif:GPSLatitude="1"', b"")).decode().encode("utf-16")):
        assert Photo(PIXELS, xmp=xmp).without_location().xmp is None
    assert Photo(PIXELS, exif=b"Exif\0\0no EXIF block").without_location().exif is None


def test_pixels_and_profile_stay_without_location():
    photo = Photo(PIXELS, PIXELS[..., 0], b"profile").without_location()
    assert photo.pixels is PIXELS and photo.alpha is not None and photo.icc_profile == b"profile"
    assert photo.exif is None and photo.xmp is None


@pytest.mark.parametrize("unit", [b"<a:GPS>", b"<a:GPS ", b" a:GPS=", b" a:GPS", b"GPS", b" ", b"<a:GPS a='"])
def test_a_hostile_packet_is_parsed_in_seconds(unit):
    started = time.monotonic()
    xmp_without(unit * (1_000_000 // len(unit)), rb"GPS\w*")
    assert time.monotonic() - started < 5
