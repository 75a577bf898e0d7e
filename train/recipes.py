"""Recipes: the settings to train a network with, keyed by the names of the bundled weights that they are for.

`classic` made its weights in one run. `photo` is for a run from fresh weights, which learns fastest with small crops
and L1 at first. The bundled ones were then trained on for many hours, with `--loss psnr --end-from 0`; their
config.json lists the settings of all runs behind them.
"""

from __future__ import annotations

from denoiser.weights import DEFAULT, load_weights

from .config import TrainConfig

RECIPES = {
    "photo": TrainConfig(),
    # The settings of the reference: Adam 2e-3, MSE, batches of 20, ten per epoch, 150 epochs, one clipped noise level
    # per batch from an exponential law, and its augmentation.
    "classic": TrainConfig(
        recipe="classic",
        network="classic",
        data=("bsds500",),
        output_dir="runs/classic",
        steps=1500,
        batch_size=20,
        crop=256,
        early_crops=(),
        augmentation="classic",
        sigma_law="exponential",
        level_per_batch=True,
        clip_share=1.0,
        quantize_share=0.0,
        camera_share=0.0,
        clean_share=0.0,
        grey_share=0.0,
        partial_share=0.0,
        loss="mse",
        end_loss="mse",
        drift_weight=0.0,
        balance_levels=False,
        optimizer="adamw",
        learning_rate=2e-3,
        warmup_steps=0,
        schedule="constant",
        max_grad_norm=0.0,
        ema_decay=0.0,
        validation_steps=10,
        checkpointing_steps=50,
    ),
}


def recipe_of(source: str) -> str:
    """Return the name of the recipe that made some weights: a bundled name, a model folder or a Hub repository.

    Weights that record no recipe, or an unknown one, get the recipe of their architecture. Raises WeightsError if they
    can't be loaded.
    """
    weights = load_weights(source)
    recorded = weights.training.get("recipe")
    if recorded in RECIPES:
        return recorded
    return "classic" if weights.model.config.architecture == "classic" else DEFAULT
