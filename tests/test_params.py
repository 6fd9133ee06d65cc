"""One door for configuration errors: each mistake gives one line that names key, value, rule and what to do."""

from __future__ import annotations

import copy
import math
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config import data as rules_of_data
from pipeline.config import models as rules_of_models
from pipeline.config.data import Bounce, Direction, ShapeMotion, ShapesParams
from pipeline.config.params import ParamsError, load_params, parse_params
from pipeline.config.rules import ORACLE_FRAMES, names_a_side
from pipeline.config.tree import Params
from pipeline.gan import generator
from pipeline.judge.oracles import reading
from pipeline.preset import merge, read_preset
from pipeline.synthetic import combinations, moving_digits, scene, shapes, words
from pipeline.synthetic.grammar import build_grammar
from pipeline.training.feed import SIDES
from tests.synthetic_toys import digits_params, shapes_params

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "tests/params.yaml"
PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


TREE: dict[str, Any] = yaml.safe_load(OWN.read_text(encoding="utf-8"))


@pytest.fixture
def tree() -> dict[str, Any]:
    return copy.deepcopy(TREE)


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree[section]
    tree[leaf] = value


def refusal(tree: dict[str, Any]) -> str:
    """The one line with which a tree is refused."""
    with pytest.raises(ParamsError) as caught:
        parse_params(tree, "params.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


# Files


def test_params_and_the_tests_own_are_valid() -> None:
    load_params(ROOT / "params.yaml")
    assert load_params(OWN).dataset == "shapes"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_valid_params(tree: dict[str, Any], name: str) -> None:
    merge(tree, read_preset(name, ROOT / "presets"))
    parse_params(tree, name)


def test_a_missing_key_and_a_missing_file_are_named(tree: dict[str, Any], tmp_path: Path) -> None:
    del tree["train"]["lr"]
    assert "train.lr: missing" in refusal(tree)
    with pytest.raises(ParamsError, match="no such params file"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "expected sections, got NoneType"),
        (b"- train\n", "expected sections, got list"),
        (b"train: [1, 2\n", "not YAML"),
        (b"train:\n\tlr: 1.0\n", "not YAML"),
        (b"train:\n  lr: 1.0\n  lr: 2.0\n", "'lr' stands twice"),
        (b"train: \xff\xfe\n", "not UTF-8"),
        (b"train: !!python/object:os.system {}\n", "not YAML"),
        (b"2: {}\n", "2: unknown key"),
        (b"[1, 2]: {}\n", "not YAML"),
        (b"a: &a {b: *a}\n", "not a tree of keys and plain values"),
        (b"a: &a [*a]\n", "not a tree of keys and plain values"),
    ],
)
def test_a_file_that_is_no_tree_of_sections_is_one_line(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(text)
    with pytest.raises(ParamsError) as caught:
        load_params(path)
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_sections_are_frozen(tree: dict[str, Any]) -> None:
    params = parse_params(copy.deepcopy(tree))
    with pytest.raises(ValueError, match="frozen"):
        params.train.lr = 1.0  # type: ignore[misc]


# Every key: what its type says


def keys_of(kind: type, model: type[BaseModel] = Params, prefix: str = "") -> Iterator[tuple[str, bool]]:
    """(key, whether its values stand in a list) of each key whose values are of this kind."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(kind, field.annotation, f"{prefix}{name}.")
        elif kind in (leaves := list(leaves_of(field.annotation))):
            assert leaves.count(kind) in (1, 2), (name, leaves)
            yield prefix + name, tuple in origins_of(field.annotation)


def leaves_of(annotation: Any) -> Iterator[Any]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return
    if origin is typing.Annotated:
        yield from leaves_of(args[0])
    elif args:
        for arg in args:
            yield from leaves_of(arg)
    else:
        yield annotation


def origins_of(annotation: Any) -> set[Any]:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    inner = [origins_of(arg) for arg in args if not isinstance(arg, str | int | types.EllipsisType)]
    return {origin}.union(*inner)


FLOATS, INTS, TEXTS, BOOLS = (dict(keys_of(kind)) for kind in (float, int, str, bool))


def test_the_walk_over_the_keys_finds_them() -> None:
    assert len(FLOATS) >= 30
    assert {"train.lr", "train.betas", "sampling.guidance_interval", "evaluate.guidance_scales"} <= set(FLOATS)
    assert {"download.path", "embed.encoder", "transcode.group"} <= set(TEXTS)
    assert {"unet.dim_mults", "shapes.objects", "unet.head_dim"} <= set(INTS)


@pytest.mark.parametrize("key", FLOATS)
def test_no_float_is_infinite_or_nan(tree: dict[str, Any], key: str) -> None:
    for value in (math.inf, -math.inf, math.nan, "inf", "nan", "1e999", 10**400):
        put(tree, key, [0.5, value] if FLOATS[key] else value)
        message = refusal(tree)
        assert message.startswith(f"params.yaml: {key}")
        assert "it should be a" in message


@pytest.mark.parametrize("key", [key for key in FLOATS if not FLOATS[key]])
def test_a_float_is_read_in_every_way_that_yaml_and_dvc_write_it(tree: dict[str, Any], key: str) -> None:
    section, name = key.split(".")
    default = float(tree[section][name])
    written = {f"{default:e}", repr(default), f"{default:.6E}", f"{default:e}".replace("e+00", "")}
    for text in written:
        tree[section][name] = yaml.safe_load(text)
        assert getattr(getattr(parse_params(tree), section), name) == default


@pytest.mark.parametrize("text", ["1e-05", "2.5e-06", "1E-5", "1.0e-5", "0.00001"])
def test_small_floats_are_floats(tree: dict[str, Any], tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(re.sub(r"(?m)^  lr: .*$", f"  lr: {text}", OWN.read_text(encoding="utf-8")), encoding="utf-8")
    assert load_params(path).train.lr == float(text)
    tree["evaluate"]["guidance_scales"] = [1.0, yaml.safe_load(text)]
    assert parse_params(tree).evaluate.guidance_scales == (1.0, float(text))


def test_text_that_looks_like_a_number_stays_text(tree: dict[str, Any]) -> None:
    tree["embed"]["revision"], tree["download"]["path"] = yaml.safe_load("1e10"), "1e-05"
    params = parse_params(tree)
    assert (params.embed.revision, params.download.path) == ("1e10", "1e-05")


WRONG_TYPES: dict[str, list[Any]] = {
    "float": ["fast", "", True, None, [], {}],
    "int": [1.5, 16.0, "16", "1e3", True, None, {}, -1, 10**12],
    "text": [3, 1.5, True, ["a"], {}, ""],
    "bool": [0, 1, "yes", None, [True]],
}


@pytest.mark.parametrize(
    ("kind", "key", "listed"),
    [
        (kind, key, listed)
        for kind, keys in (("float", FLOATS), ("int", INTS), ("text", TEXTS), ("bool", BOOLS))
        for key, listed in keys.items()
    ],
)
def test_a_value_of_another_type_is_refused_at_every_key(
    tree: dict[str, Any], kind: str, key: str, listed: bool
) -> None:
    section, name = key.split(".")
    before = tree[section][name]
    for value in WRONG_TYPES[kind]:
        if (value is None and is_nullable(key)) or (before == [] and isinstance(value, list)):
            continue
        put(tree, key, [value, *before[1:]] if listed and before else value)
        assert refusal(tree).startswith(f"params.yaml: {key}")


def is_nullable(key: str) -> bool:
    section, name = key.split(".")
    model = Params.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return type(None) in leaves_of(model.model_fields[name].annotation)


# Every key: its range and its rules

IMPOSSIBLE: list[tuple[str, Any, str]] = [
    ("dataset", "msrvtt", "is called videos now: write that"),
    ("dataset", "cats", "'shapes', 'moving_mnist' or 'videos'"),
    ("train", 3, "a section of keys"),
    ("train.sizee", 3, "unknown key"),
    ("train.size", 3, "dvc#10296"),
    ("shapes.nfiles", 3, "dvc#10296"),
    ("trian", {}, "unknown key"),
    # download
    ("download.source", "local", "download.path: null is not allowed: source=local needs"),
    ("download.in_place", True, "source=sample has no archive of yours"),
    ("download.source", "youtube", "'sample', 'emoji', 'kaggle' or 'local'"),
    ("download.videos_slug", "msrvtt", "write owner/name"),
    ("download.captions_slug", "a/b/c/d", "write owner/name"),
    ("download.videos_sha256", "abc", "64 hexadecimal digits"),
    ("download.captions_sha256", "g" * 64, "64 hexadecimal digits"),
    ("download.sample_clips", 3, "greater than or equal to 4"),
    ("download.seed", 2**31, "less than or equal"),
    # transcode
    ("transcode.resolution", 7, "greater than or equal to 8"),
    ("transcode.frames", 0, "greater than or equal to 1"),
    ("transcode.duration_s", 1e-9, "greater than or equal to 0.1"),
    ("transcode.duration_s", -2.0, "greater than or equal to 0.1"),
    ("transcode.fps", 0.0, "greater than or equal to 0.1"),
    ("transcode.fps", 60.0, "less than or equal to 50"),
    ("transcode.fit", "zoom", "'crop', 'pad' or 'stretch'"),
    ("transcode.background", "magenta", "white, gray, black, or '#rrggbb'"),
    ("transcode.split", "2k", "1k-A"),
    ("transcode.group", "(a", "is no regex"),
    ("transcode.group", r"\(a", "needs a (group)"),
    ("transcode.hold_out", "subject", "a list"),
    ("transcode.hold_out", ["subject", "subject"], "'subject' twice"),
    ("transcode.hold_out_share", 0.6, "less than or equal to 0.5"),
    ("transcode.clips_per_shard", 0, "greater than or equal to 1"),
    ("transcode.time_limit_s", 1e-6, "greater than or equal to 1"),
    ("transcode.memory_limit_gb", 0.001, "greater than or equal to 0.5"),
    ("transcode.max_rejected_share", 1.5, "less than or equal to 1"),
    # shapes
    ("shapes.train_clips", 0, "greater than or equal to 1"),
    ("shapes.val_clips", -1, "greater than or equal to 1"),
    ("shapes.resolution", 15, "greater than or equal to 16"),
    ("shapes.resolution", 20, "take 21 or more, or drop medium"),
    ("shapes.frames", 1, "greater than or equal to 2"),
    ("shapes.fps", 1e-9, "greater than or equal to 0.1"),
    ("shapes.shapes", ["hexagon"], "'circle', 'square', 'triangle' or 'star'"),
    ("shapes.shapes", [], "at least 1"),
    ("shapes.shapes", ["star", "star"], "'star' twice"),
    ("shapes.colours", ["red", "red"], "'red' twice"),
    ("shapes.colours", "red", "a list"),
    ("shapes.sizes", ["small", "small"], "'small' twice"),
    ("shapes.sizes", ["tiny"], "'small', 'medium' or 'large'"),
    ("shapes.motions", ["lefft"], "'left', 'right'"),
    ("shapes.motions", [], "at least 1"),
    ("shapes.motions", ["left", "up", "left"], "'left' twice"),
    ("shapes.motions", ["rotate-clockwise", "rotate-counterclockwise"], "a circle's turn cannot be seen"),
    ("shapes.speeds", ["slow", "slow"], "'slow' twice"),
    ("shapes.backgrounds", ["white", "white"], "'white' twice"),
    ("shapes.objects", [2, 2], "2 twice"),
    ("shapes.objects", [5], "less than or equal to 4"),
    ("shapes.held_out_share", 0.0, "set held_out_clips to 0 as well"),
    ("shapes.held_out_share", 0.001, "of 96 combinations it is less than one"),
    ("shapes.held_out_share", 0.6, "less than or equal to 0.5"),
    ("shapes.held_out_templates", 0, "set reworded_clips to 0 as well"),
    ("shapes.held_out_templates", 9, "less than or equal to 8"),
    ("shapes.captions_per_clip", 33, "train has 32 templates"),
    ("shapes.clips_per_shard", 10**6, "less than or equal to 10000"),
    # moving_mnist
    ("moving_mnist.source", "idx", "moving_mnist.path: null is not allowed: source=idx needs"),
    ("moving_mnist.slug", "mnist", "write owner/name"),
    ("moving_mnist.digits", [10], "less than or equal to 9"),
    ("moving_mnist.digits", [3, 3], "3 twice"),
    ("moving_mnist.objects", [3], "less than or equal to 2"),
    ("moving_mnist.motions", ["grow"], "'left', 'right'"),
    ("moving_mnist.motions", ["up", "up"], "'up' twice"),
    ("moving_mnist.digit_px", 40, "no room to move on 64 px; take 31 or less"),
    ("moving_mnist.digit_px", 7, "greater than or equal to 8"),
    ("moving_mnist.resolution", 16, "it leaves 1 digits of 8 px no room"),
    ("moving_mnist.frames", 4, "too few to see bounce-horizontal, which needs 6"),
    ("moving_mnist.held_out_share", 0.005, "less than one"),
    # embed
    ("embed.pooling", "max", "'mean' or 'cls'"),
    ("embed.max_tokens", 2, "greater than or equal to 3"),
    ("embed.max_tokens", 1024, "less than or equal to 512"),
    ("embed.dtype", "bfloat16", "'float16' or 'float32'"),
    ("embed.batch_size", 0, "greater than or equal to 1"),
    # judge
    ("judge.steps", 0, "greater than or equal to 1"),
    ("judge.batch_size", 1, "greater than or equal to 2"),
    ("judge.lr", 0.0, "greater than 0"),
    ("judge.width", 10**9, "less than or equal to 16384"),
    # unet
    ("unet.dim", 1, "greater than or equal to 4"),
    ("unet.dim", 2, "greater than or equal to 4"),
    ("unet.dim", 7, "take an even one"),
    ("unet.dim_mults", [1, 2, 2], "give one entry per level"),
    ("unet.dim_mults", [0, 1], "greater than or equal to 1"),
    ("unet.out_dim", 4, "clips have train.channels 3"),
    ("unet.init_kernel_size", 4, "take an odd one"),
    ("unet.patch", 7, "unet.patch 7"),
    ("unet.patch", 64, "unet.patch 64"),
    ("unet.fold_frames", [1, 3], "fold_frames [1, 3] folds 3"),
    ("unet.fold_frames", [2], "give one entry per level"),
    ("unet.unfold_frames", [16], "give one entry per level"),
    ("unet.unfold_frames", [1, 8], "gives back 8 frames"),
    ("unet.unfold_frames", [16, 1], "does not divide the 2 on the way down"),
    ("unet.blocks_per_level", 0, "greater than or equal to 1"),
    ("unet.norm", "batch", "'rms' or 'layer'"),
    ("unet.head_dim", 0, "greater than or equal to 1"),
    ("unet.block_type", "vit", "'resnet' or 'convnext'"),
    ("unet.attn_heads", 0, "greater than or equal to 1"),
    ("unet.spatial_attention", ["none"], "give one entry per level"),
    ("unet.temporal_attention", [True, False, True], "give one entry per level"),
    ("unet.joint_attention", [], "at least 1"),
    ("unet.cross_attention", True, "a list"),
    ("unet.mid_attention", "full", "'none', 'factored' or 'joint'"),
    ("unet.text_queries", -1, "greater than or equal to 0"),
    ("unet.cond_dim", 0, "greater than or equal to 1"),
    # diffusion
    ("diffusion.objective", "score", "'x0', 'eps' or 'v'"),
    ("diffusion.schedule", "linear", "'flow' or 'cosine'"),
    ("diffusion.num_train_timesteps", 1, "greater than or equal to 2"),
    ("diffusion.loss", "huber", "'l2' or 'l1'"),
    ("diffusion.loss_weight", "min_snr", "'none' or 'velocity'"),
    ("diffusion.loss_weight_max", 0.0, "greater than 0"),
    ("diffusion.t_mean", 1000.0, "less than or equal to 10"),
    ("diffusion.t_std", 0.0, "greater than 0"),
    ("diffusion.p_uncond", 1.0, "less than 1"),
    ("diffusion.threshold_percentile", 0.0, "greater than 0"),
    # train
    ("train.frames", 15, "does not divide by 16, the product of unet.fold_frames"),
    ("train.frames", 32, "clips of shapes have 16"),
    ("train.resolution", 60, "does not divide by 16 = unet.patch 8 x 2^1"),
    ("train.resolution", 2048, "less than or equal to 1024"),
    ("train.channels", 2, "1, 3 or 4"),
    ("train.steps", 0, "greater than or equal to 1"),
    ("train.batch_size", 10**6, "less than or equal to 65536"),
    ("train.accumulate", 5, "batch_size 32 does not divide"),
    ("train.optimizer", "sgd", "'adamw' or 'muon'"),
    ("train.lr", 0.0, "greater than 0"),
    ("train.lr", -1.0e-3, "greater than 0"),
    ("train.lr_muon", 0.0, "greater than 0"),
    ("train.weight_decay", -0.1, "greater than or equal to 0"),
    ("train.weight_decay", 1000.0, "wipe the weights out"),
    ("train.betas", [1.0, 1.0], "less than 1"),
    ("train.betas", [0.9], "too few values"),
    ("train.betas", [0.9, 0.9, 0.9], "at most 2"),
    ("train.warmup_steps", 1601, "the run has 1600 steps"),
    ("train.decay", "linear", "'cosine' or 'constant'"),
    ("train.final_lr_share", 1.5, "less than or equal to 1"),
    ("train.clip_grad_norm", -1.0, "greater than or equal to 0"),
    ("train.ema_decay", 1.0, "less than 1"),
    ("train.ema_start", 1600, "would never average"),
    ("train.ema_every", 2000, "would never average"),
    ("train.precision", "fp16", "'auto', 'fp32' or 'bf16'"),
    ("train.text_dropout", 1.1, "less than or equal to 1"),
    ("train.flip", True, "shapes.motions has left"),
    ("train.prob_focus_present", 0.5, "the network has none"),
    ("train.given_frames", [16], "a clip has 16 frames, and one at least is to be drawn"),
    ("train.given_frames", [0], "greater than or equal to 1"),
    ("train.given_frames", [2, 2], "2 twice"),
    ("train.given_share", 0.6, "less than or equal to 0.5"),
    ("train.given_share", 0.0, "greater than 0"),
    ("train.given_noise", -0.1, "greater than or equal to 0"),
    ("sampling.given_frames", 1, "not trained for given frames"),
    ("train.ram_budget_gb", 0.0, "greater than 0"),
    ("train.checkpoint_every", 0, "greater than or equal to 1"),
    ("train.sample_every", 0, "greater than or equal to 1"),
    ("train.val_every", 0, "greater than or equal to 1"),
    ("train.num_sample_rows", 1000, "less than or equal to 16"),
    # sampling
    ("sampling.sampler", "plms", "'ddpm', 'ddim', 'euler', 'heun', 'dpmpp_2m' or 'lcm'"),
    ("sampling.num_inference_steps", 0, "greater than or equal to 1"),
    ("sampling.shift", 0.0, "greater than 0"),
    ("sampling.t_start", 0.0, "greater than 0"),
    ("sampling.t_start", 1.5, "less than or equal to 1"),
    ("sampling.guidance_scale", -1.0, "greater than or equal to 0"),
    ("sampling.guidance_interval", [1.0, 0.5], "it holds no t"),
    ("sampling.guidance_interval", [0.5, 0.5], "it holds no t"),
    ("sampling.guidance_interval", [0.0, 1.5], "less than or equal to 1"),
    ("sampling.eta", 1.1, "less than or equal to 1"),
    # train_gan
    ("train_gan.frames", 32, "clips of shapes have 16"),
    ("train_gan.frames", 2, f"takes {ORACLE_FRAMES}"),
    ("train_gan.resolution", 48, "it is not 8 doubled; take 16, 32, 64"),
    ("train_gan.resolution", 8, "it is not 8 doubled"),
    ("train_gan.channels", 5, "1, 3 or 4"),
    ("train_gan.batch_size", 1, "greater than or equal to 2"),
    ("train_gan.betas", [0.5, 1.0], "less than 1"),
    ("train_gan.loss", "wgan", "'hinge' or 'bce'"),
    ("train_gan.r1_every", 0, "greater than or equal to 1"),
    ("train_gan.contrast_weight", -1.0, "greater than or equal to 0"),
    ("train_gan.hard_negatives", -1, "greater than or equal to 0"),
    ("train_gan.word_window", 4, "take an odd one"),
    ("train_gan.code_dim", 1, "greater than or equal to 2"),
    ("train_gan.base_dim", 0, "greater than or equal to 1"),
    ("train_gan.sprites", 0, "greater than or equal to 1"),
    ("train_gan.discriminator_frames", 17, "a clip has 16 frames"),
    ("train_gan.clip_resolution", 24, "take 8, 16 … up to that"),
    ("train_gan.clip_resolution", 128, "take 8, 16 … up to that"),
    ("train_gan.clip_resolution", 4, "take 8, 16 … up to that"),
    ("train_gan.num_sample_rows", 17, "less than or equal to 16"),
    # evaluate and report
    ("evaluate.prompts", 0, "greater than or equal to 1"),
    ("evaluate.batch_size", 0, "greater than or equal to 1"),
    ("evaluate.feature_clips", 1, "greater than or equal to 2"),
    ("evaluate.curve_prompts", 0, "greater than or equal to 1"),
    ("evaluate.guidance_scales", [], "at least 1"),
    ("evaluate.guidance_scales", [2.0, 2.0], "2.0 twice"),
    ("evaluate.guidance_scales", [-1.0], "greater than or equal to 0"),
    ("evaluate.steps", [10, 10], "10 twice"),
    ("evaluate.steps", [0], "greater than or equal to 1"),
    ("evaluate.showcase_prompts", 0, "greater than or equal to 1"),
    ("evaluate.showcase_seeds", 10**6, "less than or equal to 1000"),
    ("frames.clips", 1, "greater than or equal to 2"),
    ("frames.rollouts", 0, "greater than or equal to 2"),
    ("frames.rollout_frames", 0, "greater than or equal to 1"),
    ("frames.batch_size", 0, "greater than or equal to 1"),
    ("frames.shown", 0, "greater than or equal to 1"),
    ("frames.seed", -1, "greater than or equal to 0"),
    ("report.prompts", 0, "greater than or equal to 1"),
    ("report.seeds", 0, "greater than or equal to 1"),
]


@pytest.mark.parametrize(("key", "value", "says"), IMPOSSIBLE, ids=str)
def test_an_impossible_value_gives_one_line(tree: dict[str, Any], key: str, value: Any, says: str) -> None:
    put(tree, key, value)
    message = refusal(tree)
    assert message.startswith("params.yaml: ")
    assert key in message or key.split(".")[-1] in message
    assert says in message


def test_every_section_has_impossible_values() -> None:
    tried = {key.split(".")[0] for key, _, _ in IMPOSSIBLE}
    assert set(Params.model_fields) <= tried


TOGETHER: dict[str, tuple[str, dict[str, Any]]] = {  # what is said, by the key that is named
    "a circle cannot turn": (
        "shapes.shapes",
        {"shapes.shapes": ["circle"], "shapes.motions": ["rotate-clockwise", "left"]},
    ),
    "one colour cannot change": (
        "shapes.colours",
        {"shapes.colours": ["red"], "shapes.motions": ["change-colour", "left"]},
    ),
    "a zigzag takes nine frames": (
        "shapes.frames",
        {"shapes.frames": 8, "shapes.motions": ["zigzag-vertical", "left"]},
    ),
    "large objects have no room": ("shapes.objects", {"shapes.objects": [1, 2], "shapes.sizes": ["large"]}),
    "three objects differ": (
        "shapes.objects",
        {"shapes.objects": [3], "shapes.shapes": ["circle"], "shapes.colours": ["red", "blue"]},
    ),
    "each value stays in train": (
        "shapes.held_out_share",
        {"shapes.shapes": ["circle"], "shapes.colours": ["red"], "shapes.held_out_share": 0.25},
    ),
    "held-out clips of three objects": (
        "shapes.held_out_share",
        {"shapes.objects": [3], "shapes.held_out_share": 0.02},
    ),
    "fewer sentences for several": (
        "shapes.captions_per_clip",
        {"shapes.objects": [1, 2], "shapes.captions_per_clip": 21},
    ),
    "two digits need room": ("moving_mnist.digit_px", {"moving_mnist.objects": [1, 2], "moving_mnist.digit_px": 26}),
    "two digits differ": ("moving_mnist.objects", {"moving_mnist.objects": [2], "moving_mnist.digits": [3]}),
    "each digit stays in train": (
        "moving_mnist.held_out_share",
        {"moving_mnist.digits": [3], "moving_mnist.held_out_share": 0.5},
    ),
    "rotary positions turn pairs": (
        "unet.attn_dim_head",
        {"unet.attn_dim_head": 5, "unet.temporal_attention": [False, True]},
    ),
    "rotary positions in the middle": (
        "unet.attn_dim_head",
        {"unet.attn_dim_head": 1, "unet.mid_attention": "factored"},
    ),
    "too many levels": (
        "train.resolution",
        {
            "unet.dim_mults": [1, 1, 1, 1, 1],
            "unet.fold_frames": [2, 8, 1, 1, 1],
            "unet.unfold_frames": None,
            "unet.spatial_attention": ["none"] * 5,
            "unet.temporal_attention": [False] * 5,
            "unet.joint_attention": [False] * 5,
            "unet.cross_attention": [False] * 5,
        },
    ),
    "too few frames for an oracle": (
        "train.frames",
        {"train.frames": 2, "unet.fold_frames": [1, 1], "unet.unfold_frames": None},
    ),
    "more frames than the digits have": (
        "train.frames",
        {"dataset": "moving_mnist", "moving_mnist.frames": 8},
    ),
    "more frames than real clips have": ("train.frames", {"dataset": "videos", "transcode.frames": 8}),
    "a GAN of more frames than real clips have": (
        "train_gan.frames",
        {"dataset": "videos", "transcode.frames": 16, "train_gan.frames": 17},
    ),
    "a mirrored digit": ("train.flip", {"dataset": "moving_mnist", "train.flip": True}),
    "a mirrored relation": (
        "train.flip",
        {"train.flip": True, "shapes.motions": ["up", "down"], "shapes.kinds": ["objects", "relations"]},
    ),
    "a mirrored turn": ("train.flip", {"train.flip": True, "shapes.motions": ["up", "rotate-clockwise"]}),
    "grey clips, coloured answer": ("unet.out_dim", {"train.channels": 1, "unet.out_dim": 3}),
    "nobody hears the caption": ("train.text_dropout", {"train.text_dropout": 1.0, "unet.text_queries": 0}),
    "Muon's weight decay": ("train.weight_decay", {"train.weight_decay": 10.0, "train.lr_muon": 0.1}),
    "guidance from a null caption that nobody trained": (
        "diffusion.p_uncond",
        {"diffusion.p_uncond": 0.0, "sampling.guidance_scale": 2.0},
    ),
    "given frames of a network that takes none": ("sampling.given_frames", {"sampling.given_frames": 1}),
    "given frames that it was not trained for": (
        "sampling.given_frames",
        {"train.given_frames": [1, 2], "sampling.given_frames": 4},
    ),
    "long clips that windows do not make": (
        "frames.rollout_frames",
        {"train.given_frames": [1, 8], "frames.rollout_frames": 250},
    ),
    "a short run": ("train.warmup_steps", {"train.steps": 20, "train.warmup_steps": 21}),
}


@pytest.mark.parametrize("name", TOGETHER)
def test_values_that_do_not_go_together_give_one_line(tree: dict[str, Any], name: str) -> None:
    key, changes = TOGETHER[name]
    for each, value in changes.items():
        put(tree, each, value)
    assert refusal(tree).startswith(f"params.yaml: {key}: ")


FINE: dict[str, dict[str, Any]] = {  # a rule between sections counts for stages that the graph runs, and no others
    "flip without sides": {"train.flip": True, "shapes.motions": ["up", "down", "grow", "shrink"]},
    "flip of real clips, whose captions the stage reads": {"train.flip": True, "dataset": "videos"},
    "short digits that nobody trains on": {"moving_mnist.frames": 6},
    "short real clips that nobody trains on": {"transcode.frames": 1},
    "a circle among shapes that turn": {"shapes.motions": ["rotate-clockwise", "left", "right"]},
    "an odd head without attention along time": {"unet.attn_dim_head": 5},
    "no null caption, no guidance": {"diffusion.p_uncond": 0.0, "sampling.guidance_scale": 1.0},
    "still frames with temporal attention": {"train.prob_focus_present": 0.5, "unet.temporal_attention": [True, False]},
    "clips enlarged": {"train.resolution": 128},
    "a path that only idx reads": {"moving_mnist.path": "mnist"},
    "a step count in both": {"train.steps": 12, "train.warmup_steps": 12},
    "given frames that it was trained for": {"train.given_frames": [1, 4], "sampling.given_frames": 4},
    "one token is enough": {"unet.text_queries": 0, "train.text_dropout": 0.3},
    "a report of more than there is": {"report.prompts": 13},
}


@pytest.mark.parametrize("name", FINE)
def test_values_that_go_together_pass(tree: dict[str, Any], name: str) -> None:
    for key, value in FINE[name].items():
        put(tree, key, value)
    parse_params(tree)


# The door's numbers are those of the code behind it


def test_rules_hold_the_numbers_of_the_code_that_they_guard() -> None:
    least = {size: math.ceil(3.0 / share) for size, share in scene.RADIUS_SHARE.items()}
    assert least == rules_of_data.LEAST_RESOLUTION
    assert rules_of_data.SEVERAL_SIZES == shapes.SEVERAL_SIZES
    assert rules_of_data.LEAST_SEEN == combinations.LEAST_SEEN
    assert rules_of_models.GAN_STEM == generator.STEM
    assert ORACLE_FRAMES == reading.LEAST_FRAMES
    for objects, resolution in (((1,), 64), ((1, 2), 64), ((2,), 100)):
        params = digits_params(objects=objects, resolution=resolution)
        assert params.largest_digit_px() == moving_digits._largest_px(params)
    for held_out in (1, 4, 8):
        one, several = build_grammar(shapes_params(held_out_templates=held_out), (1, 2)).train
        sentences = rules_of_data.TRAIN_SENTENCES
        assert len(one) == sentences["one"] + rules_of_data.NEW_SENTENCES - held_out
        assert len(several) == sentences["several"] + rules_of_data.NEW_SENTENCES - held_out


def test_a_motion_names_a_side_where_its_words_do() -> None:
    motions = {word for union in (ShapeMotion, Direction, Bounce) for word in literals(union)}
    said = {**words.WAYS, **words.PHRASES}
    assert motions == set(said)
    for motion in motions:
        assert names_a_side(motion) == bool(SIDES.search(str(said[motion]))), motion


def literals(union: Any) -> Iterator[str]:
    for arg in typing.get_args(union):
        yield from [arg] if isinstance(arg, str) else literals(arg)


def test_a_set_that_passes_the_door_can_be_drawn() -> None:
    """The smallest sets that pass: combinations are found for train and for held_out, and objects to draw them with."""
    passed = 0
    for colours in (["red"], ["red", "blue"], ["red", "blue", "green"]):
        for motions in (["left", "rotate-clockwise"], ["up", "change-colour", "grow"]):
            for objects in ([1], [3]):
                for share in (0.1, 0.25, 0.5):
                    changes = {"colours": colours, "motions": motions, "objects": objects, "held_out_share": share}
                    try:
                        params = shapes_params(shapes=["circle", "square"], **changes)
                    except ValidationError:
                        continue
                    drawn = shapes.shapes_set(params)
                    found = [*drawn.combinations.seen, *drawn.combinations.held_out]
                    assert sorted(found) == sorted(params.combinations())
                    assert len(drawn.row("held_out", 0).attributes["objects"]) in objects
                    passed += 1
    assert passed > 8


def test_a_section_reads_lists_and_tuples_alike() -> None:
    values = load_params(OWN).shapes.model_dump()
    assert ShapesParams.read(values) == ShapesParams.read({**values, "shapes": list(values["shapes"])})
