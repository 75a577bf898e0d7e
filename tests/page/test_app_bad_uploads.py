"""A hundred bad uploads and a dozen bad levels through the page's API: each gets its message, the page lives on."""

import io
import json
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from visitor import Visitor

import app
import denoiser

pytestmark = pytest.mark.slow

FORMATS = {"photo.png": "PNG", "photo.jpg": "JPEG", "photo.webp": "WEBP", "photo.tif": "TIFF", "photo.bmp": "BMP"}
SIDE = 64


@pytest.fixture
def url(tiny_page):
    return tiny_page[1]


def encoded(kind, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png(width, height, depth=8, color=2, data=b"", repeats=1):
    """A PNG that says what it likes of itself; its data is compressed, `repeats` times."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(data) for _ in range(repeats)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(**tags):
    """A TIFF of one directory: numbers for the tags that its name has after an underscore."""
    entries = sorted((int(name[1:]), value) for name, value in tags.items())
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 8)  # and again from the start


def jpeg_of_size(width, height):
    data = bytearray(encoded("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of_size(width, height):
    data = bytearray(encoded("BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def bad_files():
    """Names and contents: none can be used."""
    files = []
    suffixes = (".jpg", ".png", ".webp", ".tif", ".bmp", ".avif", ".heic", ".gif")
    for suffix in suffixes:
        files += [
            (f"nothing{suffix}", b""),
            (f"text{suffix}", b"The quick brown fox jumps over the lazy dog.\n" * 20),
            (f"zeros{suffix}", bytes(5000)),
            (f"random{suffix}", np.random.default_rng(1).bytes(5000)),
            (f"page{suffix}", b"<!doctype html><script>alert(1)</script>"),
        ]
    for name, kind in FORMATS.items():
        data = encoded(kind)
        for share in (0.002, 0.02, 0.1, 0.3, 0.5):
            files.append((f"cut-at-{share}-{name}", data[: max(3, int(share * len(data)))]))
        files.append((f"beheaded-{name}", data[2:]))
    for kind in ("PNG", "JPEG", "TIFF"):
        noise = bytearray(encoded(kind))
        noise[12:40] = np.random.default_rng(2).bytes(28)
        files.append((f"scrambled.{kind.lower()}", bytes(noise)))
    files += [
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'),
        ("drawing.png", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("paper.pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
        ("paper.jpg", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
        ("print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
        ("program.jpg", b"\x7fELF\x02\x01\x01" + bytes(200)),
        ("archive.png", b"PK\x03\x04" + bytes(200)),
        ("film.heic", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(500)),
        ("icon.png", b"\0\0\1\0\1\0\x10\x10" + bytes(100)),
        ("portable.png", b"P6 4 4 255\n" + bytes(48)),
        ("raw.dng", encoded("TIFF")),
        ("raw.nef", encoded("TIFF")),
        # More pixels than are taken, or than there are.
        ("bomb.png", png(60_000, 60_000, data=bytes(2**20), repeats=64)),
        ("long.png", png(2**31 - 1, 1)),
        ("huge.png", png(2**31 - 1, 2**31 - 1)),
        ("flat.png", png(0, 10)),
        ("promising.png", png(5000, 5000, data=bytes(1000))),
        ("bits.png", png(8, 8, depth=7)),
        ("colours.png", png(8, 8, color=5)),
        ("huge.jpg", jpeg_of_size(65_535, 65_535)),
        ("flat.jpg", jpeg_of_size(0, 64)),
        ("huge.bmp", bmp_of_size(2**31 - 1, 2**31 - 1)),
        ("wide.bmp", bmp_of_size(66_000, 100)),
        ("flat.bmp", bmp_of_size(0, 0)),
        ("huge.tif", tiff(_256=2**32 - 1, _257=2**32 - 1, _258=16, _262=1, _277=1)),
        ("wide.tif", tiff(_256=70_000, _257=1000, _258=8, _262=1, _273=8, _277=1, _279=1000)),
        ("empty.tif", tiff(_256=10, _257=10)),
        ("deep.tif", tiff(_256=16, _257=16, _258=64, _262=1, _273=8, _277=1, _279=2048)),
        ("samples.tif", tiff(_256=16, _257=16, _258=8, _262=1, _273=8, _277=65_535, _279=2048)),
    ]
    floats, numbers = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.float32)).save(floats, "TIFF")
    Image.fromarray(np.full((8, 8), 10**6, np.int32)).save(numbers, "TIFF")
    return [*files, ("floats.tif", floats.getvalue()), ("numbers.tif", numbers.getvalue())]


def assert_plain(message):
    """A sentence for people: nothing of the machine's inside reaches them."""
    assert len(message) > 20 and message.rstrip().endswith("."), message
    for inside in ("Traceback", "/tmp", ".py", "site-packages", "Errno", "0x", "exception"):
        assert inside not in message, message


def answer_to(url, photo, level):
    """What /denoise streams back for a file on the server and a level, as JSON has it: no client in between."""
    photo = f'{{"path": "{photo}", "meta": {{"_type": "gradio.FileData"}}}}'
    headers = {"content-type": "application/json"}
    call = httpx.post(f"{url}gradio_api/call/denoise", content=f'{{"data": [{photo}, {level}]}}', headers=headers)
    return httpx.get(f"{url}gradio_api/call/denoise/{call.json()['event_id']}", timeout=60).text


def answer_to_upload(visitor, path, content):
    path.write_bytes(content)
    return visitor.call("denoise", visitor.upload(path)[0], None)


def test_each_bad_upload_gets_its_message_and_the_next_good_photo_still_works(url, tmp_path):
    files, visitor = bad_files(), Visitor(url)
    assert len(files) >= 100 and len({name for name, _ in files}) == len(files)
    for name, content in files:
        answer = answer_to_upload(visitor, tmp_path / name, content)
        assert "event: error\ndata: " in answer, answer
        message = json.loads(answer.partition("event: error\ndata: ")[2])["error"]
        assert_plain(message)
        assert name in message
    answer = answer_to_upload(visitor, tmp_path / "good.png", encoded("PNG"))
    (result,) = json.loads(answer.partition("event: complete\ndata: ")[2])
    assert denoiser.open_image(result["path"]).width == SIDE


@pytest.mark.parametrize(
    "level", ["-1", "-1e-9", "100.5", "1e308", "-1e308", "NaN", "Infinity", '"much"', '"25"', "true", "[25]", "{}"]
)
def test_each_bad_level_gets_its_message(url, tmp_path, level):
    good = tmp_path / "good.png"
    good.write_bytes(encoded("PNG"))
    uploaded = httpx.post(f"{url}gradio_api/upload", files={"files": good.open("rb")}).json()[0]
    answer = answer_to(url, uploaded, level)
    assert "event: error" in answer, answer
    assert "0 to 100" in answer
    assert "event: complete" in answer_to(url, uploaded, 25)


def test_files_of_the_machine_cannot_be_read(url):
    for path in ("/etc/passwd", app.__file__, "../../etc/passwd", "weights/gaussian/config.json"):
        answer = httpx.get(f"{url}gradio_api/file={path}")
        assert answer.status_code in (403, 404), path
        assert "event: error" in answer_to(url, path, "null")
