"""Settings of a training run: what is refused, and how the flags come from the fields."""

import argparse
import json
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest

from denoiser.model import NETWORKS, DenoisingAutoencoder
from denoiser.weights import bundled_names, save_weights
from train.__main__ import main
from train.config import ConfigError, TrainConfig, flag
from train.flags import add_flags, config_from_flags
from train.recipes import RECIPES, recipe_of

NAN = float("nan")
# For every field: the words of a command line, and the value that they give.
GIVEN = {
    "recipe": (["classic"], "classic"),
    "network": (["residual"], "residual"),
    "data": (["bsds500", "/a b/photos", "synthetic"], ("bsds500", "/a b/photos", "synthetic")),
    "val": (["/photos/val"], "/photos/val"),
    "output_dir": (["runs/other"], "runs/other"),
    "init": (["user/repo"], "user/repo"),
    "resume": ([], "latest"),
    "steps": (["7"], 7),
    "max_minutes": (["2.5"], 2.5),
    "batch_size": (["3"], 3),
    "gradient_accumulation_steps": (["4"], 4),
    "checkpoints_total_limit": (["5"], 5),
    "report_to": (["trackio"], "trackio"),
    "crop": (["48"], 48),
    "augmentation": (["classic"], "classic"),
    "sigma_law": (["exponential"], "exponential"),
    "max_level": (["55"], 55.0),
    "mean_level": (["20"], 20.0),
    "level_per_batch": ([], True),
    "clip_share": (["0.25"], 0.25),
    "quantize_share": (["0"], 0.0),
    "camera_share": (["0.25"], 0.25),
    "camera_data": (["photos", "more"], ("photos", "more")),
    "clean_share": (["0.25"], 0.25),
    "grey_share": (["0.25"], 0.25),
    "partial_share": (["0.25"], 0.25),
    "early_crops": (["16", "32", "48"], (16, 32, 48)),
    "end_loss": (["l1"], "l1"),
    "end_from": (["0.5"], 0.5),
    "loss": (["mse"], "mse"),
    "drift_weight": (["7"], 7.0),
    "estimator_only": ([], True),
    "estimate_quantile": (["0.7"], 0.7),
    "push": (["user/name"], "user/name"),
    "push_every": (["0"], 0),
    "balance_levels": ([], True),
    "optimizer": (["adamw"], "adamw"),
    "learning_rate": (["3e-4"], 3e-4),
    "weight_decay": (["0.01"], 0.01),
    "warmup_steps": (["0"], 0),
    "schedule": (["constant"], "constant"),
    "max_grad_norm": (["0"], 0.0),
    "ema_decay": (["0"], 0.0),
    "validation_steps": (["9"], 9),
    "validation_photos": (["2"], 2),
    "checkpointing_steps": (["11"], 11),
    "device": (["cpu"], "cpu"),
    "mixed_precision": (["no"], "no"),
    "compile": ([], True),
    "seed": (["5"], 5),
}
SHARES = ("clip_share", "quantize_share", "camera_share", "clean_share", "grey_share", "partial_share", "end_from")


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return config_from_flags(vars(parser.parse_args(arguments)))


REFUSED = [
    *((name, "other") for name in ("recipe", "network", "augmentation", "sigma_law", "loss", "schedule")),
    *((name, value) for name in ("steps", "batch_size", "crop") for value in (0, -16)),
    *((name, 0) for name in ("validation_steps", "validation_photos", "checkpointing_steps")),
    *((name, value) for name in ("max_level", "mean_level", "learning_rate") for value in (0.0, -1.0, NAN)),
    *(("max_minutes", value) for value in (0.0, -1.0, NAN)),
    *(("crop", value) for value in (8, 24, 100)),
    *(("early_crops", (value,)) for value in (-16, 0, 24)),
    *((name, value) for name in SHARES for value in (-0.1, 1.1, NAN)),
    *(("ema_decay", value) for value in (-0.1, 1.0, NAN)),
    *(("warmup_steps", -10), ("max_grad_norm", -1.0), ("weight_decay", -0.1)),  # would train backwards
    ("seed", -1),
]


def test_a_setting_that_cannot_be_used_is_refused_by_the_name_of_its_flag(subtests):
    for name, value in REFUSED:
        with subtests.test(name=name, value=value), pytest.raises(ConfigError, match=flag(name)):
            TrainConfig(**{name: value})


def test_the_message_says_what_was_given_and_what_is_accepted():
    with pytest.raises(ConfigError, match=r"--loss is 'l2'; choose one of l1, charbonnier, mse, psnr"):
        TrainConfig(loss="l2")
    with pytest.raises(ConfigError, match=r"--crop is 100; it must be a multiple of 16"):
        TrainConfig(crop=100)


def test_shares_that_fill_the_whole_are_accepted():
    for percent in range(101):
        config = TrainConfig(clip_share=percent / 100, quantize_share=1 - percent / 100)
        assert config.clip_share + config.quantize_share == pytest.approx(1), percent


def test_crops_grow_and_the_loss_changes_along_the_run():
    config = TrainConfig(crop=96, early_crops=(32, 64), end_from=0.7, drift_weight=5.0)
    seen = [config.at(progress) for progress in (0, 0.64, 0.66, 0.69, 0.7, 0.88, 1)]
    assert [stage.crop for stage in seen] == [32, 32, 64, 64, 64, 96, 96]
    assert [stage.loss for stage in seen] == ["l1"] * 4 + ["psnr"] * 3
    assert [stage.drift_weight for stage in seen] == [0] * 4 + [5] * 3


def test_early_crops_are_never_larger_than_the_crop():
    assert [TrainConfig(crop=80).at(progress).crop for progress in (0, 0.7, 0.9, 1)] == [64, 80, 80, 80]


def test_classic_has_one_stage():
    classic = RECIPES["classic"]
    assert classic.at(0) == classic.at(0.5) == classic.at(1) == classic


def test_shares_that_exceed_the_whole_are_refused():
    with pytest.raises(ConfigError, match="--clip-share and --quantize-share"):
        TrainConfig(clip_share=0.6, quantize_share=0.5)


def test_a_config_cannot_be_changed_in_place_and_a_changed_copy_is_checked():
    config = TrainConfig()
    with pytest.raises(FrozenInstanceError):
        config.steps = 1
    with pytest.raises(ConfigError, match="--steps"):
        replace(config, steps=0)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_config_survives_json(recipe):
    assert TrainConfig(**json.loads(json.dumps(recipe.to_json()))) == recipe


def test_classic_is_the_recipe_of_the_reference():
    recipe = RECIPES["classic"]
    assert (recipe.network, recipe.data, recipe.augmentation) == ("classic", ("bsds500",), "classic")
    assert (recipe.learning_rate, recipe.weight_decay, recipe.schedule, recipe.loss) == (2e-3, 0, "constant", "mse")
    assert (recipe.batch_size, recipe.crop) == (20, 256)
    assert recipe.steps * recipe.batch_size == 150 * 200  # 150 epochs of 200 photos
    assert recipe.sigma_law == "exponential" and recipe.level_per_batch
    assert recipe.mean_level / 255 == pytest.approx(0.15)
    assert (recipe.clip_share, recipe.quantize_share, recipe.balance_levels) == (1, 0, False)
    assert (recipe.warmup_steps, recipe.max_grad_norm, recipe.ema_decay) == (0, 0, 0)


def test_every_recipe_has_the_name_of_bundled_weights_and_a_folder_of_its_own():
    assert set(RECIPES) <= set(bundled_names())
    assert all(recipe.recipe == name for name, recipe in RECIPES.items())
    assert len({recipe.output_dir for recipe in RECIPES.values()}) == len(RECIPES)


def test_no_flags_are_the_recipe_photo():
    assert parse() == RECIPES["photo"] == TrainConfig()


def test_recipe_classic_takes_the_recipe_of_the_reference():
    assert parse("--recipe", "classic") == RECIPES["classic"]


@pytest.mark.parametrize("name", RECIPES)
def test_initial_weights_bring_their_recipe_unless_another_is_given(name):
    assert parse("--init", name) == replace(RECIPES[name], init=name)
    assert parse("--init", name, "--camera-share", "0.2") == replace(RECIPES[name], init=name, camera_share=0.2)
    assert parse("--init", name, "--recipe", "photo") == replace(RECIPES["photo"], init=name)


def test_weights_without_a_recorded_recipe_get_that_of_their_architecture(tmp_path):
    for network, recipe in (("residual", "photo"), ("classic", "classic")):
        save_weights(DenoisingAutoencoder(NETWORKS[network]), tmp_path / network, {"recipe": "of another version"})
        assert recipe_of(str(tmp_path / network)) == recipe


def test_a_run_is_resumed_with_its_own_settings_and_those_given(tmp_path):
    run = parse("--recipe", "classic", "--data", "synthetic", "--output-dir", str(tmp_path), "--seed", "3")
    (tmp_path / "train.json").write_text(json.dumps(run.to_json() | {"of_an_older_version": 1}))
    flags = "--resume", "--output-dir", str(tmp_path)
    assert parse(*flags) == replace(run, resume="latest")
    assert parse(*flags, "--seed", "4", "--data", "bsds500") == replace(run, resume="latest", seed=4, data=("bsds500",))
    assert parse(*flags[1:]) == replace(RECIPES["photo"], output_dir=str(tmp_path))  # only --resume does so
    for damaged in ("", "null"):
        (tmp_path / "train.json").write_text(damaged)
        with pytest.raises(ConfigError, match=r"train\.json can't be read; delete it"):
            parse(*flags)


def test_a_run_is_resumed_from_a_checkpoint_in_its_folder_unless_another_is_given(tmp_path):
    run = parse("--recipe", "classic", "--data", "synthetic", "--output-dir", "moved/since", "--seed", "3")
    (tmp_path / "train.json").write_text(json.dumps(run.to_json()))
    checkpoint = str(tmp_path / "checkpoint-0000015.pt")
    resumed = replace(run, resume=checkpoint, output_dir=str(tmp_path), learning_rate=1e-5)
    assert parse("--resume", checkpoint, "--learning-rate", "1e-5") == resumed
    elsewhere = parse("--resume", checkpoint, "--learning-rate", "1e-5", "--output-dir", "elsewhere")
    assert elsewhere == replace(resumed, output_dir="elsewhere")


def test_every_field_has_a_flag():
    assert set(GIVEN) == {item.name for item in fields(TrainConfig)}


@pytest.mark.parametrize("model", RECIPES)
def test_a_flag_changes_its_own_field_and_no_other(model, subtests, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no run to resume
    for name, (words, value) in list(GIVEN.items())[1:]:  # except --recipe
        with subtests.test(flag=flag(name)):
            config = parse("--recipe", model, flag(name), *words)
            assert asdict(config) == asdict(RECIPES[model]) | {name: value}
            assert type(getattr(config, name)) is type(value)


@pytest.mark.parametrize("name", ["schedule", "loss", "steps", "ema_decay", "data", "sigma_law", "output_dir"])
def test_a_flag_that_repeats_the_default_still_overrides_classic(name):
    value = getattr(TrainConfig(), name)
    words = value if isinstance(value, tuple) else [str(value)]
    assert getattr(parse("--recipe", "classic", flag(name), *words), name) == value


def test_a_switch_can_be_turned_off():
    assert not parse("--recipe", "classic", "--no-level-per-batch").level_per_batch
    assert not parse("--no-balance-levels").balance_levels


@pytest.mark.parametrize("arguments", [["--steps", "many"], ["--loss", "l2"], ["--crop", "1.5"], ["--data"]])
def test_a_flag_of_the_wrong_kind_is_refused_by_name(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_help_lists_every_flag_with_its_text(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--help"])
    assert stopped.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for item in fields(TrainConfig):
        assert flag(item.name) in shown
        assert item.metadata["help"][:20] in shown


def test_the_command_line_says_what_is_wrong_in_one_line_and_fails(capsys):
    assert main(["fit", "--crop", "24"]) == 1
    out, err = capsys.readouterr()
    assert err == "error: --crop is 24; it must be a multiple of 16\n" and not out
