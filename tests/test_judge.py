"""The judge stage on toy sets: what it writes, loads back, reads and refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline.config.data import MovingMnistParams, ShapesParams
from pipeline.config.evaluation import JudgeParams
from pipeline.config.params import load_params
from pipeline.data.gif import Clip
from pipeline.data.shards import Row, load_rows, to_row, write_set, write_shard
from pipeline.judge.build import digit_crops
from pipeline.judge.digit_training import augment, train_digit_reader
from pipeline.judge.features import FeatureNet, attribute_targets
from pipeline.judge.judge import Judge, JudgeCard, load_judge, save_judge
from pipeline.judge.oracles.digit_classifier import NO_DIGIT, SIDE, DigitReader, vote
from pipeline.judge.oracles.digits import cut_out, find_strokes, read_digits
from pipeline.judge.oracles.score_reading import score_reading
from pipeline.judge.retrieval import recall, recall_metrics, train_retrieval
from pipeline.synthetic.digits import load_digit_bank
from pipeline.synthetic.moving_digits import DigitsSet, digits_set
from pipeline.synthetic.shapes import ShapesSet, shapes_set
from stages.judge import main

PARAMS = Path(__file__).with_name("params.yaml")


def toy_set(made: ShapesSet | DigitsSet, root: Path, train: int, val: int) -> None:
    counts = {"train": train, "val": val}
    rows = [made.row(split, index) for split, count in counts.items() for index in range(count)]
    write_shard(root / made.name / "shard-00000.parquet", rows)
    write_set(root / made.name, {**made.description(), "counts": counts})


def params_file(path: Path, dataset: str, **judge: Any) -> Path:
    tree = yaml.safe_load(PARAMS.read_text())
    tree["dataset"] = dataset
    tree["judge"] |= {"steps": 12, "batch_size": 8, "width": 8, "feature_dim": 8} | judge
    path.write_text(yaml.safe_dump(tree))
    return path


def run(root: Path, dataset: str, out: str = "judge", **judge: Any) -> Judge:
    main(
        params_path=params_file(root / "params.yaml", dataset, **judge),
        shards=root / "shards",
        out=root / out,
        metrics=root / "metrics.json",
    )
    return load_judge(root / out)


def shapes(**changes: Any) -> ShapesSet:
    return shapes_set(ShapesParams.read(load_params(PARAMS).shapes.model_dump() | changes))


def digits(**changes: Any) -> DigitsSet:
    section = MovingMnistParams.read(load_params(PARAMS).moving_mnist.model_dump() | changes)
    return digits_set(section, load_digit_bank(section))


@pytest.mark.slow
def test_a_judge_of_shapes_is_whole_repeatable_and_reads(tmp_path):
    made = shapes()
    toy_set(made, tmp_path / "shards", train=24, val=6)
    judge = run(tmp_path, "shapes")
    clips = np.stack([made.row("held_out", index).frames() for index in range(4)])
    features = judge.features(clips)
    assert features.shape == (4, 8)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(judge.features(clips[:1]), features[:1], atol=1e-4)
    assert judge.features(clips[:, ::2, ::2, ::2]).shape == (4, 8), "any frame count and resolution"
    assert judge.score(clips[0], made.row("held_out", 0).attributes)["joint"]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["oracle_on_real.joint"] == 1.0
    assert metrics["train_clips"] == 24
    ladder = json.loads((tmp_path / "judge/ladder.json").read_text())
    assert ladder["clips"] == 6
    assert len(ladder["rungs"]) == 32

    run(tmp_path, "shapes", out="again")
    for name in ("weights.safetensors", "judge.json", "ladder.json"):
        assert (tmp_path / "judge" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


@pytest.mark.slow
def test_a_judge_of_digits_learns_to_read_them(tmp_path):
    made = digits(digits=[0, 1, 7], objects=[1, 2], motions=["left", "right", "up", "bounce-vertical"])
    crops, labels = digit_crops(load_rows(made.row("train", index) for index in range(100)))
    params = JudgeParams(steps=100, batch_size=32, lr=1e-3, width=8, feature_dim=8, seed=0)
    reader = train_digit_reader(crops, labels, params, torch.device("cpu"))
    card = JudgeCard("moving_mnist", 64, 16, 8, 8, made.description()["attributes"], {})
    save_judge(tmp_path, Judge(card, FeatureNet(8, 8), torch.zeros(8), torch.ones(8), digit_reader=reader), None)
    judge = load_judge(tmp_path)
    scores = [judge.score(row.frames(), row.attributes) for row in (made.row("val", 20 + k) for k in range(20))]
    assert np.mean([score["count"] for score in scores]) == 1.0
    assert np.mean([score["motion"] for score in scores]) == 1.0
    assert np.mean([score["digit"] for score in scores]) >= 0.8
    frames = made.row("val", 3).frames()
    assert judge.read(np.zeros_like(frames)).count == 0
    assert judge.read(255 - frames).count == -1, "black on white is none of these"


def test_a_set_of_digits_gets_a_judge_with_a_reader(tmp_path):
    made = digits(digits=[0, 1, 7], motions=["left", "right", "up", "bounce-vertical"])
    toy_set(made, tmp_path / "shards", train=8, val=2)
    judge = run(tmp_path, "moving_mnist", steps=1)
    assert judge.digit_reader is not None
    assert judge.score(made.row("val", 0).frames(), made.row("val", 0).attributes)["count"]
    assert json.loads((tmp_path / "judge/ladder.json").read_text())["clips"] == 2


def real_rows(split: str, count: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        frames = np.full((4, 16, 16, 3), 40 * (index % 6), np.uint8) + rng.integers(0, 9, (4, 16, 16, 3), np.uint8)
        rows.append(to_row(Clip(f"{split}{index}", split, (f"grey {index % 6}",), frames, 10.0, "test")))
    return rows


GREYS = [f"grey {k}" for k in range(6)]


@pytest.mark.slow
def test_the_dual_encoder_learns_what_goes_with_what():
    split = load_rows(real_rows("train", 30, 0))
    params = JudgeParams(steps=80, batch_size=6, lr=3e-3, width=8, feature_dim=8, seed=0)
    retrieval = train_retrieval(split.frames, split.captions, params, torch.device("cpu"))
    assert retrieval.half.vocabulary == ("0", "1", "2", "3", "4", "5", "grey")
    val = load_rows(real_rows("validate", 6, 1))
    metrics = recall_metrics(retrieval.similarity(val.frames, GREYS))
    assert metrics["retrieval.r1"] >= 0.8
    assert metrics["retrieval.r1_shuffled"] <= 0.4
    reworded = retrieval.similarity(val.frames, [f"{grey}, unheard-of!" for grey in GREYS])
    np.testing.assert_array_equal(reworded, retrieval.similarity(val.frames, GREYS))  # unknown words are passed over


def test_a_judge_of_real_video_needs_clips_and_captions_only(tmp_path):
    folder = tmp_path / "shards/videos"
    write_shard(folder / "shard-00000.parquet", real_rows("train", 12, 0) + real_rows("validate", 6, 1))
    write_set(folder, {"set": "videos", "counts": {"train": 12, "validate": 6}})
    judge = run(tmp_path, "videos", steps=2)
    assert judge.retrieval is not None
    clips = load_rows(real_rows("validate", 6, 1)).frames
    cosines = judge.retrieval.similarity(clips, [*GREYS, "???", ""])
    assert cosines.shape == (8, 6)
    assert np.isfinite(cosines).all()
    np.testing.assert_array_equal(cosines[6], cosines[7])  # no words, or none that is known: nothing said
    np.testing.assert_array_equal(load_judge(tmp_path / "judge").retrieval.similarity(clips, GREYS), cosines[:6])


@pytest.mark.parametrize(("width", "refused"), [(None, False), (384, True)])
def test_a_judge_of_earlier_versions_loads_unless_it_read_vectors(tmp_path, width, refused):
    net = FeatureNet(8, 8)
    save_judge(tmp_path, Judge(JudgeCard("msrvtt", 64, 16, 8, 8, {}, {}), net, torch.zeros(8), torch.ones(8)), None)
    card = json.loads((tmp_path / "judge.json").read_text())
    assert card.pop("vocabulary") == []
    (tmp_path / "judge.json").write_text(json.dumps({**card, "text_width": width}))
    if refused:
        with pytest.raises(ValueError, match="dvc repro judge"):
            load_judge(tmp_path)
    else:
        read = load_judge(tmp_path).card
        assert (read.dataset, read.vocabulary) == ("videos", ())


def test_recall_counts_ranks_and_not_ties():
    similarity = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.3, 0.2, 0.1]])
    assert recall(similarity, 1) == pytest.approx(1 / 3)
    assert recall(similarity, 2) == pytest.approx(2 / 3)
    assert recall(np.zeros((5, 5)), 1) == 0.0


@pytest.mark.parametrize(("clips", "idle"), [(1, {"r1", "r10"}), (10, {"r10"}), (11, set())])
def test_a_recall_among_too_few_clips_is_none(clips, idle):
    found = recall_metrics(np.eye(clips))
    assert {key for key, value in found.items() if value is None} == {
        f"retrieval.{name}{end}" for name in idle for end in ("", "_shuffled")
    }
    assert ("retrieval.note" in found) == bool(idle)


def test_targets_name_every_value_in_play():
    clip = {"background": "dots", "objects": [{"shape": "star", "colour": "red"}, {"shape": "circle", "colour": "red"}]}
    in_play: dict[str, list[Any]] = {
        "shape": ["circle", "square", "star"],
        "colour": ["red"],
        "background": ["white", "dots"],
        "objects": [1, 2],
    }
    assert attribute_targets([clip], in_play).tolist() == [[True, False, True, True, False, True, False, True]]


def test_crops_are_centred_and_hold_one_digit_alone():
    made = digits(objects=[2])
    row = made.row("train", 0)
    crops = cut_out(find_strokes(row.frames()))
    assert crops.shape == (32, SIDE, SIDE)
    lit = crops > 0.3
    for axis in (1, 2):
        spans = np.asarray(lit.any(axis=axis))
        middle = (spans.argmax(axis=1) + SIDE - 1 - spans[:, ::-1].argmax(axis=1)) / 2.0
        assert np.abs(middle - (SIDE - 1) / 2.0).max() <= 1.5
    images, labels = digit_crops(load_rows([row]))
    assert len(images) == 8
    assert sorted(set(labels.tolist())) == sorted(thing["digit"] for thing in row.attributes["objects"])


def test_augmentation_ruins_a_share_and_repeats_by_its_seed():
    images, labels = torch.rand(400, SIDE, SIDE), torch.zeros(400, dtype=torch.long)
    augmented, wanted = augment(images, labels, torch.Generator().manual_seed(0))
    again, _ = augment(images, labels, torch.Generator().manual_seed(0))
    assert torch.equal(augmented, again)
    assert 0.03 < float((wanted == NO_DIGIT).float().mean()) < 0.15
    assert float(augmented.min()) >= 0.0
    assert float(augmented.max()) <= 1.0


def test_digits_also_stay_as_crisp_as_they_are_drawn():
    """A reader once took every crisp digit for a ruined one, for only ruined crops had stayed crisp."""
    made = digits()
    crops, labels = digit_crops(load_rows([made.row("train", index) for index in range(100)]))
    augmented, wanted = augment(torch.from_numpy(crops), torch.from_numpy(labels), torch.Generator().manual_seed(0))
    brightest = augmented.amax(dim=(1, 2))[wanted != NO_DIGIT]
    assert float((brightest > 0.99).float().mean()) > 0.3


def test_votes_count_by_how_sure_they_are_and_no_digit_needs_most_of_them():
    sure, torn = np.full(11, 0.02), np.full(11, 0.05)
    sure[3], sure[5] = 0.72, 0.10
    torn[5], torn[NO_DIGIT] = 0.25, 0.30
    assert vote(np.stack([sure, torn, torn])) == 3
    assert vote(np.stack([torn, torn])) == 5
    ruined = np.full(11, 0.04)
    ruined[NO_DIGIT] = 0.6
    assert vote(ruined[None]) == NO_DIGIT


def test_two_digits_are_two_and_their_motions_are_read():
    """No training needed: count and motion come from the ink alone."""
    torch.manual_seed(0)
    reader, made = DigitReader().eval(), digits(objects=[2])
    in_play = made.description()["attributes"]
    for index in range(60):
        row = made.row("val", index)
        result = score_reading(read_digits(row.frames(), reader, torch.device("cpu")), row.attributes, in_play)
        assert result["count"], row.key
        assert result["motion"], row.key


def test_a_stroke_broken_over_three_pixels_is_one_digit():
    frames = np.zeros((4, 64, 64, 3), np.uint8)
    frames[:, 20:44, 28:31] = frames[:, 34:44, 34:40] = 255
    assert len(find_strokes(frames).blobs) == 4


def test_a_folder_that_is_no_judge_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"judge\.json missing\); run the judge stage"):
        load_judge(tmp_path)


def test_an_empty_split_is_refused(tmp_path):
    made = shapes()
    write_shard(tmp_path / "shards" / "shapes" / "shard-00000.parquet", [made.row("train", 0)])
    write_set(tmp_path / "shards" / "shapes", {**made.description(), "counts": {"train": 1}})
    with pytest.raises(ValueError, match="no clips in split 'val'"):
        run(tmp_path, "shapes")
