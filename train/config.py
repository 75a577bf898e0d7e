"""The settings of a training run, in one frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


class ConfigError(ValueError):
    """A setting that can't be used; the message says what came and what is accepted."""


def setting(default: Any, help: str, choices: tuple[str, ...] | None = None, alone: str | None = None) -> Any:
    """A dataclass field with the text that --help shows, the values that are accepted, and the one of a flag alone."""
    return field(default=default, metadata={"help": help, "choices": choices, "alone": alone})


EARLY_SHARE = 0.65  # of what is left of a run goes to each size of early crops: about as much time as to the next
LATEST = "latest"  # of the checkpoints in the output folder
POSITIVE = (
    *("steps", "batch_size", "crop", "max_level", "mean_level", "learning_rate"),
    *("validation_steps", "validation_photos", "checkpointing_steps"),
    *("gradient_accumulation_steps", "checkpoints_total_limit"),
)


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one training run. The defaults are the recipe `photo`."""

    recipe: str = setting("photo", "settings to start from, named like the weights they make", ("photo", "classic"))
    network: str = setting("residual", "architecture to train", ("residual", "classic"))
    data: tuple[str, ...] = setting(
        ("bsds400",), "bsds500, bsds400 (with its test photos), synthetic, hub:user/dataset, folders"
    )
    val: str | None = setting(None, "a folder of photos to choose the best weights by (default: the data's own)")
    output_dir: str = setting("runs/photo", "where checkpoints, metrics and weights go")
    init: str | None = setting(None, "start from these weights: a bundled name, a model folder or a Hub repo")
    resume: str | None = setting(None, "continue exactly where the newest, or this, checkpoint stands", alone=LATEST)

    steps: int = setting(120_000, "optimizer steps in all")
    max_minutes: float | None = setting(None, "stop after this long; the learning rate falls to zero by then")
    batch_size: int = setting(16, "crops that a process computes at once")
    gradient_accumulation_steps: int = setting(1, "batches whose gradients are averaged for one optimizer step")
    crop: int = setting(192, "side of the square crops in pixels, a multiple of 16")
    early_crops: tuple[int, ...] = setting((64, 96, 128), "smaller crops to begin with: steps come faster")
    augmentation: str = setting("dihedral", "flips and quarter turns, or the reference's own", ("dihedral", "classic"))

    sigma_law: str = setting("uniform", "distribution of the noise level", ("uniform", "exponential"))
    max_level: float = setting(75.0, "uniform law: levels are drawn from 0 to this (0-255 scale)")
    mean_level: float = setting(38.25, "exponential law: its mean (0-255 scale; the reference's 0.15)")
    level_per_batch: bool = setting(False, "draw one noise level a batch instead of one a crop")
    clip_share: float = setting(0.0, "share of the noisy crops that is clipped to [0, 1]")
    quantize_share: float = setting(0.5, "share of the noisy crops that is clipped and rounded to 8 bits")

    camera_share: float = setting(0.55, "share of the crops with noise as uploads have it: a camera's, or grain")
    camera_data: tuple[str, ...] = setting((), "photos for those crops, as in --data (default: the same)")
    clean_share: float = setting(0.06, "share of the crops that get no noise at all")
    grey_share: float = setting(0.06, "share of the crops that are grey, with one plane of noise")
    partial_share: float = setting(0.1, "share of the crops with noise in a part only, or rising across")

    loss: str = setting("l1", "what is minimised between restored and clean", ("l1", "charbonnier", "mse"))
    end_loss: str = setting("mse", "and towards the end of the run", ("l1", "charbonnier", "mse"))
    end_from: float = setting(0.82, "share of the run after which --end-loss and --drift-weight count")
    drift_weight: float = setting(10.0, "how much an error in a crop's mean colour counts beside those in its pixels")
    balance_levels: bool = setting(True, "weigh crops so that all noise levels count alike")
    estimate_quantile: float = setting(0.5, "of the levels that fit what is seen, the estimator learns this quantile")
    estimator_only: bool = setting(False, "train the noise level estimator alone, and leave the autoencoder as it is")
    optimizer: str = setting("muon", "what moves the weights: Muon and AdamW, or AdamW alone", ("muon", "adamw"))
    learning_rate: float = setting(2e-4, "peak learning rate")
    weight_decay: float = setting(0.0, "AdamW's decoupled weight decay (0 makes it Adam)")
    warmup_steps: int = setting(500, "steps over which the learning rate rises, at most 3 % of the run")
    schedule: str = setting("cosine", "learning rate after the warm-up", ("cosine", "constant"))
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm; 0 leaves them alone")
    ema_decay: float = setting(0.999, "decay of the averaged weights, which are what is measured and kept; 0: none")

    validation_steps: int = setting(2500, "steps between validations")
    validation_photos: int = setting(32, "how many of the validation photos are used during training")
    checkpointing_steps: int = setting(500, "steps between checkpoints")
    checkpoints_total_limit: int = setting(2, "how many checkpoints are kept, beside the best weights")
    report_to: str = setting("none", "also show the run in one of these", ("none", "tensorboard", "trackio"))
    push: str | None = setting(None, "put the best weights on the Hub at the end, in this repository: user/name")
    push_every: int = setting(0, "and during training, so many steps apart; 0: at the end alone")
    device: str = setting("auto", "auto, cpu, cuda, ...")
    mixed_precision: str = setting("auto", "bfloat16 autocast (auto: where it is fast)", ("auto", "no", "bf16"))
    compile: bool = setting(False, "compile the network with torch.compile (worth it on a GPU)")
    seed: int = setting(0, "seed of everything random")

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
        for name in ("warmup_steps", "max_grad_norm", "weight_decay", "drift_weight", "push_every"):
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
            raise ConfigError("--push-every needs --push user/name, which says where to")
        if not 0 < self.estimate_quantile < 1:
            raise ConfigError(f"--estimate-quantile is {self.estimate_quantile}; it must be above 0 and below 1")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"--ema-decay is {self.ema_decay}; it must be at least 0 and below 1")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def at(self, progress: float) -> TrainConfig:
        """The settings that hold at a point of the run, from 0 to 1: of crops and loss, those of its stage."""
        ends = ((side, 1 - (1 - EARLY_SHARE) ** turn) for turn, side in enumerate(self.early_crops, start=1))
        crop = next((min(side, self.crop) for side, end in ends if progress < end), self.crop)
        if progress < self.end_from:
            return replace(self, crop=crop, drift_weight=0.0)
        return replace(self, crop=crop, loss=self.end_loss)


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
