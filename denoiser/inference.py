"""The denoiser: takes and returns NumPy arrays or Photos."""

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
from .model import DenoisingAutoencoder
from .tiling import Progress, Steps, drain, tile_by_tile
from .weights import DEFAULT, Weights, load_weights

MAX_LEVEL = 100.0  # above it there is nothing left to restore
ESTIMATE_MARGIN = 1.15  # a given level below the estimate by up to this factor removes all noise
PART_VALUES = 1 << 21  # values converted to float at a time; a multiple of 16
RESIDUAL_GAIN = 4.0  # amplification of the removed part for display
MAX_FLOAT = 10.0  # larger values mean another scale, since noise on [0, 1] never reaches this
FULL_SCALE = {np.dtype(np.uint8): 255.0, np.dtype(np.uint16): 65535.0, np.dtype(np.float32): 1.0}


def load(source: str | Path = DEFAULT, revision: str | None = None, device: str = "auto") -> Denoiser:
    """Load a denoiser.

    source is the name of a bundled model, a model folder, or a Hub repository "user/name"; "classic" is the bundled
    model in any directory, ./classic a folder. revision is a branch, tag or commit of the repository. device is a
    PyTorch device name; "auto" uses a GPU if there is one. Raises WeightsError if the weights can't be loaded, and
    DenoiserError if the device doesn't exist.
    """
    return Denoiser(load_weights(source, revision), device)


class Denoiser:
    """A network on a device, applied to images of any size in bounded memory.

    In all methods, level is the standard deviation of the noise on the 0-255 scale, from 0 (returns the input) to 100.
    None, the default, estimates it from the image at every pixel.
    """

    def __init__(self, weights: Weights, device: str = "auto") -> None:
        self.weights = weights
        self.device = pick_device(device)
        model = weights.model.eval()
        # PyTorch's annotations don't have memory_format.
        self._model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        # bfloat16 for 8-bit pixels. Results differ from float32's by at most 1/255, except for up to 5 values in a
        # million at noise level 50, and 42 at level 75, which differ by 2/255.
        self._fast = self.steerable and has_fast_bfloat16(self.device)

    @property
    def steerable(self) -> bool:
        """Whether a level can be given; a classic network is only blind."""
        return self._model.steerable

    def __call__(self, photo: Photo, level: float | None = None, on_progress: Progress | None = None) -> Photo:
        """Denoise a photo, keeping alpha, metadata and bit depth. See denoise for the arguments and errors."""
        return photo.with_pixels(self.denoise(photo.pixels, level, on_progress))

    def by_tile(self, photo: Photo, level: float | None = None) -> Steps[Photo]:
        """Denoise a photo as a generator that yields (tiles done, tiles in all) and returns the result.

        It can be closed after any tile, for example when the visitor of a page has left.
        """
        return photo.with_pixels((yield from self._steps(photo.pixels, level)))

    def denoise(
        self, pixels: np.ndarray, level: float | None = None, on_progress: Progress | None = None
    ) -> np.ndarray:
        """Denoise pixels of shape H×W×3, H×W×1 or H×W; the result has the same shape and dtype.

        uint8 and uint16 use their full range. float32 is on [0, 1]; the input may exceed it, as unclipped noise does,
        but the result does not. Grey pixels, with one channel or three equal ones, stay grey. on_progress is called
        with (tiles done, tiles in all) and may raise to stop. Raises ImageError for other pixels or levels.
        """
        return drain(self._steps(pixels, level), on_progress)

    def _steps(self, pixels: np.ndarray, level: float | None) -> Steps[np.ndarray]:
        """Do the work of denoise, tile by tile."""
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
        if channels == 3 and torch.equal(tensor[:, :2], tensor[:, 1:]):  # a grey photo in a colour file
            tensor = tensor[:, :1]

        @torch.inference_mode()  # per tile, since a generator may be resumed in another thread
        def restore(tile: Tensor) -> Tensor:
            noisy = self._as_input(tile, scale)
            with self._precision(pixels.dtype):
                clean = self._model(noisy) if sigma is None else denoise_at_level(self._model, noisy, sigma)
            if tile.shape[1] == 1:
                clean = clean.mean(dim=1, keepdim=True)
            clean = clean.clamp(0, 1).mul_(scale)
            return clean.to("cpu") if tile.is_floating_point() else clean.round_().to("cpu", tile.dtype)

        restored = yield from tile_by_tile(restore, tensor)
        return restored[0].expand(channels, -1, -1).permute(1, 2, 0).contiguous().reshape(pixels.shape).numpy()

    def estimate_level(self, pixels: np.ndarray) -> float:
        """Estimate the noise level of pixels, as for denoise: the mean over the image, from 0 to 100.

        For a classic network, which has no estimator, it is the RMS of what the network would remove.
        """
        return drain(self.estimate_by_tile(pixels))

    def estimate_by_tile(self, pixels: np.ndarray) -> Steps[float]:
        """Estimate the noise level as a generator, like by_tile; it returns the result of estimate_level."""
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
        """Return the autocast context for pixels of a dtype: bfloat16 for 8-bit pixels if that is fast here."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._fast and dtype == np.uint8)

    def _as_input(self, tile: Tensor, scale: float) -> Tensor:
        """Convert a tile of raw values to the network's input: float32 RGB on [0, 1], channels last, on the device."""
        floats = tile.to(self.device, torch.float32, copy=True).div_(scale).expand(-1, 3, -1, -1)
        return floats.contiguous(memory_format=torch.channels_last)


def denoise_at_level(model: DenoisingAutoencoder, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Denoise (N, 3, H, W) at a given sigma, broadcastable to (N, 1, H, W), compared with the estimate at each pixel.

    Below the estimate, all noise is predicted and the requested share of it removed, because a network that is told
    too low a level finds no noise at all. Above the estimate, the network is told the higher level.
    """
    estimate = model.estimate_sigma(noisy)
    clean = model(noisy, torch.maximum(estimate, sigma))
    share = (ESTIMATE_MARGIN * sigma / estimate.clamp(min=1e-6)).clamp(max=1)
    return noisy + share * (clean - noisy)


def add_noise(photo: Photo, level: float, seed: int = 0) -> Photo:
    """Add Gaussian noise of a level from 0 to 100 to a photo, clipped and rounded to its bit depth.

    seed is a whole number from 0 to 2**64 - 1; the same seed gives the same noise. Raises ImageError for other levels
    or seeds.
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
    # In parts, to save memory. The generator draws 16 values at a time, so such parts give the same noise as the whole.
    starts = range(0, max(1, values.size - PART_VALUES + 1), PART_VALUES)
    for start, stop in zip(starts, [*starts[1:], values.size], strict=True):
        part = torch.from_numpy(values[start:stop].astype(np.float32)) / scale
        values[start:stop] = (noise.gaussian(part, sigma, generator).clamp(0, 1) * scale).round().numpy()
    return photo.with_pixels(np.ascontiguousarray(planes.transpose(1, 2, 0)).reshape(photo.pixels.shape))


def compare(photo: Photo, reference: Photo) -> dict[str, float]:
    """Compare a photo with its clean reference: {"psnr": in dB, "ssim": at most 1}.

    SSIM is left out for images smaller than its 11x11 window. Raises ImageError if the sizes or channels differ.
    """
    if photo.pixels.shape != reference.pixels.shape:
        raise ImageError(f"Photos of shape {photo.pixels.shape} and {reference.pixels.shape} can't be compared.")
    error = similarity = 0.0
    overlap = metrics.SSIM_WINDOW - 1  # rows shared by two bands, so that each window is inside one
    rows, windows = max(1, PART_VALUES // photo.pixels[0].size), photo.height - overlap
    for top in range(0, photo.height, rows):  # in bands, to save memory
        band = [_as_floats(item.pixels[top : top + rows + overlap]) for item in (photo, reference)]
        error += float((band[0] - band[1])[:, :, :rows].square().sum(dtype=torch.float64))
        if top < windows and photo.width > overlap:
            similarity += float(metrics.ssim(*band)) * min(rows, windows - top)
    scores = {"psnr": -10 * math.log10(error / photo.pixels.size) if error else math.inf}
    return scores | ({"ssim": similarity / windows} if windows > 0 and photo.width > overlap else {})


def blend(before: Photo, after: Photo, amount: float) -> Photo:
    """Mix a photo with its denoised version: amount 0 gives `before`, 1 gives `after`.

    Raises ImageError if the pixels differ in shape or dtype, or the amount is not from 0 to 1.
    """
    _check_alike(before, after)
    if not isinstance(amount, numbers.Real) or not 0 <= amount <= 1:
        raise ImageError(f"The amount is {amount!r}. Give a number from 0 (the original) to 1 (denoised).")
    if amount in (0, 1):
        return after if amount else before
    mixed = np.empty_like(after.pixels)
    for row, (old, new) in enumerate(zip(before.pixels, after.pixels, strict=True)):  # in rows, to save memory
        mixed[row] = np.rint(old + np.float32(amount) * (new.astype(np.float32) - old))
    return after.with_pixels(mixed)


def residual(before: Photo, after: Photo, gain: float = RESIDUAL_GAIN) -> Photo:
    """Show what was removed, amplified by `gain` on mid-grey, as an 8-bit photo. Visible outlines are lost detail.

    Raises ImageError if the pixels differ in shape or dtype.
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
    """Return a PyTorch device by name; "auto" is a GPU if there is one. Raises DenoiserError if it doesn't exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError, TypeError) as error:
        raise DenoiserError(f"There is no device {name!r} here. Use auto, cpu, or a GPU such as cuda.") from error
    return device


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device is a CPU with bfloat16 instructions: AMX (Intel Xeon 2023) or AVX512_BF16 (AMD Zen 4)."""
    capabilities = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name, False) for name in ("amx_bf16", "avx512_bf16"))


def _check_level(level: Any) -> None:
    if level is None:
        return
    number = isinstance(level, numbers.Real) and not isinstance(level, bool)
    if not number or not 0 <= level <= MAX_LEVEL:
        raise ImageError(f"The noise level is {level!r}. Give a number from 0 to {MAX_LEVEL:g}, or None for auto.")


def _as_tensor(pixels: Any) -> Tensor:
    """Check pixels and return their raw values as (1, C, H, W), C = 1 or 3, without a copy if possible."""
    if not isinstance(pixels, np.ndarray):
        raise ImageError(f"Pixels are a {type(pixels).__name__}; a NumPy array is needed.")
    if pixels.dtype not in FULL_SCALE:
        raise ImageError(f"Pixels are {pixels.dtype}; uint8, uint16 or float32 (on [0, 1]) is needed.")
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)) or pixels.size == 0:
        raise ImageError(f"Pixels have shape {pixels.shape}; H×W, H×W×1 or H×W×3 is needed, with no side of 0.")
    if pixels.dtype == np.float32 and not (np.abs(pixels).max() <= MAX_FLOAT):  # NaN fails the comparison too
        raise ImageError("Float pixels must be finite and on [0, 1], or a little beyond. Divide by 255 first.")
    planes = pixels if pixels.ndim == 3 else pixels[:, :, None]
    planes = np.require(planes, requirements=["C", "W"])  # PyTorch takes no negative strides or read-only memory
    return torch.from_numpy(planes).permute(2, 0, 1)[None]


def _as_floats(pixels: np.ndarray) -> Tensor:
    return _as_tensor(pixels).float() / FULL_SCALE[pixels.dtype]
