import pytest
import torch

from denoiser.model import NETWORKS, DenoisingAutoencoder
from train.fit.optimizers import Muon, make_optimizers, orthogonalize
from train.recipes import RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_every_weight_is_moved_by_exactly_one_optimizer(name):
    model = DenoisingAutoencoder(NETWORKS[RECIPES[name].network])
    optimizers = make_optimizers(model, RECIPES[name])
    moved = [value for optimizer in optimizers for group in optimizer.param_groups for value in group["params"]]
    assert sorted(map(id, moved)) == sorted(map(id, model.parameters()))


def test_the_first_and_last_layer_stay_with_adamw():
    model = DenoisingAutoencoder(NETWORKS["residual"])
    _, muon = make_optimizers(model, RECIPES["photo"])
    hidden = {id(value) for value in muon.param_groups[0]["params"]}
    assert id(model.body.head.weight) not in hidden and id(model.body.tail.weight) not in hidden
    moved = sum(value.numel() for value in muon.param_groups[0]["params"])
    assert moved > 0.97 * sum(value.numel() for value in model.body.parameters())


@pytest.mark.parametrize("shape", [(8, 8), (12, 40), (40, 12), (48, 432)])
def test_all_directions_of_a_step_are_about_equally_long(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    singular_values = torch.linalg.svdvals(orthogonalize(matrix))

    assert singular_values.min() > 0.5 and singular_values.max() < 1.3


def test_a_step_keeps_the_gradients_own_directions():
    gradient = torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(gradient, full_matrices=False)

    in_its_directions = left.T @ orthogonalize(gradient) @ right.T

    torch.testing.assert_close(in_its_directions, in_its_directions.diagonal().diag(), atol=1e-3, rtol=0)


def test_a_zero_gradient_changes_nothing():
    assert torch.equal(orthogonalize(torch.zeros(4, 9)), torch.zeros(4, 9))


@pytest.mark.parametrize("shape", [(16, 16), (8, 24), (24, 8)])
def test_steps_on_a_matrix_are_those_of_pytorchs_muon(shape):
    generator = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape, generator=generator))
    theirs = torch.nn.Parameter(ours.detach().clone())
    start = ours.detach().clone()
    # theirs matches a fifth of Adam's root mean square, ours the whole
    reference = torch.optim.Muon([theirs], lr=5e-3, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon([ours], lr=1e-3)

    for _ in range(3):
        ours.grad = torch.randn(shape, generator=generator)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        reference.step()

    difference = (ours - theirs).norm() / (ours - start).norm()
    assert difference < 0.02  # bfloat16 has eight bits


def test_a_convolution_moves_as_its_matrix_does_in_any_memory_format():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.nn.Parameter(torch.randn((6, 36), generator=generator))
    kernels = torch.nn.Parameter(matrix.detach().view(6, 4, 3, 3).to(memory_format=torch.channels_last, copy=True))
    matrix.grad = torch.randn((6, 36), generator=generator)
    kernels.grad = matrix.grad.view(6, 4, 3, 3).to(memory_format=torch.channels_last)

    Muon([matrix], lr=0.1).step()
    Muon([kernels], lr=0.1).step()

    torch.testing.assert_close(kernels.detach().flatten(1), matrix.detach())


def test_a_step_has_the_root_mean_square_of_the_learning_rate():
    weight = torch.nn.Parameter(torch.zeros(64, 64, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))

    Muon([weight], lr=1e-3).step()

    assert weight.detach().square().mean().sqrt().item() == pytest.approx(1e-3, rel=0.3)
