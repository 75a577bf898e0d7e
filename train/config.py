"""The settings of a training run, in one frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


class ConfigError(ValueError):
    """A setting that can't be used; the message states its value and what is accepted."""


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None, bare: str | None = None) -> Any:
    """Return a field with its help text, the accepted `choices`, and `bare`, its value if no argument is given."""
    return field(default=default, metadata={"help": help, "choices": choices, "bare": bare})


EARLY_SHARE = 0.65  # of the remaining run goes to each early crop size, which gives all sizes about equal time
HUB = "hub:"  # --data: the prefix of a Hub dataset
KEYWORDS = ("bsds500", "bsds400", "synthetic")  # --data: sources that are no folders
SETTINGS_FILE = "train.json"  # the settings of a run, in its output folder
LOSSES = ("l1", "charbonnier", "mse", "psnr")  # of --loss and --end-loss
LATEST = "latest"  # --resume: the newest checkpoint in the output folder
POSITIVE = (
    *("steps", "batch_size", "crop", "max_level", "mean_level", "learning_rate"),
    *("validation_steps", "validation_photos", "checkpointing_steps"),
    *("gradient_accumulation_steps", "checkpoints_total_limit"),
)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run. The defaults are the recipe `photo`."""

    recipe: str = setting("photo", "settings to start from, named after the weights they make", ("photo", "classic"))
    network: str = setting("residual", "architecture to train", ("residual", "classic"))
    data: tuple[str, ...] = setting(
        ("bsds400",),
        "photo sources: bsds500, bsds400 (bsds500 and its test photos), synthetic, hub:user/dataset, folders",
    )
    val: str | None = setting(None, "folder of validation photos, which select the best weights (default: from --data)")
    output_dir: str = setting("runs/photo", "folder for checkpoints, metrics and weights")
    init: str | None = setting(None, "start from these weights: a bundled name, a model folder or a Hub repo")
    resume: str | None = setting(
        None, "continue exactly from the newest checkpoint, or from the one at PATH", bare=LATEST
    )

    steps: int = setting(120_000, "total number of optimizer steps")
    max_minutes: float | None = setting(None, "stop after this many minutes; the learning rate reaches zero by then")
    batch_size: int = setting(16, "crops per batch and process")
    gradient_accumulation_steps: int = setting(1, "batches averaged into one optimizer step")
    crop: int = setting(192, "side of the square crops in pixels, a multiple of 16")
    early_crops: tuple[int, ...] = setting(
        (64, 96, 128), "smaller crop sizes for the start of the run, where they speed up the steps"
    )
    augmentation: str = setting(
        "dihedral", "flips and quarter turns, or the augmentation of the reference", ("dihedral", "classic")
    )

    sigma_law: str = setting("uniform", "distribution of the noise level", ("uniform", "exponential"))
    max_level: float = setting(75.0, "uniform law: highest noise level (0-255 scale)")
    mean_level: float = setting(38.25, "exponential law: mean noise level (0-255 scale; 38.25 is the reference's 0.15)")
    level_per_batch: bool = setting(False, "draw one noise level per batch instead of one per crop")
    clip_share: float = setting(0.0, "share of the noisy crops that are clipped to [0, 1]")
    quantize_share: float = setting(0.5, "share of the noisy crops that are clipped and rounded to 8 bits")

    camera_share: float = setting(0.5, "share of the crops with the noise of real uploads: camera noise or grain")
    camera_data: tuple[str, ...] = setting(
        (), "photo sources for the crops of --camera-share (default: those of --data)"
    )
    clean_share: float = setting(0.06, "share of the crops without noise")
    grey_share: float = setting(0.2, "share of the crops that are grey, with the same noise in all channels")
    partial_share: float = setting(
        0.1, "share of the crops with noise in one part only, or rising from one side to the other"
    )

    loss: str = setting("l1", "loss between restored and clean crops", LOSSES)
    end_loss: str = setting("psnr", "loss at the end of the run, from --end-from", LOSSES)
    end_from: float = setting(0.82, "share of the run after which --end-loss and --drift-weight apply")
    drift_weight: float = setting(20.0, "weight of the error in a crop's mean colour, relative to the error of a pixel")
    balance_levels: bool = setting(
        True, "weight crops so that all noise levels count equally (the PSNR loss does by itself)"
    )
    estimate_quantile: float = setting(0.6, "quantile that the noise estimator predicts; above 0.5 it overestimates")
    estimator_only: bool = setting(False, "train only the noise level estimator and freeze the autoencoder")
    optimizer: str = setting("muon", "Muon with AdamW for what Muon does not cover, or only AdamW", ("muon", "adamw"))
    learning_rate: float = setting(2e-4, "peak learning rate")
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay (0 makes it Adam)")
    warmup_steps: int = setting(500, "warm-up steps of the learning rate, at most 3 % of the run")
    schedule: str = setting("cosine", "learning rate schedule after the warm-up", ("cosine", "constant"))
    max_grad_norm: float = setting(1.0, "clip gradients to this norm; 0 disables clipping")
    ema_decay: float = setting(
        0.999, "decay of the averaged weights, which are validated and kept; 0 disables averaging"
    )

    validation_steps: int = setting(2500, "steps between validations")
    validation_photos: int = setting(32, "number of validation photos used during training")
    checkpointing_steps: int = setting(500, "steps between checkpoints")
    checkpoints_total_limit: int = setting(2, "number of checkpoints to keep, besides the best weights")
    report_to: str = setting("none", "experiment tracker to log to", ("none", "tensorboard", "trackio"))
    push: str | None = setting(None, "push the best weights to this Hub repository, user/name, at the end")
    push_every: int = setting(0, "also push every this many steps; 0 pushes only at the end")
    device: str = setting("auto", "auto, cpu, cuda, ...")
    mixed_precision: str = setting(
        "auto", "bfloat16 autocast (auto: if the device is fast at it)", ("auto", "no", "bf16")
    )
    compile: bool = setting(False, "compile the network with torch.compile (worth it on a GPU)")
    seed: int = setting(0, "random seed")

    def __post_init__(self) -> None:
        for item in fields(self):
            choices, value = item.metadata["choices"], getattr(self, item.name)
            if choices and value not in choices:
                raise ConfigError(f"{flag(item.name)} is {value!r}; choose one of {', '.join(choices)}")
        for name in ("data", "camera_data", "early_crops"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{flag(name)} is {getattr(self, name)}; it must be above 0")
        for name in ("warmup_steps", "max_grad_norm", "weight_decay", "drift_weight", "push_every", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{flag(name)} is {getattr(self, name)}; it must be at least 0")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ConfigError(f"--max-minutes is {self.max_minutes}; it must be above 0")
        for name, sides in (("crop", (self.crop,)), ("early_crops", self.early_crops)):
            for side in sides:
                if side % 16 or side <= 0:
                    raise ConfigError(f"{flag(name)} is {side}; it must be a multiple of 16")
        for name in ("grey_share", "partial_share", "end_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{flag(name)} is {getattr(self, name)}; it must be at least 0 and at most 1")
        if not (self.clip_share >= 0 and self.quantize_share >= 0 and self.clip_share + self.quantize_share <= 1):
            raise ConfigError("--clip-share and --quantize-share must be at least 0 and together at most 1")
        if not (self.camera_share >= 0 and self.clean_share >= 0 and self.camera_share + self.clean_share <= 1):
            raise ConfigError("--camera-share and --clean-share must be at least 0 and together at most 1")
        if self.push_every and not self.push:
            raise ConfigError("--push-every needs --push user/name")
        if not 0 < self.estimate_quantile < 1:
            raise ConfigError(f"--estimate-quantile is {self.estimate_quantile}; it must be above 0 and below 1")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"--ema-decay is {self.ema_decay}; it must be at least 0 and below 1")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def at(self, progress: float) -> TrainConfig:
        """Return the settings that apply at `progress` of the run, from 0 to 1: the crop size and loss of its stage."""
        ends = ((side, 1 - (1 - EARLY_SHARE) ** turn) for turn, side in enumerate(self.early_crops, start=1))
        crop = next((min(side, self.crop) for side, end in ends if progress < end), self.crop)
        if progress < self.end_from:
            return replace(self, crop=crop, drift_weight=0.0)
        return replace(self, crop=crop, loss=self.end_loss)


def flag(name: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + name.replace("_", "-")
