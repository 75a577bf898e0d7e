"""Blind photo denoising with a small skip-connected autoencoder.

    import denoiser

    model = denoiser.load()                     # or a bundled model by name, a folder, "user/repo" on the Hub
    photo = denoiser.open_image("noisy.jpg")    # Photo: upright pixels, alpha, ICC profile, EXIF, XMP
    clean = model(photo)                        # Photo; level=None estimates the noise, 25 means sigma = 25/255
    denoiser.save_image(clean, "clean.png")

    array = model.denoise(photo.pixels)         # H×W×3 uint8, uint16 or float32 in [0, 1] -> same shape and dtype
    level = model.estimate_level(array)         # the estimate, on the 0-255 scale

`level` is the standard deviation of the noise on the 0-255 scale; `sigma` is the same on [0, 1]. Input that can't be
used raises a DenoiserError that says what to do.
"""

from . import metrics, noise
from .errors import DenoiserError, ImageError, WeightsError
from .image_io import open_image, save_image
from .inference import MAX_LEVEL, Denoiser, add_noise, blend, compare, load, residual
from .photo import Photo
from .version import __version__

__all__ = [
    "MAX_LEVEL",
    "Denoiser",
    "DenoiserError",
    "ImageError",
    "Photo",
    "WeightsError",
    "__version__",
    "add_noise",
    "blend",
    "compare",
    "load",
    "metrics",
    "noise",
    "open_image",
    "residual",
    "save_image",
]
