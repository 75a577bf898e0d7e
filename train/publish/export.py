"""Export a network to ONNX, for programs that don't use PyTorch."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from denoiser.inference import denoise_at_level
from denoiser.model import DenoisingAutoencoder
from denoiser.noise import gaussian, sigma_from_level
from denoiser.version import __version__
from denoiser.weights import Weights

from ..config import ConfigError
from ..data.dead_leaves import dead_leaves
from .card import terms_text

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
INPUT, LEVEL, OUTPUT = "input", "level", "output"  # the names of the graph's inputs and its output
CHECKED_SIZES = ((1, 1), (61, 47), (96, 80))  # height and width: padded with the edge, by reflection, not at all
CHECKED_LEVEL = 25.0  # of the noise, and the level that a steerable graph is told
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1 / 255}  # the largest difference from PyTorch in float32


class AnySize(nn.Module):
    """A network whose padding to multiples is part of the exported graph, whatever the height and width.

    It pads as `pad_to_multiple` does, but by index: the choice between reflection and edge is data to the graph.
    """

    def __init__(self, model: DenoisingAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, noisy: Tensor, sigma: Tensor | None = None) -> Tensor:
        height, width = noisy.shape[-2:]
        clean = self.model(self._pad(noisy), None if sigma is None else self._pad(sigma))
        return clean[..., :height, :width]

    def estimate_sigma(self, noisy: Tensor) -> Tensor:
        height, width = noisy.shape[-2:]
        return self.model.estimate_sigma(self._pad(noisy))[..., :height, :width]

    def _pad(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        multiple = self.model.multiple
        rows, columns = (torch.arange((side + multiple - 1) // multiple * multiple) for side in (height, width))
        mirrored_rows = height - 1 - (rows - (height - 1)).abs()
        mirrored_columns = width - 1 - (columns - (width - 1)).abs()
        fits = (mirrored_rows[-1] >= 0) & (mirrored_columns[-1] >= 0)
        rows = torch.where(fits, mirrored_rows, rows.clamp(max=height - 1))
        columns = torch.where(fits, mirrored_columns, columns.clamp(max=width - 1))
        return pixels.index_select(-2, rows).index_select(-1, columns)


class Graph(nn.Module):
    """What is exported: (N, 3, H, W) -> (N, 3, H, W), sRGB on [0, 1], and a level from 0 to 100 for each picture."""

    def __init__(self, model: DenoisingAutoencoder | AnySize) -> None:
        super().__init__()
        self.model: Any = model  # both have the same methods

    def forward(self, noisy: Tensor, level: Tensor | None = None) -> Tensor:
        if level is None:
            return self.model(noisy).clamp(0, 1)
        return denoise_at_level(self.model, noisy, sigma_from_level(level).reshape(-1, 1, 1, 1)).clamp(0, 1)


def export(weights: Weights, name: str, half: bool = False, steerable: bool = False) -> bytes:
    """Return a network as an ONNX file, after comparing it with PyTorch at three sizes in ONNX Runtime.

    half stores and computes it in float16, steerable gives it a second input, the level. name goes into the metadata.
    Raises ConfigError if a library is missing, a blind network is to be steerable, or the results differ.
    """
    onnx, onnxruntime = _libraries()
    if steerable and not weights.model.steerable:
        raise ConfigError(f"{weights.source} is blind only and takes no noise level; leave out --steerable")
    dtype = torch.float16 if half else torch.float32
    proto = _translate(weights.model, dtype, steerable)
    _tidy(proto)
    onnx.helper.set_model_props(proto, metadata(weights, name))
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    _check(session, weights.model, dtype, steerable)
    return data


def metadata(weights: Weights, name: str) -> dict[str, str]:
    """Return what an exported file says about itself.

    The version is that of the project that trained the weights or, where they don't say, of the one that exports them.
    """
    return {
        "name": f"photo-denoiser {name}",
        "version": weights.version or __version__,
        "license": weights.license or "not recorded",
        "training_data": terms_text(weights.training),
    }


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - what torch.onnx translates with
    except ImportError as error:
        raise ConfigError(f"the export needs {error.name}, which isn't installed: pip install '.[export]'") from error
    return onnx, onnxruntime


def _translate(model: DenoisingAutoencoder, dtype: torch.dtype, steerable: bool) -> ModelProto:
    plain = copy.deepcopy(model).eval().to(dtype)
    examples = (torch.zeros(2, 3, 61, 47, dtype=dtype), torch.zeros(2, dtype=dtype))
    free = torch.export.Dim.DYNAMIC
    inputs = 2 if steerable else 1
    with _quiet():
        program = torch.onnx.export(
            Graph(AnySize(plain)).eval(),
            examples[:inputs],
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT, LEVEL][:inputs],
            output_names=[OUTPUT],
            dynamic_shapes=({0: free, 2: free, 3: free}, {0: free})[:inputs],
            verbose=False,
        )
    assert program is not None, "PyTorch returns none only if it writes a file"
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what PyTorch's exporter logs and warns about itself, such as torchvision not being there."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)


def _tidy(proto: ModelProto) -> None:
    """Name the free dimensions, and drop what PyTorch notes for debugging, such as paths on this machine."""
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        for dimension, name in zip(value.type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=False):
            if name:
                dimension.dim_param = name
    del graph.value_info[:]
    for noted in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        noted.doc_string = ""
        del noted.metadata_props[:]


def _check(session: Any, model: DenoisingAutoencoder, dtype: torch.dtype, steerable: bool) -> None:
    """Raise ConfigError if ONNX Runtime's results differ from those of PyTorch in float32 by more than allowed."""
    picture = (
        torch.from_numpy(dead_leaves(max(max(size) for size in CHECKED_SIZES), seed=0)).permute(2, 0, 1)[None] / 255
    )
    noisy = gaussian(picture, sigma_from_level(CHECKED_LEVEL), torch.Generator().manual_seed(0)).clamp(0, 1).to(dtype)
    level = torch.tensor([CHECKED_LEVEL], dtype=dtype)
    for height, width in CHECKED_SIZES:
        inputs = [noisy[..., :height, :width], *([level] if steerable else [])]
        given = dict(zip((INPUT, LEVEL), (value.numpy() for value in inputs), strict=False))
        [found] = session.run([OUTPUT], given)
        with torch.inference_mode():
            expected = Graph(model)(*(value.float() for value in inputs))
        difference = (torch.from_numpy(found).float() - expected).abs().max().item()
        if not difference <= TOLERANCE[dtype]:  # NaN fails too
            raise ConfigError(
                f"the exported network differs from PyTorch's by {difference:.1g} at {height}x{width}, more than the "
                f"{TOLERANCE[dtype]:.1g} allowed; nothing was written"
            )
