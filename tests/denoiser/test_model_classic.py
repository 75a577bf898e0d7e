"""The reference network has the layers, sizes and initialisation of the reference."""

import torch
from torch import nn

from denoiser.model import NETWORKS, DenoisingAutoencoder

# The reference network as design.md lists it: kind, channels in and out, kernel, stride.
CLASSIC_LAYERS = [
    ("conv", 3, 64, 3, 1),
    ("conv", 64, 64, 3, 2),
    ("conv", 64, 128, 5, 2),
    ("conv", 128, 128, 3, 1),
    ("conv", 128, 256, 5, 2),
    ("conv", 256, 512, 3, 2),
    ("up", 512, 512, 3, 2),
    ("conv", 512 + 256, 256, 3, 1),
    ("up", 256, 128, 3, 2),
    ("conv", 128 + 128, 128, 5, 1),
    ("up", 128, 64, 3, 2),
    ("conv", 64 + 64, 64, 5, 1),
    ("up", 64, 64, 3, 2),
    ("conv", 64 + 64, 3, 3, 1),
]


def picture(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def preset_without_memory(name):
    with torch.device("meta"):
        return DenoisingAutoencoder(NETWORKS[name]).eval()


def leaves_in_order_of_use(model, pixels):
    """Return the layers without children in the order of the forward pass, with the shape that each returns."""
    used = []
    for layer in model.modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda layer, _, output: used.append((layer, tuple(output.shape))))
    model(pixels)
    return used


def test_the_classic_count_is_that_of_its_layer_list():
    *blocks, last = [
        (inputs * outputs * kernel**2 + outputs, outputs) for _, inputs, outputs, kernel, _ in CLASSIC_LAYERS
    ]
    assert sum(weights + 2 * outputs for weights, outputs in blocks) + last[0] == 7_958_531


def test_classic_has_the_layers_of_the_reference():
    kinds = {nn.Conv2d: "conv", nn.ConvTranspose2d: "up"}
    used = leaves_in_order_of_use(preset_without_memory("classic"), torch.zeros(1, 3, 256, 256, device="meta"))
    convolutions = [(layer, shape) for layer, shape in used if type(layer) in kinds]
    listed = [(kinds[type(c)], c.in_channels, c.out_channels, *c.kernel_size, *c.stride) for c, _ in convolutions]
    assert listed == [(kind, i, o, kernel, kernel, stride, stride) for kind, i, o, kernel, stride in CLASSIC_LAYERS]
    sides = [shape[-1] for _, shape in convolutions]
    assert sides == [256, 128, 64, 64, 32, 16, 32, 32, 64, 64, 128, 128, 256, 256]


def test_classic_blocks_are_convolution_activation_dropout_norm():
    used = leaves_in_order_of_use(preset_without_memory("classic"), torch.zeros(1, 3, 16, 16, device="meta"))
    layers = [layer for layer, _ in used]
    assert len(layers) == 13 * 4 + 1
    assert isinstance(layers.pop(), nn.Conv2d)
    for conv, activation, dropout, norm in zip(*[iter(layers)] * 4, strict=True):
        assert isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d))
        assert isinstance(activation, nn.LeakyReLU) and activation.negative_slope == 0.3
        assert isinstance(dropout, nn.Dropout) and dropout.p == 0.2
        assert isinstance(norm, nn.BatchNorm2d) and norm.num_features == conv.out_channels


@torch.no_grad()
def test_classic_concatenates_the_mirrored_level(tiny_classic):
    given, returned = {}, {}

    def remember(name):
        def hook(_, inputs, output):
            given[name], returned[name] = inputs[0], output

        return hook

    for name, layer in tiny_classic.body.named_children():
        layer.register_forward_hook(remember(name))
    tiny_classic(picture(1, 3, 32, 48))
    for level in range(4):
        skip = returned[f"encode{level}"]
        assert torch.equal(given[f"decode{level}"][:, -skip.shape[1] :], skip)


@torch.no_grad()
def test_classic_ends_in_a_sigmoid(tiny_classic):
    restored = tiny_classic(picture(1, 3, 32, 32) * 200 - 100)
    assert restored.min() >= 0 and restored.max() <= 1


def test_classic_starts_orthogonal(tiny_classic):
    for layer in tiny_classic.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            rows = layer.weight.detach().flatten(1)
            gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
            torch.testing.assert_close(gram, torch.eye(len(gram)), rtol=0, atol=1e-5)
            assert not layer.bias.any()
