"""Recipes against the release's own numbers, and what can be overridden."""

import json

import pytest
from shared_data import shared

from offseg_viz.errors import ModelError, UnknownNameError
from offseg_viz.models.zoo import MODELS
from offseg_viz.pipeline.recipes import OVERRIDABLE, as_field, find_recipe, has_recipe, recipes, split_name
from offseg_viz.pipeline.schedule import schedule

DATA = {"ade20k": "ade20k", "cityscapes": "cityscapes", "coco_stuff164k": "coco_stuff164k"}
DATA |= {"pascal_context59": "pascal_context"}

PAPER_WINS = {
    ("steps", "coco_stuff164k"): 80_000,  # some configurations run on for as long again at a rate of 0
    ("batch_size", "cityscapes"): 8,  # 16 in those of SegNeXt-S and -B
    ("batch_size", "ade20k"): 16,  # 64 in that of Mask2Former
}


def network(config):
    """Our name of the network that a configuration of the release trains."""
    family, _, rest = config.partition("/")
    size = rest.partition("/")[0]
    if family == "offseg":
        return {"Tiny": "offseg-t", "Base": "offseg-b", "Large": "offseg-l"}[size]
    if family.startswith("segformer"):
        return f"segformer-{size.lower()}-offset"
    if family.startswith("segnext"):
        return f"segnext-{size[0].lower()}-offset"
    return "mask2former-swin-t-offset"


def configs():
    return json.loads(shared("facts/recipes.json").read_text())["configs"].items()


def test_every_configuration_of_the_release_has_its_recipe_and_the_plain_network_the_same():
    seen = 0
    for name, config in configs():
        model, data = network(name), DATA[config["dataset"]]
        row = find_recipe(model, data)
        steps = {step["type"]: step for step in config["train_pipeline"]}
        expected = {
            "steps": config["max_iters"],
            "batch_size": config["effective_batch_size_8gpu"],
            "crop": tuple(steps["RandomCrop"]["crop_size"]),
            "cat_max_ratio": steps["RandomCrop"]["cat_max_ratio"],
            "flip": steps["RandomFlip"]["prob"],
            "weight_decay": config["optimizer"]["weight_decay"],
            "power": config["poly"]["power"],
            "warmup_steps": config["warmup"]["end"] if config["warmup"] else 0,
            "clip_norm": config["clip_grad"]["max_norm"] if config["clip_grad"] else None,
            "test_resize": tuple(config["test_pipeline"][1]["scale"]),
            "window": tuple(config["inference"].get("crop_size", ())) or None,
            "stride": tuple(config["inference"].get("stride", ())) or None,
        }
        if row.window:
            divisor = (config["preprocess"].get("test_cfg") or {}).get("size_divisor")
            expected["pad"] = divisor == 32
        if "RandomResize" in steps:
            expected |= {"resize": tuple(steps["RandomResize"]["scale"]), "learning_rate": config["optimizer"]["lr"]}
            expected |= {"scale": tuple(steps["RandomResize"]["ratio_range"]), "head_multiplier": 10.0}
            assert config["paramwise_cfg"]["custom_keys"]["head"] == {"lr_mult": 10.0}
        else:
            choice = steps["RandomChoiceResize"]
            expected |= {"short_sides": tuple(choice["scales"]), "longest": choice["max_size"]}
            backbone = config["paramwise_cfg"]["custom_keys"]["backbone"]["lr_mult"]
            expected |= {"learning_rate": config["optimizer"]["lr"] * backbone, "head_multiplier": 1 / backbone}
        for field, value in expected.items():
            value = PAPER_WINS.get((field, data), value)
            assert getattr(row, field) == pytest.approx(value), (name, field)
        assert row.mean_over_ignored and row.source == "paper and release"
        if model.endswith("-offset"):
            plain = find_recipe(model.removesuffix("-offset"), data)
            assert all(getattr(plain, field) == getattr(row, field) for field in OVERRIDABLE)
        seen += 1
    assert seen > 30


def test_every_network_has_a_recipe_for_every_published_data_set_and_the_small_ones():
    names = [row.name for row in recipes()]
    assert len(set(names)) == len(names)
    published = ("ade20k", "cityscapes", "coco_stuff164k", "pascal_context")
    expected = {f"{model}/{data}" for model in MODELS for data in ("scenes", "camvid", "folder")}
    expected |= {f"{model}/{data}" for model in MODELS for data in published if not model.startswith("nano")}
    assert set(names) == expected
    assert all(row == find_recipe(*split_name(row.name)) for row in recipes())


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1e-6),
        (1, 1e-6 + (1 - 1e-6) / 1499),
        (1499, 1.0),
        (1500, 1.0),
        (80_000, 1 - 78_500 / 158_499),
        (159_999, 0.0),
    ],
)
def test_rate_of_the_published_schedule(step, factor):
    assert schedule(step, find_recipe("offseg-t", "ade20k")) == pytest.approx(factor, rel=1e-9, abs=1e-12)


def test_rate_equals_the_chain_of_factors_by_which_mmengine_computes_it():
    for row in (
        find_recipe("offseg-t", "ade20k", steps=40, warmup_steps=7),
        find_recipe("mask2former-swin-t", "ade20k", steps=30),
    ):
        rate, begin, total = 1.0, row.warmup_steps, row.steps - row.warmup_steps - 1
        for step in range(row.steps):
            if step < begin:
                rate = 1e-6 + (1 - 1e-6) * step / (begin - 1)
            elif step == begin:
                rate = 1.0
            else:
                rate *= (1 - 1 / (total - (step - begin) + 1)) ** row.power
            assert schedule(step, row) == pytest.approx(rate, abs=1e-9), step
        assert rate == pytest.approx(0, abs=1e-9)


def test_values_may_be_written_as_in_yaml():
    row = find_recipe("offseg-t", "ade20k", crop="256x320", learning_rate="6e-5", window="none", stride="none")
    assert row.crop == (256, 320) and row.learning_rate == 6e-5 and row.window is row.stride is None
    row = find_recipe("offseg-t", "ade20k", short_sides=[100, 200], scale=[1, 2], clip_norm=1, photometric=False)
    assert (row.short_sides, row.scale, row.clip_norm, row.photometric) == ((100, 200), (1.0, 2.0), 1.0, False)


def test_a_short_run_warms_up_for_a_tenth_of_it():
    plain, offset = find_recipe("nano", "scenes", steps=77), find_recipe("nano-offset", "scenes", steps=77)
    assert plain.steps == offset.steps == 77 and plain.warmup_steps == 7
    assert (plain.model, offset.model) == ("nano", "nano-offset")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 10, "warmup_steps": 50}, "warmup_steps is 50; needed 0 to 9"),
        ({"learning_rate": -1}, "learning_rate is -1"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; needed a number"),
        ({"crop": (16, 64)}, "crop is"),
        ({"crop": (100, 128)}, "multiples of 32"),
        ({"crop": 64}, "crop is 64"),
        ({"crop": "1x2x3"}, "two numbers"),
        ({"steps": 1.5}, "steps is 1.5; needed a whole number"),
        ({"steps": "none"}, "steps cannot be none"),
        ({"photometric": 1}, "photometric is 1; needed true or false"),
        ({"window": "64x64"}, "needed both"),
        ({"clip_norm": 0}, "clip_norm is 0"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ],
)
def test_bad_values_say_what_is_needed(changes, message):
    with pytest.raises(ModelError, match=message):
        find_recipe("nano", "camvid", **changes)


def test_unknown_names_are_told():
    with pytest.raises(UnknownNameError, match="Did you mean 'camvid'"):
        find_recipe("nano", "camvit")
    with pytest.raises(UnknownNameError, match="Did you mean 'weight_decay'"):
        find_recipe("nano", "camvid", weight_decai=0.1)
    with pytest.raises(UnknownNameError, match="recipe field"):
        as_field("model", "nano")
    with pytest.raises(ModelError, match="no recipe to train nano on ade20k; there are recipes for it on scenes"):
        find_recipe("nano", "ade20k")
    with pytest.raises(ModelError, match="MODEL/DATA"):
        split_name("offseg-t")
    assert has_recipe("nano", "scenes") and not has_recipe("mine", "scenes") and not has_recipe("nano", "photographs")
