"""The denoiser that people call: arrays or photos in, the same kind out."""

from __future__ import annotations

import math
import numbers
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import metrics, noise
from .errors import DenoiserError, ImageError
from .image_io import Photo
from .tiling import Progress, Steps, drain, tile_by_tile
from .weights import DEFAULT, Weights, load_weights

MAX_LEVEL = 100.0  # above it there is nothing left to restore
ESTIMATE_MARGIN = 1.15  # a given level this little below the estimate is taken for the truth
PART_VALUES = 1 << 21  # of a picture that are floats at a time; a multiple of 16
RESIDUAL_GAIN = 4.0  # how much stronger what was removed is shown
MAX_FLOAT = 10.0  # no noise takes [0, 1] pixels there: such an array is on another scale
FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


def load(source: str | Path = DEFAULT, revision: str | None = None, device: str = "auto") -> Denoiser:
    """Load a denoiser: a bundled one by its name, a model folder, or a Hub repository "user/name" at a revision.

    A bundled name, such as "classic", is found from any directory; ./classic is the folder there. device is a PyTorch
    device name; "auto" takes a GPU where there is one. Raises WeightsError where the weights can't be had,
    DenoiserError where there is no such device.
    """
    return Denoiser(load_weights(source, revision), device)


class Denoiser:
    """A network on a device, applied to pictures of any size in bounded memory.

    level is the strength of the noise on the 0-255 scale, from 0 (the input comes back untouched) to 100. None, the
    default, is blind: the level is estimated from the picture, at every pixel.
    """

    def __init__(self, weights: Weights, device: str = "auto") -> None:
        self.weights = weights
        self.device = pick_device(device)
        self._model = weights.model.eval().to(self.device, memory_format=torch.channels_last)
        # For 8-bit pixels. The result is within 1/255 of float32's; of a million values at most 5 are 2/255 off where
        # the noise is of level 50, and 42 at level 75.
        self._fast = self.steerable and has_fast_bfloat16(self.device)

    @property
    def steerable(self) -> bool:
        """Whether a level can be given; a classic network is blind only."""
        return self._model.steerable

    def __call__(self, photo: Photo, level: float | None = None, on_progress: Progress | None = None) -> Photo:
        """Denoise a photo; alpha, ICC profile, EXIF and bit depth stay. See denoise for the rest."""
        return photo.with_pixels(self.denoise(photo.pixels, level, on_progress))

    def by_tile(self, photo: Photo, level: float | None = None) -> Steps[Photo]:
        """Denoise a photo as a generator: it yields (tiles done, tiles in all) and returns what a call does.

        It can be closed after any tile, which is how a page stops the work when nobody waits for it any more.
        """
        return photo.with_pixels((yield from self._steps(photo.pixels, level)))

    def denoise(
        self, pixels: np.ndarray, level: float | None = None, on_progress: Progress | None = None
    ) -> np.ndarray:
        """Denoise pixels of shape H×W×3, H×W×1 or H×W; shape and dtype stay.

        uint8 and uint16 span their range; float32 is on [0, 1] and may exceed it, as unclipped noise does, while the
        result never does. Grey pixels, of one channel or three that are equal, stay grey. on_progress is called with
        (tiles done, tiles in all) and may raise to stop. Raises ImageError for anything else.
        """
        return drain(self._steps(pixels, level), on_progress)

    def _steps(self, pixels: np.ndarray, level: float | None) -> Steps[np.ndarray]:
        """What denoise does, tile by tile."""
        tensor = _as_tensor(pixels)
        _check_level(level)
        if level is not None and not self.steerable:
            raise ImageError(f"{self.weights.source} is blind only and takes no noise level. Leave the level on auto.")
        if level == 0:
            return np.clip(pixels, 0, 1) if pixels.dtype == np.float32 else pixels.copy()
        sigma = None
        if level is not None:
            sigma = torch.full((1, 1, 1, 1), noise.sigma_from_level(level), device=self.device)
        scale = FULL_SCALE[pixels.dtype]
        channels = tensor.shape[1]
        if channels == 3 and torch.equal(tensor[:, :2], tensor[:, 1:]):  # a grey photo as a colour file
            tensor = tensor[:, :1]

        @torch.inference_mode()  # for each tile: a generator may be resumed in another thread
        def restore(tile: Tensor) -> Tensor:
            noisy = self._as_input(tile, scale)
            with self._precision(pixels.dtype):
                clean = self._model(noisy) if sigma is None else self._at_level(noisy, sigma)
            if tile.shape[1] == 1:
                clean = clean.mean(dim=1, keepdim=True)
            clean = clean.clamp(0, 1).mul(scale)
            return clean.to("cpu") if tile.is_floating_point() else clean.round().to("cpu", tile.dtype)

        restored = yield from tile_by_tile(restore, tensor)
        return restored[0].expand(channels, -1, -1).permute(1, 2, 0).contiguous().reshape(pixels.shape).numpy()

    def _at_level(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Denoise at a given level: a smooth control, pixel by pixel.

        Where less noise is asked for than is seen, all of it is found and its share removed: told too low a level, a
        network would see no noise. Where more is, the network is told so and removes more.
        """
        estimate = self._model.estimate_sigma(noisy)
        clean = self._model(noisy, torch.maximum(estimate, sigma))
        share = (ESTIMATE_MARGIN * sigma / estimate.clamp(min=1e-6)).clamp(max=1)
        return noisy + share * (clean - noisy)

    def estimate_level(self, pixels: np.ndarray) -> float:
        """Estimate the noise level of pixels as denoise takes them, on the 0-255 scale: the mean over the picture.

        For a network without an estimator (a classic one) it is the RMS of what the network would remove.
        """
        return drain(self.estimate_by_tile(pixels))

    def estimate_by_tile(self, pixels: np.ndarray) -> Steps[float]:
        """Estimate the noise level as a generator, as by_tile denoises: it returns what estimate_level does."""
        tensor = _as_tensor(pixels)
        scale = FULL_SCALE[pixels.dtype]

        @torch.inference_mode()
        def sigma_map(tile: Tensor) -> Tensor:
            noisy = self._as_input(tile, scale)
            with self._precision(pixels.dtype):
                if self.steerable:
                    return self._model.estimate_sigma(noisy).cpu()
                return (noisy - self._model(noisy)).square().mean(dim=1, keepdim=True).cpu()

        mean = float((yield from tile_by_tile(sigma_map, tensor)).mean(dtype=torch.float64))
        return min(noise.level_from_sigma(mean if self.steerable else math.sqrt(mean)), MAX_LEVEL)

    def _precision(self, dtype: np.dtype) -> torch.autocast:
        """How pixels of a type are computed: in bfloat16 where that is fast and the result is 8 bits deep anyway."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._fast and dtype == np.uint8)

    def _as_input(self, tile: Tensor, scale: float) -> Tensor:
        """A tile of raw values as the network takes it: float32 RGB on [0, 1], channels last, on the device."""
        floats = tile.to(self.device, torch.float32).div(scale).expand(-1, 3, -1, -1)
        return floats.contiguous(memory_format=torch.channels_last)


def add_noise(photo: Photo, level: float, seed: int = 0) -> Photo:
    """Add Gaussian noise of a level from 0 to 100 to a photo; clipped and rounded as a file needs it.

    The same seed gives the same noise. Raises ImageError for a level that is no such number.
    """
    if level is None:
        raise ImageError(f"A noise level is needed: a number from 0 to {MAX_LEVEL:g}.")
    _check_level(level)
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or not 0 <= seed < 2**64:
        raise ImageError(f"The seed is {seed!r}. Give a whole number from 0 to 2**64 - 1.")
    scale, sigma = FULL_SCALE[photo.pixels.dtype], noise.sigma_from_level(level)
    generator = torch.Generator().manual_seed(int(seed))
    planes = np.array(np.atleast_3d(photo.pixels).transpose(2, 0, 1), order="C")
    values = planes.reshape(-1)
    # Part by part, since floats take much room. The generator counts in sixteens: in such parts it draws the same.
    starts = range(0, max(1, values.size - PART_VALUES + 1), PART_VALUES)
    for start, stop in zip(starts, [*starts[1:], values.size], strict=True):
        part = torch.from_numpy(values[start:stop].astype(np.float32)) / scale
        values[start:stop] = (noise.gaussian(part, sigma, generator).clamp(0, 1) * scale).round().numpy()
    return photo.with_pixels(np.ascontiguousarray(planes.transpose(1, 2, 0)).reshape(photo.pixels.shape))


def compare(photo: Photo, reference: Photo) -> dict[str, float]:
    """PSNR in dB and SSIM of a photo against its clean reference of the same size: {"psnr": ..., "ssim": ...}.

    SSIM is left out for pictures smaller than its 11x11 window. Raises ImageError where the sizes differ.
    """
    if photo.pixels.shape != reference.pixels.shape:
        raise ImageError(f"Photos of shape {photo.pixels.shape} and {reference.pixels.shape} can't be compared.")
    error = similarity = 0.0
    overlap = metrics.SSIM_WINDOW - 1  # rows that a band shares with the next, so that each window is in one of them
    rows, windows = max(1, PART_VALUES // photo.pixels[0].size), photo.height - overlap
    for top in range(0, photo.height, rows):  # band by band, since floats take much room
        band = [_as_floats(item.pixels[top : top + rows + overlap]) for item in (photo, reference)]
        error += float((band[0] - band[1])[:, :, :rows].square().sum(dtype=torch.float64))
        if top < windows and photo.width > overlap:
            similarity += float(metrics.ssim(*band)) * min(rows, windows - top)
    scores = {"psnr": -10 * math.log10(error / photo.pixels.size) if error else math.inf}
    return scores | ({"ssim": similarity / windows} if windows > 0 and photo.width > overlap else {})


def blend(before: Photo, after: Photo, amount: float) -> Photo:
    """A mixture of a photo and its denoised version: amount 0 is `before`, 1 is `after`, over 1 isn't accepted.

    Raises ImageError where the pixels aren't of the same kind or the amount is out of range.
    """
    _check_alike(before, after)
    if not isinstance(amount, numbers.Real) or not 0 <= amount <= 1:
        raise ImageError(f"The amount is {amount!r}. Give a number from 0 (the original) to 1 (denoised).")
    if amount in (0, 1):
        return after if amount else before
    mixed = np.empty_like(after.pixels)
    for row, (old, new) in enumerate(zip(before.pixels, after.pixels, strict=True)):  # by rows: floats take much room
        mixed[row] = np.rint(old + np.float32(amount) * (new.astype(np.float32) - old))
    return after.with_pixels(mixed)


def residual(before: Photo, after: Photo, gain: float = RESIDUAL_GAIN) -> Photo:
    """What was taken away, on mid-grey and `gain` times as strong: where it shows outlines, detail was lost.

    8 bits a channel. Raises ImageError where the pixels aren't of the same kind.
    """
    _check_alike(before, after)
    scale, shown = 255 / FULL_SCALE[before.pixels.dtype], np.empty(before.pixels.shape, np.uint8)
    for row, (old, new) in enumerate(zip(before.pixels, after.pixels, strict=True)):
        shown[row] = np.clip(np.rint(128 + gain * scale * (old.astype(np.float32) - new)), 0, 255)
    return Photo(shown)


def _check_alike(photo: Photo, other: Photo) -> None:
    if photo.pixels.shape != other.pixels.shape or photo.pixels.dtype != other.pixels.dtype:
        kinds = " and ".join(f"{item.pixels.dtype} {item.pixels.shape}" for item in (photo, other))
        raise ImageError(f"The two photos differ in size or depth: {kinds}.")


def pick_device(name: str) -> torch.device:
    """A PyTorch device by name; "auto" is a GPU where there is one. Raises DenoiserError if it isn't there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        raise DenoiserError(f"There is no device {name!r} here. Use auto, cpu, or a GPU such as cuda.") from error
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether it is a CPU with instructions for bfloat16: AMX (Intel Xeon since 2023) or AVX512_BF16 (AMD: Zen 4)."""
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def _check_level(level: Any) -> None:
    if level is None:
        return
    number = isinstance(level, numbers.Real) and not isinstance(level, bool)
    if not number or not 0 <= level <= MAX_LEVEL:
        raise ImageError(f"The noise level is {level!r}. Give a number from 0 to {MAX_LEVEL:g}, or none for auto.")


def _as_tensor(pixels: Any) -> Tensor:
    """Checked pixels as (1, C, H, W), raw values, C = 1 or 3; a view of their own memory where that can be."""
    if not isinstance(pixels, np.ndarray):
        raise ImageError(f"Pixels are a {type(pixels).__name__}; a NumPy array is needed.")
    if pixels.dtype not in FULL_SCALE:
        raise ImageError(f"Pixels are {pixels.dtype}; uint8, uint16 or float32 (on [0, 1]) is needed.")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or pixels.size == 0:
        raise ImageError(f"Pixels have shape {pixels.shape}; H×W, H×W×1 or H×W×3 is needed, with no side of 0.")
    if pixels.dtype == np.float32 and not (np.abs(pixels).max() <= MAX_FLOAT):  # NaN fails the comparison too
        raise ImageError("Float pixels must be finite and on [0, 1], which noise may exceed. Divide by 255 first.")
    planes = pixels if pixels.ndim == 3 else pixels[:, :, None]
    planes = np.require(planes, requirements="CW")  # PyTorch takes neither negative strides nor read-only memory
    return torch.from_numpy(planes).permute(2, 0, 1)[None]


def _as_floats(pixels: np.ndarray) -> Tensor:
    return _as_tensor(pixels).float() / FULL_SCALE[pixels.dtype]
