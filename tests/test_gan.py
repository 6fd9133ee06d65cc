"""The GAN baseline: text and code both steer the video, its frames belong together, and a run survives a kill."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from pipeline.config.params import load_params, parse_params
from pipeline.config.training import TrainGanParams
from pipeline.gan.batches import make_batch
from pipeline.gan.discriminators import Discriminator, Views
from pipeline.gan.generator import Layers, VideoGenerator, doublings, render
from pipeline.gan.hard_negatives import HardNegatives
from pipeline.gan.losses import contrastive_loss, discriminator_loss, generator_loss, r1_penalty
from pipeline.gan.text_encoder import Vocabulary, WordEmbedding
from pipeline.gan.training import GanTrainer
from pipeline.model_io.tensors import to_model
from pipeline.sampling.video_model import load_model
from pipeline.text.vocabulary import vocabulary_of
from pipeline.training.feed import open_feed
from pipeline.training.trainer import Values
from stages.train_gan import main
from tests.training_toys import COLOURS, FRAMES, SIDE, toy_clip, toy_params, write_toy_set

ROOT = Path(__file__).parents[1]
CLIPS = [toy_clip("train", number) for number in range(24)]
CAPTIONS = [caption for clip in CLIPS for caption in clip.captions]
WORDS = vocabulary_of(CAPTIONS)


def gan_tree(**changes: Any) -> dict[str, Any]:
    tree = toy_params().model_dump(mode="json")
    tree["train_gan"] |= {"frames": FRAMES, "resolution": SIDE, "steps": 12, "batch_size": 4, "base_dim": 16}
    tree["train_gan"] |= {"code_dim": 16, "word_dim": 8, "discriminator_dim": 8, "clip_resolution": 8, "r1_every": 4}
    tree["train_gan"] |= {"checkpoint_every": 3, "sample_every": 6, "num_sample_rows": 2}
    tree["train_gan"] |= changes
    return tree


def gan_params(**changes: Any) -> TrainGanParams:
    return parse_params(gan_tree(**changes)).train_gan


def networks(params: TrainGanParams, words: tuple[str, ...] = WORDS) -> tuple[VideoGenerator, Discriminator]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return VideoGenerator(params, words), Discriminator(params)


def gan_trainer(folder: Path, params: TrainGanParams) -> GanTrainer:
    """A trainer of the toy networks on the set in `folder`."""
    return GanTrainer(*networks(params), open_feed(folder, params), params, torch.device("cpu"))


def trained(folder: Path, params: TrainGanParams, steps: int) -> GanTrainer:
    trainer = gan_trainer(folder, params)
    for step in range(steps):
        trainer.step(step, trainer.prepare(step))
    return trainer


@pytest.fixture(scope="module")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_set(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def toy_gan(toy_set: Path) -> GanTrainer:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same GAN each time
    try:
        return trained(toy_set, gan_params(batch_size=8), 300)
    finally:
        torch.set_num_threads(threads)


# The words


def test_vocabulary_is_the_same_in_any_order_of_captions() -> None:
    assert vocabulary_of(["b a", "c"]) == vocabulary_of(["c", "a b"])
    assert Vocabulary(["b", "a"]).indices(["a b", "b"]).tolist() == [[2, 3], [3, 0]]


def test_unknown_words_say_nothing() -> None:
    vocabulary = Vocabulary(["red", "circle"])
    table = WordEmbedding(len(vocabulary), 5, 1)
    assert torch.equal(table(vocabulary.indices(["wobbly"])), torch.zeros(1, 5))


def test_a_caption_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="has no words"):
        Vocabulary(["red"]).indices(["red", " . "])


def test_padding_does_not_change_a_caption() -> None:
    vocabulary = Vocabulary(WORDS)
    for window in (1, 3):
        table = WordEmbedding(len(vocabulary), 6, window)
        alone = table(vocabulary.indices([CLIPS[0].captions[0]]))
        padded = table(vocabulary.indices([CLIPS[0].captions[0], "a red square moving up and " + "a " * 9]))
        assert torch.allclose(alone[0], padded[0], atol=1e-6)


def test_a_window_reads_the_order_of_words_and_the_mean_does_not() -> None:
    vocabulary = Vocabulary(["from", "left", "right", "to"])
    both = vocabulary.indices(["from left to right", "from right to left"])
    mean, phrase = (WordEmbedding(len(vocabulary), 16, window)(both) for window in (1, 3))
    assert torch.allclose(mean[0], mean[1], atol=1e-6)
    assert not torch.allclose(phrase[0], phrase[1], atol=1e-2)


# Hard negatives


def test_hard_negatives_differ_in_one_word() -> None:
    captions = [
        "a red square",
        "A blue square.",
        "a red circle",
        "a blue circle moving",
        "the red star",
        "a red square",
    ]
    negatives = HardNegatives(captions)
    assert sorted(map(sorted, negatives.by_position("a red square"))) == [["A blue square."], ["a red circle"]]
    assert negatives.by_position("the red star") == negatives.by_position("never features") == []


def test_hard_negatives_are_drawn_word_by_word_and_alike_in_any_order_of_captions() -> None:
    captions = [f"a {colour} {shape}" for colour in ("red", "blue", "green") for shape in ("circle", "square")]
    for seed in range(5):
        drawn = [
            HardNegatives(given).draw("a red circle", 2, np.random.default_rng(seed))
            for given in (captions, captions[::-1])
        ]
        assert drawn[0] == drawn[1]
        assert sum("red" in negative for negative in drawn[0]) == 1
    assert len(HardNegatives(captions).draw("a red circle", 5, np.random.default_rng(0))) == 5
    assert HardNegatives(captions).draw("alone", 2, np.random.default_rng(0)) == []


def test_a_batch_marks_which_captions_have_hard_negatives() -> None:
    vocabulary = Vocabulary(["a", "blue", "long", "one", "red"])
    batch = make_batch(torch.zeros(2, 1), ["a red one", "a"], [["a blue one"], []], 1, vocabulary.indices)
    assert batch.negatives_mask.tolist() == [[True], [False]]
    assert torch.equal(batch.text, vocabulary.indices(["a red one", "a"]))
    assert torch.equal(batch.negatives[:, 0], vocabulary.indices(["a blue one", "a"]))
    assert make_batch(torch.zeros(2, 1), ["a", "one"], [[], []], 0, vocabulary.indices).negatives.shape == (2, 0, 1)


# The generator


def sampled(generator: VideoGenerator, caption: str, seed: int) -> Tensor:
    with torch.no_grad():
        return generator.sample([caption], [seed])[0]


def test_samples_have_the_shape_and_range_of_the_params() -> None:
    for channels in (1, 3, 4):
        generator, _ = networks(gan_params(channels=channels, sprites=2))
        video = generator.sample(["a red square moving up", "a blue square moving down"], [0, 1])
        assert video.shape == (2, channels, FRAMES, SIDE, SIDE)
        assert video.isfinite().all()


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    generator, _ = networks(gan_params())
    captions, seeds = ["a red square moving up", "a blue square moving down and down"], [3, 4]
    together = generator.sample(captions, seeds)
    for place in (0, 1):
        assert torch.equal(together[place], generator.sample(captions[place:][:1], seeds[place:][:1])[0])


def test_text_and_code_both_change_the_video() -> None:
    generator, _ = networks(gan_params())
    red = sampled(generator, "a red square moving up", 0)
    assert torch.equal(red, sampled(generator, "a red square moving up", 0))
    assert (red - sampled(generator, "a blue square moving down", 0)).abs().max() > 1e-3
    assert (red - sampled(generator, "a red square moving up", 1)).abs().max() > 1e-3


def test_every_code_reaches_the_video() -> None:
    generator, _ = networks(gan_params())
    text = generator.vocabulary.indices(["a red square moving up"])
    noise = torch.randn(1, generator.params.noise_dim + generator.params.motion_dim, requires_grad=True)
    (reached,) = torch.autograd.grad(generator(noise, text).square().sum(), noise)
    assert (reached != 0).all()


def test_a_sprite_goes_where_its_pose_says() -> None:
    sprite = torch.zeros(1, 1, 4, 16, 16)
    sprite[:, :, :, 6:10, 6:10] = 1.0
    poses = torch.zeros(1, 3, 1, 4)
    poses[0, 1, 0, 0], poses[0, 2, 0, 1] = 0.5, -0.25  # in half sides: 4 px to the right, 2 px up
    video = render(Layers(-torch.ones(1, 3, 16, 16), sprite, poses, torch.zeros(1, 3, 1, 3)))
    weight = (video[0, 0] + 1).double()
    grid = torch.arange(16, dtype=torch.float64) + 0.5
    x, y = ((weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (grid[None, None], grid[None, :, None]))
    assert torch.allclose(x, torch.tensor([8.0, 12.0, 8.0], dtype=torch.float64), atol=1e-3)
    assert torch.allclose(y, torch.tensor([8.0, 8.0, 6.0], dtype=torch.float64), atol=1e-3)


def test_a_small_rendering_is_the_large_one_averaged() -> None:
    generator, _ = networks(gan_params(resolution=64))
    noise = generator.noise([torch.Generator().manual_seed(0)])
    with torch.no_grad():
        layers = generator.layers(noise, generator.vocabulary.indices(["a red square moving up"]))
        large, small = render(layers), render(layers, 32)
    averaged = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).view_as(small)
    assert (averaged - small).abs().mean() < 0.1 * averaged.std()


def test_a_resolution_that_is_no_doubling_is_refused() -> None:
    assert [doublings(side) for side in (16, 32, 64)] == [1, 2, 3]
    for side in (8, 24, 100):
        with pytest.raises(ValueError, match=r"train_gan\.resolution"):
            doublings(side)


# The losses


def test_losses_at_known_logits() -> None:
    good, bad = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 1.0])
    assert float(discriminator_loss("hinge", good, bad, None)) == pytest.approx(0.5 + 1.0)
    assert float(discriminator_loss("hinge", good, bad, torch.tensor([3.0]))) == pytest.approx(0.5 + (1.0 + 4.0) / 2)
    assert float(discriminator_loss("hinge", good, bad, torch.empty(0))) == pytest.approx(1.5)
    assert float(generator_loss("hinge", bad)) == pytest.approx(1.0)
    log2 = float(np.log(2.0))
    assert float(discriminator_loss("bce", torch.zeros(3), torch.zeros(3), None)) == pytest.approx(2 * log2)
    assert float(generator_loss("bce", torch.zeros(3))) == pytest.approx(log2)


def test_r1_of_a_linear_discriminator_is_half_its_squared_slope() -> None:
    slope, x = torch.tensor([3.0, 4.0]), torch.randn(5, 2, requires_grad=True)
    assert float(r1_penalty(x @ slope, [x])) == pytest.approx(12.5, rel=1e-5)


def test_contrast_knows_its_own_and_forgives_equal_captions() -> None:
    vectors = torch.eye(4)
    other = torch.zeros(4, 4, dtype=torch.bool)
    assert float(contrastive_loss(vectors, vectors, other)) < 1e-3
    assert float(contrastive_loss(vectors, vectors.roll(1, 0), other)) > 5
    twins = torch.eye(2)[[0, 0, 1, 1]]
    equal = (twins @ twins.T).bool()
    assert float(contrastive_loss(twins, twins, other)) > 0.6  # ln 2: a twin is as near as the clip's own
    assert float(contrastive_loss(twins, twins, equal)) < 1e-3


def test_contrast_counts_only_the_negatives_that_there_are() -> None:
    vectors, same = torch.eye(4), torch.eye(4).bool()
    negatives, mask = vectors[:, None], torch.tensor([[True], [False], [False], [False]])
    plain = float(contrastive_loss(vectors, vectors, same))
    assert float(contrastive_loss(vectors, vectors, same, negatives, ~mask & mask)) == pytest.approx(plain)
    assert float(contrastive_loss(vectors, vectors, same, negatives, mask)) == pytest.approx(np.log(2) / 8, rel=0.01)


# The discriminators


def test_the_frame_discriminator_sees_what_and_the_clip_discriminator_where() -> None:
    _, discriminator = networks(gan_params(resolution=64))
    video = torch.ones(2, 3, FRAMES, 64, 64)
    video[0, 0, :, 25:30, 25:30] = video[1, 0, :, 33:38, 33:38] = -1.0  # a whole cell of the pooled grid apart
    with torch.no_grad():
        features = discriminator.features(Views(video[:, :, :1], discriminator.shrink(video)))
    assert torch.allclose(features.frames[0], features.frames[1], atol=1e-5)
    assert not torch.allclose(features.clip[0], features.clip[1], atol=1e-3)


# The step


def test_the_discriminators_train_the_text_encoder_and_each_side_its_own_weights(toy_set: Path) -> None:
    gan = gan_trainer(toy_set, gan_params())
    own = {id(weight) for weight in gan.generator.own_parameters()}
    encoder = {id(weight) for weight in gan.generator.reader.parameters()}
    by_d = {id(weight) for group in gan.optimizer_d.param_groups for weight in group["params"]}
    by_g = {id(weight) for group in gan.optimizer_g.param_groups for weight in group["params"]}
    assert not own & encoder
    assert own | encoder == {id(weight) for weight in gan.generator.parameters()}
    assert by_g == own
    assert by_d == encoder | {id(weight) for weight in gan.discriminator.parameters()}


@pytest.mark.slow
def test_a_step_repeats_from_its_seed(toy_set: Path) -> None:
    first, second = trained(toy_set, gan_params(), 3), trained(toy_set, gan_params(), 3)
    for name, weight in first.generator.state_dict().items():
        assert torch.equal(weight, second.generator.state_dict()[name]), name
    start, average = networks(gan_params())[0].state_dict(), first.ema.network.state_dict()
    for name in ("canvas.stem.weight", "reader.source.table"):
        assert not torch.equal(average[name], start[name])
        assert not torch.equal(average[name], first.generator.state_dict()[name])


@pytest.mark.slow
def test_a_mismatched_caption_scores_lower(toy_gan: GanTrainer) -> None:
    discriminator, generator = toy_gan.discriminator, toy_gan.generator
    video = to_model(np.stack([clip.frames for clip in CLIPS]))
    others = [CLIPS[(number + 1) % 24].captions[0] for number in range(24)]  # another colour
    with torch.no_grad():
        features = discriminator.features(Views(video, discriminator.shrink(video)))
        scores = [
            discriminator.logits(features, generator.reader(generator.vocabulary.indices(captions)))
            for captions in ([clip.captions[0] for clip in CLIPS], others)
        ]
    for right, wrong in zip(*scores, strict=True):
        assert right.mean() > wrong.mean() + 0.5


@pytest.mark.slow
def test_training_teaches_the_colour_of_the_caption(toy_gan: GanTrainer) -> None:
    params = toy_gan.params
    assert params.batch_size == 8
    named = list(COLOURS)[:3]
    right = 0
    for seed, colour in enumerate(named * 4):
        video = sampled(toy_gan.generator, f"a {colour} square moving up", seed)
        shades = torch.tensor([[value / 127.5 - 1 for value in COLOURS[name]] for name in named])
        ink = video.flatten(1)[:, video.amin(0).flatten() < 0.0]  # what is not white
        distance = (ink.mean(1) - shades).abs().sum(1) if ink.shape[1] else torch.zeros(3)
        right += int(distance.argmin()) == named.index(colour)
    assert right >= 8, f"{right} of 12"


def test_frames_belong_together() -> None:
    """By the network's build, before it learns anything: later the toy's clips are too alike to tell."""
    generator, _ = networks(gan_params(batch_size=8))

    def drawn(number: int, seed: int) -> Tensor:
        return generator.sample([CLIPS[number].captions[0]], [seed]).detach()[0]

    def steps(video: Tensor) -> Tensor:
        return (video[:, :, 1:] - video[:, :, :-1]).abs().mean()

    video = torch.stack([drawn(n, n) for n in range(8)])
    moved, order = steps(video), torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    assert moved > 0
    assert steps(video[:, :, order]) > 1.5 * moved
    other_clips = (video[1:] - video[:-1]).abs().mean()
    assert moved < 0.5 * other_clips
    strangers = torch.stack([torch.stack([drawn(n, 100 * n + f)[:, f] for f in range(8)], dim=1) for n in range(8)])
    assert steps(strangers) > 0.8 * other_clips


# The stage


def run_main(root: Path, **changes: Any) -> dict[str, Path]:
    """Run the stage on the toy set below root."""
    outputs = {
        "model": root / "models/gan",
        "plots": root / "plots/train_gan",
        "metrics": root / "metrics/train_gan.json",
    }
    params = root / "params.yaml"
    params.write_text(yaml.safe_dump(gan_tree(**changes)), encoding="utf-8")
    main(params_path=params, shards=root / "data/shards", **outputs)
    return outputs


def model_bytes(root: Path) -> dict[str, bytes]:
    names = ("models/gan/weights.safetensors", "models/gan/model.json", "plots/train_gan/loss.csv")
    return {name: (root / name).read_bytes() for name in names}


@pytest.fixture
def toy_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    write_toy_set(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_stage_leaves_a_model_samples_losses_and_metrics(toy_root: Path) -> None:
    outputs = run_main(toy_root)
    assert sorted(path.name for path in outputs["model"].iterdir()) == ["model.json", "weights.safetensors"]
    header, *rows = (outputs["plots"] / "loss.csv").read_text().splitlines()
    assert header == "step,loss_d,loss_g,contrast_d,contrast_g,r1"
    assert len(rows) == 12
    metrics = yaml.safe_load(outputs["metrics"].read_text())
    assert metrics["clips_seen"] == 48
    assert metrics["train_clips"] == 24
    samples = toy_root / ".scratch/train_gan/samples"
    assert {path.name for path in samples.iterdir()} >= {"latest.gif", "step-000006.png", "prompts.txt"}
    card = load_model(outputs["model"]).card
    assert (card.family, card.frames, card.vocabulary) == ("gan", FRAMES, WORDS)
    assert card.text is None


SAMPLE = """
import hashlib, sys
from pipeline.sampling.video_model import load_model
video = load_model(sys.argv[1]).sample(["a red square moving up", "a green square, wobbling"], [5, 6])
print(hashlib.sha256(video.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_a_saved_model_gives_the_same_video_in_a_new_process(toy_root: Path) -> None:
    model = run_main(toy_root)["model"]
    environment = process_like_this() | {"PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", SAMPLE, str(model)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment).stdout
    here = load_model(model).sample(["a red square moving up", "a green square, wobbling"], [5, 6])
    assert told.strip() == hashlib.sha256(here.tobytes()).hexdigest()
    assert np.array_equal(here[:1], load_model(model).sample(["a red square moving up"], [5]))


@pytest.mark.slow
def test_an_interrupted_run_ends_in_the_same_bytes(
    toy_root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_main(toy_root)
    whole = model_bytes(toy_root)
    other = tmp_path_factory.mktemp("other")
    write_toy_set(other)
    monkeypatch.setenv("DVC_ROOT", str(other))
    step, steps_done = GanTrainer.step, []

    def interrupted(self: GanTrainer, *args: Any) -> Values:
        steps_done.append(1)
        if len(steps_done) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *args)

    monkeypatch.setattr(GanTrainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="after step 5 of 12"):
        run_main(other)
    run_main(other)
    assert len(steps_done) == 12
    assert model_bytes(other) == whole


@pytest.mark.slow
def test_a_killed_run_ends_in_the_same_bytes(toy_root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    steps = {"steps": 24, "checkpoint_every": 2, "sample_every": 24}
    whole, killed = toy_root, tmp_path_factory.mktemp("killed")
    run_main(whole, **steps)
    write_toy_set(killed)
    shutil.copy(whole / "params.yaml", killed)
    process = start_stage(killed)
    deadline = time.monotonic() + 120
    while not list((killed / ".scratch").rglob("step-*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (killed / "models/gan").exists()
    assert start_stage(killed).wait() == 0
    assert model_bytes(whole) == model_bytes(killed)


def process_like_this() -> dict[str, str]:
    """The environment of a process that counts with as many threads as this one: its sums have the same order."""
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(torch.get_num_threads())}


def start_stage(root: Path) -> subprocess.Popen[bytes]:
    """The stage as its own process, in `root`."""
    environment = process_like_this() | {"DVC_ROOT": str(root)}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.train_gan"], cwd=root, env=environment, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_step_and_seed(toy_root: Path) -> None:
    with pytest.raises(ValueError, match=r"at step \d+ \(train_gan.seed=0\): training diverged; lower train_gan.lr"):
        run_main(toy_root, lr=1.0e30, lr_discriminator=1.0e30)
    assert not (toy_root / "models/gan").exists()


# The params


def test_the_old_settings_are_a_preset() -> None:
    tree = load_params(ROOT / "tests/params.yaml").model_dump(mode="json")
    overlay = yaml.safe_load((ROOT / "presets/seed_gan.yaml").read_text())
    for section, values in overlay.items():
        tree[section] |= values
    params = parse_params(tree).train_gan
    assert (params.lr, params.betas, params.batch_size, params.loss) == (2e-4, (0.5, 0.999), 16, "bce")
    generator, _ = networks(params, ("circle", "down"))
    assert generator.canvas.stem.out_features == 256 * 8 * 8
    content: Any = generator.content[0]
    assert content.in_features - 100 == generator.reader.mix[1].out_features
