"""Simulate the stages of a camera, from the light of a scene to the stored picture, on batches of tensors.

A developed picture is taken back to what the sensor saw (`unprocess`), where noise is independent from site to site,
and developed again (`develop`), which colours the noise as it does in real photos: after Brooks et al. 2019,
"Unprocessing Images for Learned Raw Denoising". `photograph` puts it together.

Pixels are float32 of shape (N, 3, H, W), RGB unless said otherwise, with values in [0, 1]. Everything that differs
between cameras or shots is in a Camera, drawn once per picture, except the noise itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from denoiser import noise

from .colour import RGB_TO_YCC, YCC_TO_RGB, constant, mix
from .jpeg import jpeg
from .noise_level import local_mean

# Linear sRGB to XYZ (D65), from IEC 61966-2-1.
SRGB_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
# XYZ (D65) to the sensor's own red, green and blue, in 1/10000, as Adobe's DNG converter and dcraw publish them.
XYZ_TO_SENSOR = (
    ((6722, -635, -963), (-4287, 12460, 2028), (-908, 2162, 5668)),  # Canon EOS 5D Mark III
    ((7866, -2108, -555), (-4869, 12483, 2681), (-1176, 2069, 7501)),  # Nikon D800
    ((8380, -2630, -639), (-2887, 10725, 2496), (-627, 1427, 5438)),  # Olympus E-P5
    ((4913, -541, -202), (-6130, 13513, 2906), (-1564, 2151, 7183)),  # Sony A7R
)
BLACK = -1 / 16  # most sensors put black above zero by about this share of their range, so noise can go below it
STRAIGHT_SHARE = 0.4  # of the cameras neither smooth nor reduce noise, like phones in the dark
DARK_SHARE = 0.5  # of those get too little light for the scene to look as bright as in the photo
DARKEST = 0.1  # share of the light that reaches the sensor, at least
HIGHLIGHT = 0.9  # above this, inverse gains fade out, so that white stays white

# Filters over a 5×5 neighbourhood that interpolate a colour not measured at a site.
# Bilinear: the mean of the nearest sites that have the colour, at the sides, left and right, or at the corners.
CROSS = ((0, 0, 0, 0, 0), (0, 0, 2, 0, 0), (0, 2, 0, 2, 0), (0, 0, 2, 0, 0), (0, 0, 0, 0, 0))
BESIDE = ((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 4, 0, 4, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0))
CORNERS = ((0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0), (0, 2, 0, 2, 0), (0, 0, 0, 0, 0))
# Corrections by the gradient of the site's own colour: Malvar, He, Cutler 2004, "High-quality linear interpolation for
# demosaicing of Bayer-patterned color images".
CROSS_GRADIENT = ((0, 0, -1, 0, 0), (0, 0, 0, 0, 0), (-1, 0, 4, 0, -1), (0, 0, 0, 0, 0), (0, 0, -1, 0, 0))
BESIDE_GRADIENT = ((0, 0, 0.5, 0, 0), (0, -1, 0, -1, 0), (-1, 0, 5, 0, -1), (0, -1, 0, -1, 0), (0, 0, 0.5, 0, 0))
CORNERS_GRADIENT = ((0, 0, -1.5, 0, 0), (0, 0, 0, 0, 0), (-1.5, 0, 6, 0, -1.5), (0, 0, 0, 0, 0), (0, 0, -1.5, 0, 0))


@dataclass(frozen=True)
class Camera:
    """One camera and shot for each picture of a batch: tensors of shape (N, 1, 1, 1) unless noted."""

    straight: Tensor  # bool: neither smooths nor reduces noise, like phones in the dark
    optics: Tensor  # sigma of the lens's blur in pixels, 0: none
    exposure: Tensor  # share of the light that reaches the sensor, 1: the scene looks as bright as in the photo
    tone: Tensor  # strength of the tone curve, in (0, 1]
    to_sensor: Tensor  # (N, 3, 3): linear sRGB to the sensor's colours, rows sum to 1
    gains: Tensor  # (N, 3, 1, 1): exposure and white balance, the factor that takes the sensor's values to white
    shot: Tensor  # sensor noise has the variance shot * light + read**2
    read: Tensor
    row: Tensor  # sigma of an error that a row of sites shares
    black: Tensor  # the lowest value that is read: 0 where a phone cuts off what lies below black
    mosaic: Tensor  # bool: one colour per site; where false, all three were measured
    gradients: Tensor  # bool: demosaicing by Malvar et al.; where false, bilinear
    luma_blur: Tensor  # sigma of the smoothing in pixels, 0: none
    chroma_blur: Tensor
    sharpening: Tensor  # unsharp mask: amount, 0: none
    sharpening_blur: Tensor  # and sigma in pixels
    luma_reduction: Tensor  # share of the noise's finest grain that noise reduction takes away, 0: none
    luma_reach: Tensor  # and sigma in pixels of the grain that it leaves
    chroma_reduction: Tensor
    chroma_reach: Tensor
    compressed: Tensor  # bool: stored as JPEG; where false, losslessly
    quality: Tensor  # of the JPEG, as libjpeg counts: whole numbers, 1 to 100
    halved_chroma: Tensor  # bool: 4:2:0; where false, 4:4:4


def draw_camera(count: int, generator: torch.Generator) -> Camera:
    """Draw `count` cameras on the device of the generator.

    Colours, gains and the noise law follow Brooks et al. 2019, with a wider range of noise; the rest are wide guesses.
    Some are phones in the dark: stronger noise, without smoothing, and for half of them too little light.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        shape = (count, *(shape or (1, 1, 1)))
        return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)

    def normal(mean: float, deviation: float) -> Tensor:
        return mean + deviation * torch.randn((count, 1, 1, 1), generator=generator, device=generator.device)

    def share(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    mixture = uniform(1e-3, 1, len(XYZ_TO_SENSOR), 1, 1)
    sensor = (mixture * constant(XYZ_TO_SENSOR, mixture)).sum(1) @ constant(SRGB_TO_XYZ, mixture)
    balance = torch.cat([uniform(1.9, 2.4), uniform(1.0, 1.0), uniform(1.5, 1.9)], 1)
    straight = share(STRAIGHT_SHARE)
    # Brooks et al. use shot noise from 1e-4 to 1.2e-2; this is 4.5e-5 to 6.7e-2.
    shot_log = torch.where(straight, uniform(-7, -2.7), uniform(-10, -3.5))
    read = ((2.18 * shot_log + normal(1.20, 0.26)) / 2).exp()
    luma_blur = ~straight * share(0.75) * uniform(0.3, 1.2)  # current phones and cameras smooth a lot
    luma_reduction = ~straight * share(0.6) * uniform(0, 1)
    return Camera(
        straight=straight,
        optics=share(0.6) * uniform(0.3, 2.0),  # few photos of many megapixels are sharp
        tone=uniform(0.05, 1),
        to_sensor=sensor / sensor.sum(-1, keepdim=True),
        gains=balance / normal(0.8, 0.1).clamp(0.4, 1),  # below 1, a full site wouldn't be white
        shot=shot_log.exp(),
        read=read,
        row=share(0.1) * uniform(0, 1) * read,
        black=~share(0.5) * torch.full_like(read, BLACK),
        mosaic=share(0.7),
        gradients=share(0.5),
        luma_blur=luma_blur,
        chroma_blur=torch.maximum(luma_blur, ~straight * share(0.8) * uniform(0.5, 3.0)),
        sharpening=share(0.5) * uniform(0, 1),
        sharpening_blur=uniform(0.7, 1.2),
        luma_reduction=luma_reduction,
        luma_reach=uniform(0.5, 3.0),
        chroma_reduction=torch.maximum(luma_reduction, ~straight * share(0.6) * uniform(0, 1)),
        chroma_reach=uniform(0.5, 6.0),
        compressed=share(0.78),
        quality=(100 - 40 * uniform(0, 1) ** 3).round(),
        halved_chroma=share(0.5),
        exposure=torch.where(straight & share(DARK_SHARE), DARKEST ** uniform(0, 1), 1),
    )


@torch.no_grad()
def photograph(pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Photograph sRGB pictures, (N, 3, H, W) with even H and W, with a random camera each: (noisy, clean), float32.

    Both went through the same lens, sensor colours, demosaicing, smoothing and sharpening. Only `noisy` has the
    sensor's noise, reduced as cameras do it, is rounded to multiples of 1/255 and, in most pictures, has the traces of
    JPEG. A network that learns to take one to the other leaves sharpness as it is. Strong noise darkens a developed
    picture because tone curves bend. Where a camera stores its noise as it is, `clean` is as bright as the scene, as a
    mean of many raw shots would be; elsewhere it is darkened equally, so that colours stay as they are. The generator
    must be on the device of the pixels. Mixed precision does not apply here.
    """
    with torch.autocast(pixels.device.type, enabled=False):
        shots = draw_camera(pixels.shape[0], generator)
        light = shots.exposure * blur(unprocess(pixels.float(), shots), shots.optics)
        error = noise.poisson_gaussian(light, shots.shot, shots.read, generator) - light
        rows = torch.zeros_like(light[:, :1, :, :1])
        error = error + noise.gaussian(rows, shots.row, generator)
        clean, noisy, mirrored = (
            develop(torch.maximum(light + sign * error, shots.black).clamp(max=1), shots) for sign in (0, 1, -1)
        )
        # The noise itself cancels in the mean of noisy and mirrored; what is left is the drift of the colours.
        drift = local_mean((noisy + mirrored) / 2 - clean)
        clean = torch.where(shots.straight, clean, (clean + drift).clamp(0, 1))
        noisy = (clean + reduce_noise(noisy - clean, shots)).clamp(0, 1)
        stored = torch.where(shots.compressed, jpeg(noisy, shots.quality, shots.halved_chroma), noisy)
        return noise.quantize(stored), clean


def unprocess(pixels: Tensor, camera: Camera) -> Tensor:
    """Convert sRGB pictures to the light on the sensor: linear, in the sensor's colours, 1 where a site is full."""
    linear = srgb_to_linear(inverse_tone_curve(pixels, camera.tone))
    return inverse_gains(mix(linear, camera.to_sensor), camera.gains).clamp(0, 1)


def develop(sensor: Tensor, camera: Camera) -> Tensor:
    """Develop sensor readings, (N, 3, H, W) with even H and W and values down to BLACK, into sRGB pictures.

    If the camera has a mosaic, only one colour of each pixel is used.
    """
    balanced = (sensor * camera.gains).clamp(max=1)
    full = torch.where(camera.mosaic, demosaic(mosaic(balanced), camera.gradients), balanced)
    linear = mix(full, torch.linalg.inv(camera.to_sensor)).clamp(0, 1)
    return retouch(tone_curve(linear_to_srgb(linear), camera.tone), camera)


def retouch(pixels: Tensor, camera: Camera) -> Tensor:
    """Smooth luma, and chroma at least as much, then sharpen luma, as cameras do."""
    luma, chroma = mix(pixels, constant(RGB_TO_YCC, pixels)).split([1, 2], dim=1)
    luma, chroma = blur(luma, camera.luma_blur), blur(chroma, camera.chroma_blur)
    luma = luma + camera.sharpening * (luma - blur(luma, camera.sharpening_blur))
    return mix(torch.cat([luma, chroma], dim=1), constant(YCC_TO_RGB, pixels)).clamp(0, 1)


def reduce_noise(error: Tensor, camera: Camera) -> Tensor:
    """Reduce `error`, the difference of noisy and clean, to its coarse grain, as a camera's noise reduction does.

    Edge-preserving filters (bilateral: Tomasi & Manduchi 1998) average along the structures they detect. An ideal one
    acts only on the noise, which gives sharp pictures with blotches.
    """
    luma, chroma = mix(error, constant(RGB_TO_YCC, error)).split([1, 2], dim=1)
    luma = torch.lerp(luma, blur(luma, camera.luma_reach), camera.luma_reduction)
    chroma = torch.lerp(chroma, blur(chroma, camera.chroma_reach), camera.chroma_reduction)
    return mix(torch.cat([luma, chroma], dim=1), constant(YCC_TO_RGB, error))


def tone_curve(pixels: Tensor, strength: Tensor) -> Tensor:
    """Raise contrast by smoothstep, 3x² - 2x³, blended with the identity: strength 1 is all smoothstep."""
    return torch.lerp(pixels, pixels.square() * (3 - 2 * pixels), strength)


def inverse_tone_curve(pixels: Tensor, strength: Tensor) -> Tensor:
    """Invert tone_curve for a strength in (0, 1]: the middle root of a cubic, by the sine of a third angle."""
    reach = ((2 + strength) / (3 * strength)).sqrt()  # around 1/2 the curve is a cubic in reach * sin
    return 0.5 + reach * torch.sin(torch.asin(((2 * pixels - 1) / (strength * reach**3)).clamp(-1, 1)) / 3)


def srgb_to_linear(pixels: Tensor) -> Tensor:
    """Invert linear_to_srgb."""
    return torch.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(pixels: Tensor) -> Tensor:
    """Apply the transfer curve of sRGB (IEC 61966-2-1) to values of at least 0."""
    return torch.where(pixels <= 0.0031308, 12.92 * pixels, 1.055 * pixels ** (1 / 2.4) - 0.055)


def inverse_gains(pixels: Tensor, gains: Tensor) -> Tensor:
    """Divide by the gains, (N, 3, 1, 1), but leave highlights bright: a clipped highlight has no colour to take back.

    From Brooks et al. 2019, for gains of at least 1: no colour gets darker than by its gain, and white stays white.
    """
    highlight = ((pixels.mean(dim=1, keepdim=True) - HIGHLIGHT).clamp(min=0) / (1 - HIGHLIGHT)).square()
    return pixels * torch.lerp(1 / gains, torch.ones_like(gains), highlight)


def mosaic(pixels: Tensor) -> Tensor:
    """Sample pixels as a sensor with an RGGB Bayer pattern does: (N, 3, H, W) to (N, 1, H, W)."""
    sites = pixels[:, 1:2].clone()
    sites[..., 0::2, 0::2] = pixels[:, 0:1, 0::2, 0::2]
    sites[..., 1::2, 1::2] = pixels[:, 2:3, 1::2, 1::2]
    return sites


def demosaic(sites: Tensor, gradients: Tensor) -> Tensor:
    """Interpolate all three colours at every site of an RGGB mosaic: (N, 1, H, W), H and W even, to (N, 3, H, W).

    The method is that of Malvar et al. where `gradients`, bool (N, 1, 1, 1), is true, and bilinear elsewhere.
    """
    padded = functional.pad(sites, (2, 2, 2, 2), mode="reflect")  # keeps the colours of the pattern in their places
    kernels = torch.cat([cell_kernels(gradient_share, sites) for gradient_share in (0, 1)])
    bilinear, corrected = functional.conv2d(padded, kernels, stride=2).chunk(2, dim=1)  # one position a cell
    return functional.pixel_shuffle(torch.where(gradients, corrected, bilinear), 2)


def cell_kernels(gradient_share: float, like: Tensor) -> Tensor:
    """Return the filters of demosaic for the three colours at the four sites of a cell, R G / G B: (12, 1, 6, 6).

    The 5×5 neighbourhoods of the sites are offset by one pixel; together they span 6×6.
    """
    base = constant([CROSS, BESIDE, CORNERS], like)
    cross, beside, corners = base + gradient_share * constant([CROSS_GRADIENT, BESIDE_GRADIENT, CORNERS_GRADIENT], like)
    own = functional.pad(torch.full_like(cross[:1, :1], 8), (2, 2, 2, 2))
    red, green = (own, beside, beside.mT, corners), (cross, own, own, cross)
    blue = (corners, beside.mT, beside, own)
    places = ((0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 1, 0), (1, 0, 1, 0))  # 5×5 in 6×6: free left, right, above, below
    neighbourhoods = zip((*red, *green, *blue), places * 3, strict=True)
    return torch.stack([functional.pad(kernel, place) for kernel, place in neighbourhoods])[:, None] / 8


def blur(pixels: Tensor, sigma: Tensor) -> Tensor:
    """Smooth each picture by a Gaussian of its own sigma in pixels, (N, 1, 1, 1), over the pixels inside at borders."""

    def weights(size: int) -> Tensor:
        place = torch.arange(size, dtype=pixels.dtype, device=pixels.device)
        distance = (place - place[:, None]) / sigma.clamp(min=0.01)
        falloff = torch.exp((-0.5 * distance.square()).clamp(min=-40))  # denormal numbers would cost 30 ms a batch
        return falloff / falloff.sum(dim=-1, keepdim=True)

    height, width = pixels.shape[-2:]
    return weights(height) @ pixels @ weights(width).mT
