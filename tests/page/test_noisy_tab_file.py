"""The file that a visitor downloads: its name, its quality, and what it says of where the photo was taken."""

import pytest
from PIL import ExifTags, Image
from visitor import RUN, Visitor, number_of

import denoiser

pytestmark = pytest.mark.slow


@pytest.fixture
def download(tiny_page, tmp_path, photo_pixels):
    """Denoises a JPEG that knows where it was taken, and returns a function that gets it with a tab's file options."""
    page, url = tiny_page
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 30.0, 59.0)
    Image.fromarray(photo_pixels).save(tmp_path / "holiday.jpg", exif=exif)
    visitor = Visitor(url)
    upload = visitor.upload(tmp_path / "holiday.jpg")[0]
    assert visitor.denoise(number_of(page, *RUN), upload)["data"]

    def get(kind="Like the upload", quality=95, without_location=False):
        settings = kind, quality, without_location
        file = visitor.ask(number_of(page, "make_file"), visitor.key, 100, *settings)["data"][0]
        path = tmp_path / file["path"].rpartition("/")[2]
        path.write_bytes(visitor.http.get(f"/file={file['path']}").raise_for_status().content)
        return path

    return get


def test_the_location_is_removed_on_request_and_only_that(download):
    for without_location in (False, True):
        exif = Image.open(download(without_location=without_location)).getexif()
        assert bool(exif.get_ifd(ExifTags.IFD.GPSInfo)) is not without_location
        assert exif[ExifTags.Base.Make] == "A camera"


def test_a_lower_quality_makes_a_smaller_jpeg(download):
    sizes = [download(quality=quality).stat().st_size for quality in (30, 60, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    best = denoiser.open_image(download("PNG"))
    psnr = [denoiser.compare(denoiser.open_image(download(quality=q)), best)["psnr"] for q in (30, 95)]
    assert 25 < psnr[0] < psnr[1] - 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
def test_every_format_is_what_it_is_called(download, kind):
    path = download(kind)
    assert path.name.startswith("holiday-denoised.") and Image.open(path).format == kind.upper()
