"""mark on clips with known faults, prompts as lists, and both held against what evaluate says of the same clips."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw

from pipeline import generate, prompts
from pipeline import mark as program
from pipeline.config.params import load_params
from pipeline.data.shards import read_rows, write_set, write_shard
from pipeline.evaluation.prompts import load_prompts
from pipeline.evaluation.scoring import evaluate_prompts, kind_metrics
from pipeline.evaluation.shuffle_control import shuffle_control
from pipeline.generation.prompt_list import read_prompt_list
from pipeline.judge.build import build_judge
from pipeline.judge.features import FeatureNet
from pipeline.judge.judge import Judge, JudgeCard, save_judge
from pipeline.marking.known_set import KnownSet
from pipeline.marking.sentences import CaptionReader
from pipeline.marking.session import mark_folder
from pipeline.synthetic.shapes import shapes_set
from tests.synthetic_toys import digits_params, shapes_params, whole_grammar
from tests.test_evaluate import TINY_JUDGE, Parrot, parrot, real_set

ROOT = Path(__file__).resolve().parent.parent
RED, BLUE, WHITE = (230, 40, 40), (40, 80, 220), (255, 255, 255)
ASKED = "a red circle moves left quickly"
COUNTS = {"train": 12, "val": 12, "held_out": 8, "reworded": 8}


def clip(
    colour: tuple[int, int, int] = RED,
    step: int = -1,
    *,
    reach: float = 0.52,  # of the side, along the path
    rows: tuple[float, ...] = (0.5,),  # heights of the things
    shape: str = "ellipse",
    side: int = 64,
    frames: int = 16,
) -> list[Image.Image]:
    pictures = []
    for moment in np.linspace(-0.5, 0.5, frames):
        picture = Image.new("RGB", (side, side), WHITE)
        for y in rows:
            x, r = side * (0.5 + step * reach * moment), side * 0.14
            box = (x - r, side * y - r, x + r, side * y + r)
            getattr(ImageDraw.Draw(picture), shape)(box, fill=colour)
        pictures.append(picture)
    return pictures


def save(path: Path, pictures: list[Image.Image]) -> None:
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100, loop=0)


def write_lines(path: Path, *lines: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with few clips of the shapes set, its params and no judge."""
    root = tmp_path_factory.mktemp("project")
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    tree["shapes"] |= {f"{split}_clips": count for split, count in COUNTS.items()}
    tree["evaluate"] |= {"prompts": 6, "feature_clips": 6, "curve_prompts": 6, "showcase_prompts": 2}
    (root / "params.yaml").write_text(yaml.safe_dump(tree))
    drawn = shapes_set(load_params(root / "params.yaml").shapes)
    rows = [drawn.row(split, index) for split, count in COUNTS.items() for index in range(count)]
    write_shard(root / "data/shards/shapes/shard-00000.parquet", rows)
    write_set(root / "data/shards/shapes", {**drawn.description(), "counts": COUNTS})
    return root


def marked(root: Path, folder: Path, listing: Path | None = None) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Metrics, verdicts by name, and what was said."""
    out = folder.parent / f"{folder.name}-marks"
    paths = {"params_path": root / "params.yaml", "data": root / "data", "models": root / "models"}
    said = mark_folder(folder, listing, label="Theirs", out=out, **paths)
    verdicts = map(json.loads, (out / "clips.jsonl").read_text().splitlines())
    return json.loads((out / "metrics.json").read_text()), {each["name"]: each for each in verdicts}, said


@pytest.mark.slow
def test_each_known_fault_is_named(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    drawn = {
        "right.gif": clip(),
        "colour.gif": clip(BLUE),
        "direction.gif": clip(step=1),
        "shape.gif": clip(shape="rectangle"),
        "speed.gif": clip(reach=0.21),
        "two.gif": clip(rows=(0.25, 0.75)),
        "blank.gif": [Image.new("RGB", (64, 64), WHITE)] * 16,
        "larger.webp": clip(side=160, frames=40),
        "fewer.gif": clip(frames=8),
        "nobody.gif": clip(),
    }
    for name, pictures in drawn.items():
        save(folder / name, pictures)
    (folder / "damaged.gif").write_bytes((folder / "right.gif").read_bytes()[:300])
    names = [Path(name).stem for name in drawn if name != "nobody.gif"]
    asked = [{"name": name, "prompt": ASKED} for name in (*names, "damaged", "missing")]
    write_lines(folder / "prompts.jsonl", *asked, {"name": "cat.gif", "prompt": "a cat"})
    metrics, verdicts, said = marked(root, folder)
    wrong = {name: verdict.get("wrong") for name, verdict in verdicts.items()}
    assert wrong == {
        **{"right": [], "larger": [], "fewer": [], "colour": ["colour"], "direction": ["motion"], "shape": ["shape"]},
        **{"speed": ["speed"], "two": ["count"], "blank": ["count", "shape", "colour", "motion", "speed"]},
        **{"damaged": ["damaged"], "missing": ["missing"], "cat": None, "nobody.gif": None},
    }
    assert verdicts["colour"]["read"]["colour"] == "blue"
    assert verdicts["direction"]["read"]["motion"] == "right"
    assert verdicts["two"]["read"]["shape"] == "circle and circle"
    assert "truncated" in verdicts["damaged"]["problem"]
    assert "no sentence of shapes" in verdicts["cat"]["problem"]
    assert metrics["seen.joint"] == pytest.approx(3 / 11, abs=1e-6)
    assert (metrics["seen.clips"], metrics["seen.failures"], metrics["missing"]) == (11, 8, 2)
    assert (metrics["refused"], metrics["without_prompt"]) == (1, 1)
    assert metrics["blank_share"] == pytest.approx(1 / 9, abs=1e-6)
    assert metrics["seen.joint_low"] < metrics["seen.joint"] < metrics["seen.joint_high"]
    assert [line.partition(":")[0] for line in said[:-1]] == ["note"] * 4
    page = (folder.parent / "clips-marks/index.html").read_text()
    assert page.index('id="failures"') < page.index('id="accuracy"') < page.index('id="others"')
    failures = page[page.index('id="failures"') : page.index('id="accuracy"')]
    assert failures.count("<figure") == 6
    assert "read: medium, blue, circle, left, fast" in failures
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.slow
def test_marks_of_generated_clips_are_what_evaluate_says(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that errs is asked the exported list by `generate`; its GIFs get the marks that its pixels get."""
    monkeypatch.chdir(root)
    shards = root / "data/shards/shapes"
    params = load_params(root / "params.yaml")
    listed = [one.prompt for one in KnownSet(params, root / "data").listed(6, 1000)]
    sampler = parrot(shards, mistakes=dict(zip(listed[::2], listed[1::2], strict=True)))
    card = sampler.model.card
    assert isinstance(sampler.model.network, Parrot)
    monkeypatch.setattr("pipeline.generation.draw.load_model", lambda folder, device: sampler.model)
    monkeypatch.setattr("pipeline.generate.find_model", lambda model: Path("theirs"))
    prompts.main(["--out", str(tmp_path / "list.jsonl")])
    assert "6 seen, 6 held_out, 6 reworded" in capsys.readouterr().out
    generate.main(["--prompts-file", str(tmp_path / "list.jsonl"), "--out", str(tmp_path / "clips")])
    made = [json.loads(line)["seed"] for line in (tmp_path / "clips/prompts.jsonl").read_text().splitlines()]
    assert made == [*range(1000, 1006)] * 3
    metrics, verdicts, _ = marked(root, tmp_path / "clips", tmp_path / "list.jsonl")
    judge = toy_judge(params.shapes, shards)
    for asked in load_prompts(shards, card, count=params.evaluate.prompts, seed=params.evaluate.seed):
        told = evaluate_prompts(judge, asked, sampler.sample(asked))
        expected = kind_metrics(told)
        if asked.kind == "seen":
            expected |= shuffle_control(judge, told, params.evaluate.seed)
        assert {key: metrics[key] for key in expected} == {k: pytest.approx(v, rel=1e-5) for k, v in expected.items()}
        assert [verdicts[key]["right"] for key in asked.keys] == [scores["joint"] for scores in told.scores]
        assert 0 < sum(verdicts[key]["right"] for key in asked.keys) < 6
    alone, _, _ = marked(root, tmp_path / "clips")  # by the index that generate wrote: name and prompt alone
    assert alone == metrics
    assert metrics["oracle_on_real.joint"] == 1.0


def toy_judge(section: Any, shards: Path) -> Judge:
    """The real oracle, with a feature network that was never trained."""
    in_play = shapes_set(section).description()["attributes"]
    return Judge(JudgeCard("shapes", 64, 16, 8, 8, in_play, {}), FeatureNet(8, 8), torch.zeros(8), torch.ones(8))


def test_the_exported_list_is_what_evaluate_asks_and_needs_no_data(root: Path, tmp_path: Path) -> None:
    params = load_params(root / "params.yaml")
    listed = KnownSet(params, root / "data").listed(6, 1000)
    assert KnownSet(params, tmp_path).listed(6, 1000) == listed
    card = parrot(root / "data/shards/shapes").model.card
    asked = load_prompts(root / "data/shards/shapes", card, count=6, seed=1000)
    assert [(one.name, one.prompt, one.kind, one.seed) for one in listed] == [
        (key, caption, each.kind, seed)
        for each in asked
        for key, caption, seed in zip(each.keys, each.captions, each.seeds(), strict=True)
    ]
    rows = list(read_rows(root / "data/shards/shapes", "val"))
    assert [one.prompt for one in listed[:6]] == [row.captions[k % 4] for k, row in enumerate(rows[:6])]
    assert [one.seed for one in listed[:6]] == [*range(1000, 1006)]
    first = rows[0].attributes["objects"][0]
    told = (listed[0].attributes or {})["objects"][0]
    assert {name: first[name] for name in ("shape", "colour", "motion", "speed", "speed_px")}.items() <= told.items()


@pytest.mark.slow
def test_scenes_are_marked_by_what_their_captions_say(root: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load((root / "params.yaml").read_text())
    tree["shapes"] |= {"kinds": ["objects", "counts", "relations", "change", "order"], "objects": [1]}
    tree["shapes"] |= {f"{split}_clips": 10 for split in ("val", "held_out", "reworded")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    known = KnownSet(load_params(tmp_path / "params.yaml"), tmp_path / "data")
    assert known.drawn is not None
    listed = known.listed(1, 0)
    rows = known.real(listed)
    drawn = [known.drawn.row(split, index) for split in ("val", "held_out", "reworded") for index in range(10)]
    write_shard(tmp_path / "data/shards/shapes/shard-00000.parquet", drawn)
    write_set(
        tmp_path / "data/shards/shapes", {**known.description, "counts": {"val": 10, "held_out": 10, "reworded": 10}}
    )
    stored = KnownSet(load_params(tmp_path / "params.yaml"), tmp_path / "data")
    assert stored.folder is not None
    assert stored.listed(1, 0) == listed
    assert [(one.attributes or {})["kind"] for one in listed] == [
        "objects",
        "counts",
        "relations",
        "change",
        "order",
    ] * 3
    folder = tmp_path / "clips"
    folder.mkdir()
    for one in listed:
        (folder / f"{one.name}.gif").write_bytes(rows[one.name].gif)
    counts, relation = listed[1], listed[2]
    (folder / f"{counts.name}.gif").write_bytes(rows[relation.name].gif)  # two things instead of so many
    write_lines(folder / "prompts.jsonl", *({"name": one.name, "prompt": one.prompt} for one in listed))
    metrics, verdicts, _ = marked(tmp_path, folder)
    assert [name for name, verdict in verdicts.items() if not verdict["right"]] == [counts.name]
    assert (metrics["counts.seen.joint"], metrics["relations.seen.joint"], metrics["order.held_out.joint"]) == (0, 1, 1)
    assert metrics["relations.seen.oracle_joint"] == 1.0
    assert metrics["relations.seen.swapped"] == 0.0


def test_a_set_drawn_by_other_params_is_left_out(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = load_params(root / "params.yaml")
    other = params.model_copy(update={"shapes": shapes_params(colours=("red", "blue"))})
    assert KnownSet(other, root / "data").folder is None
    assert "drawn by other params than today's" in caplog.text


@pytest.mark.slow
def test_every_caption_is_read_back_into_its_meaning() -> None:
    for params in (whole_grammar(), whole_grammar((2, 3))):
        drawn = shapes_set(params)
        said = drawn.sayings()
        reader = CaptionReader(drawn.grammar, list(said), params.backgrounds)
        for row in (drawn.row(split, index) for split in ("val", "held_out", "reworded") for index in range(2)):
            for caption in row.captions:
                meaning = reader.read(caption)
                assert meaning is not None, caption
                assert (meaning.background, meaning.reworded) == (row.attributes["background"], row.split == "reworded")
                things = [said[phrase] for phrase in meaning.phrases]
                for thing, truth in zip(things, row.attributes["objects"], strict=True):
                    free = {"size"} if truth["motion"] in ("grow", "shrink") else set()
                    assert {k: v for k, v in thing.items() if k not in free}.items() <= truth.items(), caption
        assert reader.read("a photo of a red circle that moves left on a beach") is None


def test_sentences_of_digits_are_read_and_new_combinations_known(root: Path) -> None:
    tree = load_params(root / "params.yaml").model_copy(update={"dataset": "moving_mnist"})
    tree = tree.model_copy(update={"moving_mnist": digits_params(digits=(3, 5, 6, 8), held_out_share=0.15)})
    known = KnownSet(tree, root / "data")
    assert known.drawn is not None
    held_out = {tuple(map(str, each)) for each in known.description["held_out"]}
    assert held_out
    lines = [
        f"a white {name} moves {way}"
        for name in ("three", "five", "six", "eight")
        for way in ("left", "right", "up", "down")
    ]
    kinds = {}
    for line in lines:
        said = known._parsed(line)
        if said is not None:
            (thing,) = said.attributes["objects"]
            kinds[str(thing["digit"]), thing["motion"]] = said.kind
    assert len(kinds) == len(lines)
    assert {pair for pair, kind in kinds.items() if kind == "held_out"} == held_out & kinds.keys()


def run_mark(folder: Path, *words: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(ValueError, match=r"\S") as error:
        program.main([str(folder), *words, "--out", str(folder.parent / "out")])
    assert "\n" not in str(error.value)
    return str(error.value)


GOOD = {"name": "x", "prompt": ASKED}
THING = {"shape": "circle", "colour": "red", "motion": "left", "speed": "fast"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no prompt in it"),
        ('{"name": "x", "prompt": "a"}\n{"name": "y", "pro', "line 2 is no JSON: Unterminated string"),
        ('["x"]', "line 1 is a list; a line is an object"),
        ('{"prompt": "a"}', "line 1 has no name; say which clip it is of, under name, id, file"),
        ('{"name": 7, "prompt": "a"}', "line 1: name is a number, not a string"),
        ('{"name": "x"}', "line 1 has no prompt; it is the words"),
        ('{"name": "x", "prompt": 5}', "line 1: prompt is a number, not a string"),
        ('{"name": "x", "prompt": null}', "line 1: prompt is null, not a string"),
        ('{"name": "x", "prompt": "  "}', "line 1 has an empty prompt"),
        ('{"name": "../x", "prompt": "a"}', "line 1: '../x' is no name of a file in the folder"),
        ('{"name": "x", "prompt": "\\ud800"}', "line 1: prompt holds half a character"),
        ('{"name": "x", "prompt": "a", "seed": 1.5}', "line 1: seed is a number, not a whole number"),
        ('{"name": "x", "prompt": "a", "kind": "best"}', "line 1: kind 'best' is none of seen, held_out, reworded"),
        (f"{json.dumps(GOOD)}\n\n{json.dumps(GOOD | {'name': 'x.gif'})}", "lines 1 and 3 have one name, 'x'"),
        ('{"name": "x", "prompt": "a cat"}', 'can be marked; the first, x: "a cat" is no sentence of shapes'),
        (
            json.dumps(GOOD | {"attributes": {"set": "moving_mnist", "objects": [{}]}}),
            "line 1 is of the set 'moving_mnist', and params.yaml marks 'shapes'; set dataset: moving_mnist",
        ),
        (json.dumps(GOOD | {"attributes": {"objects": []}}), "attributes hold no objects"),
        (
            json.dumps(GOOD | {"attributes": {"objects": [THING | {"colour": "mauve"}]}}),
            "attributes: colour is 'mauve' and may be red, green, blue, yellow",
        ),
        (json.dumps(GOOD | {"attributes": {"objects": [THING | {"speed_px": "9"}]}}), "speed_px is '9', not a number"),
    ],
)
def test_a_list_that_cannot_be_used_is_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, message: str
) -> None:
    monkeypatch.chdir(root)
    (tmp_path / "clips").mkdir()
    save(tmp_path / "clips/x.gif", clip(frames=2))
    (tmp_path / "clips/prompts.jsonl").write_text(lines, encoding="utf-8")
    assert message in run_mark(tmp_path / "clips")
    assert not (tmp_path / "out").exists()


def test_folders_and_lists_that_are_not_there_are_one_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    folder = tmp_path / "clips"
    assert "no such folder" in run_mark(folder)
    folder.mkdir()
    assert "no clip in it" in run_mark(folder)
    save(folder / "x.gif", clip(frames=2))
    assert "no list of prompts in it; name the one" in run_mark(folder)
    write_lines(folder / "a.jsonl", GOOD)
    write_lines(folder / "b.jsonl", GOOD)
    assert "2 lists (a.jsonl, b.jsonl) in it" in run_mark(folder)
    assert "c.jsonl: no such list" in run_mark(folder, "--prompts", str(folder / "c.jsonl"))
    digits = (root / "params.yaml").read_text().replace("dataset: shapes", "dataset: moving_mnist")
    (root / "digits.yaml").write_text(digits)
    with pytest.raises(
        ValueError, match="clips of moving_mnist are read by the networks in models/judge: run dvc repro"
    ):
        mark_folder(folder, folder / "a.jsonl", label="", out=tmp_path, params_path=root / "digits.yaml")
    (root / "elsewhere.yaml").write_text(
        (root / "params.yaml").read_text().replace("dataset: shapes", "dataset: videos")
    )
    with pytest.raises(ValueError, match="no clips of videos there; run the stage that makes them"):
        mark_folder(folder, folder / "a.jsonl", label="", out=tmp_path, params_path=root / "elsewhere.yaml")


def test_own_attributes_and_names_in_other_forms_are_taken(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    save(folder / "sub/x.gif", clip())
    listing = write_lines(
        tmp_path / "list.jsonl",
        {"file": "sub/x.gif", "prompt": "rot, rund, schnell nach links", "attributes": {"objects": [THING]}},
    )
    metrics, verdicts, _ = marked(root, folder, listing)
    assert verdicts["sub/x"]["right"] is True
    assert metrics["seen.joint"] == 1.0
    assert not [key for key in metrics if key.startswith("caption_shuffle")]  # one prompt has none to be shuffled with
    assert "seen.speed_error" not in metrics  # nobody said how fast


@pytest.mark.slow
def test_sets_of_real_clips_are_measured_by_their_judge(tmp_path: Path) -> None:
    """Readers with a known answer are in test_label_readers; here a judge without labels ranks clips by captions."""
    shards = real_set(tmp_path / "data/shards", {"train": range(20), "validate": range(20, 32)})
    told = json.loads((shards / "set.json").read_text())
    write_set(shards, told | {"resolution": 16, "frames": 4, "fps": 10.0})
    save_judge(tmp_path / "models/judge", build_judge(shards, TINY_JUDGE, torch.device("cpu")).judge, None)
    (tmp_path / "params.yaml").write_text(
        (ROOT / "tests/params.yaml").read_text().replace("dataset: shapes", "dataset: videos")
    )
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = list(read_rows(shards, "validate"))
    for row in rows:
        (folder / f"{row.key}.gif").write_bytes(row.gif)
    write_lines(folder / "prompts.jsonl", *({"name": row.key, "prompt": row.captions[0]} for row in rows))
    metrics, verdicts, _ = marked(tmp_path, folder)
    assert metrics["retrieval.clips"] == len(verdicts) == 12
    assert metrics["nearest_pixels.ratio"] == 1.0  # they are the real clips
    assert {each["right"] for each in verdicts.values()} == {None}


def test_lists_are_read_whatever_the_editor(tmp_path: Path) -> None:
    line = io.StringIO()
    json.dump({"id": "ü.mp4", "prompt": " ein  Kreis\u2028links "}, line, ensure_ascii=False)
    (tmp_path / "x.jsonl").write_bytes(f"\ufeff{line.getvalue()}\r\n".encode())
    (one,) = read_prompt_list(tmp_path / "x.jsonl")
    assert (one.name, one.prompt, one.line) == ("ü", "ein Kreis links", 1)
