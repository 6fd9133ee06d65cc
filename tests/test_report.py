"""The report's page: its numbers are the metrics', its words hold for sets of any size, a run gives the same bytes."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.config.params import load_params
from pipeline.data.gif import encode_gif
from pipeline.data.samples import Role, Sample, write_samples
from pipeline.report import accuracy, gather, overview, page, pictures, provenance, reel
from pipeline.report.files import FolderFiles
from pipeline.report.sections import given
from stages.report import main
from tests.report_toys import moving_square, write_json, write_run

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    write_run(root, ROOT / "tests/params.yaml")
    return root


@pytest.fixture(scope="module")
def text(run_root: Path) -> str:
    return page_of(run_root)


def page_of(root: Path) -> str:
    run = gather.gather_run(FolderFiles(root), "this run")
    sheets = list(pictures.contact_sheets(root / "data/shards", run))
    page.write_page(root / "page.html", [run], load_params(root / "params.yaml").report, sheets)
    return (root / "page.html").read_text()


def changed(run_root: Path, tmp_path: Path, path: str, **values: Any) -> Path:
    """A copy of the run in which keys of a JSON file have other values; None removes nothing, it is null."""
    shutil.copytree(run_root, tmp_path, dirs_exist_ok=True)
    write_json(tmp_path / path, {**json.loads((tmp_path / path).read_text()), **values})
    return tmp_path


class Numbers(HTMLParser):
    """(model, key, value) of every <data> element."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = {key: value or "" for key, value in attrs}
        if tag == "data":
            self.found.append((facts["data-model"], facts["data-key"], facts["value"]))


def test_every_number_is_one_of_the_metrics(run_root: Path, text: str) -> None:
    numbers = Numbers()
    numbers.feed(text)
    label = {"U-Net": "unet", "GAN": "gan"}
    metrics = {m: json.loads((run_root / f"metrics/evaluate/{m}.json").read_text()) for m in label.values()}
    assert len(numbers.found) > 100
    for model, key, value in numbers.found:
        assert float(value) == metrics[label[model]][key], (model, key)
    shown = {key for _, key, _ in numbers.found}
    assert {key for key, value in metrics["unet"].items() if isinstance(value, int | float)} <= shown


def test_the_page_is_one_file_without_network(text: str) -> None:
    assert not re.findall(r"""(?:src|href|url\()=?["']?(?:https?:)?//""", text)


def test_the_same_run_gives_the_same_page_and_no_clock_is_in_it(run_root: Path, text: str, tmp_path: Path) -> None:
    assert page_of(run_root) == text
    seconds = {"seconds": 9999.25, "device": "cuda", "seconds_per_clip": 7.125}
    slower = changed(run_root, tmp_path, "metrics/train.json", **seconds)
    write_json(slower / "metrics/machine/train.json", seconds)
    assert page_of(slower) == text


def test_captions_are_escaped_broken_and_in_their_own_direction(text: str) -> None:
    assert "goes a &lt;red&gt; box" in text
    assert "<red>" not in text
    assert text.count('class="words"') == text.count('class="words" dir="auto"') > 10
    assert re.search(r"\.words \{[^}]*overflow-wrap: anywhere", text)


def test_held_out_prompts_are_marked_and_failures_shown(text: str) -> None:
    assert text.count('class="tag">held out') == 3 + 2  # in the samples, and each model's failure
    assert "failed: 31 of 600 seen, 31 of 600 held out" in text
    assert text.count("✗ motion") == 3 * 2 * 2 + 3 * 2  # two of six samples a model and kind, and the galleries


def test_what_was_read_stands_under_the_clip(text: str) -> None:
    verdict = '<span class="verdict">✗ motion</span>'
    assert verdict + '<span class="reading" dir="auto">read: red, square, left</span>' in text
    assert "title=" not in text  # nothing is said in a tooltip only


def test_sets_go_by_their_names(run_root: Path) -> None:
    run = gather.gather_run(FolderFiles(run_root), "this run")
    assert [run.set_title(name) for name in ("shapes", "moving_mnist", "imported")] == [
        "Moving shapes",
        "Moving digits",
        "Imported",
    ]
    titles = []
    for source in ("sample", "local", "kaggle"):
        run.params["download"]["source"] = source
        titles.append(run.set_title("videos"))
    assert titles == ["Sample clips, drawn here in MSR-VTT's layout", "Own clips", "MSR-VTT"]


def test_a_run_of_before_the_set_was_renamed_is_shown_by_todays_name(run_root: Path, tmp_path: Path) -> None:
    root = changed(run_root, tmp_path, "data/shards/shapes/set.json")
    (root / "data/shards/shapes").rename(root / "data/shards/msrvtt")
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("dataset: shapes", "dataset: msrvtt"))
    run = gather.gather_run(FolderFiles(root), "earlier")
    assert run.dataset == "videos"
    assert run.sets["videos"] == json.loads((root / "data/shards/msrvtt/set.json").read_text())
    assert run.validation_clips > 0


def test_clip_counts_stand_beside_distances_and_curves(text: str) -> None:
    assert "Distances are of 600 samples" in text
    assert "Each point is of 96 clips" in text


def test_a_ratio_over_a_floor_of_nothing_says_why(run_root: Path, tmp_path: Path) -> None:
    why = "no ratio, for its floor is 0"
    nothing = {"frechet.floor": 0.0, "frechet.ratio": None, "frechet.note": why, "density": None}
    shown = page_of(changed(run_root, tmp_path, "metrics/evaluate/gan.json", **nothing))
    assert f"<small>{why}</small>" in shown
    assert f'<p class="note">{why}</p>' in shown
    assert "GAN: density has no value: there was nothing to measure it on." in shown


def test_repeats_across_splits_stand_beside_every_figure_of_validation_clips(run_root: Path, tmp_path: Path) -> None:
    counted = {"repeats": {"validate": {"exact": 3, "near": 14}, "test": {"exact": 0, "near": 0}}}
    root = changed(run_root, tmp_path, "data/shards/shapes/set.json", **counted, counts={"train": 90, "validate": 40})
    note = "Of 40 validation clips 3 repeat a training clip and 14 nearly do"
    parts = re.split(r'<section[^>]* id="(\w+)"', page_of(root))
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [name for name, words in sections.items() if note in words] == [
        *("overview", "accuracy", "distances", "training")
    ]
    clean = changed(run_root, tmp_path, "data/shards/shapes/set.json", repeats={"validate": {"exact": 0, "near": 0}})
    assert "validation clips 0" not in page_of(clean)


def test_what_captions_leave_unsaid_is_counted_beside_real_clips(text: str) -> None:
    section = text[text.index('id="unsaid"') : text.index('id="distances"')]
    assert "Colour left out: clear" in section
    assert "blank ones were looked for in" in section
    assert "<strong>Colour, left out</strong>" in section
    names = ("unsaid.clean", "blank_share", "unsaid.colour.least_ratio", "unsaid.colour.agreement_real", "blank.seeds")
    assert all(f'data-key="{name}"' in section for name in names)


def retrieval(clips: int, **more: Any) -> dict[str, Any]:
    return {"retrieval.r1": 0.25, "retrieval.r10": 1.0, "retrieval.r10_shuffled": 1.0, "retrieval.clips": clips} | more


def model_of(metrics: dict[str, Any]) -> gather.ModelResult:
    return gather.ModelResult("U-Net", "unet", metrics, (), {}, {})


def test_few_clips_are_not_ranked_among_ten() -> None:
    nothing = {"retrieval.r10": None, "retrieval.r10_shuffled": None}
    few, many = model_of(retrieval(4, **nothing)), model_of(retrieval(40))
    (statement,) = overview.statements([few])
    assert statement.text == (
        "was asked for 4 clips only, too few to look among the ten nearest. "
        "Its caption's clip comes first in 25%, by chance in 25%."
    )
    single = retrieval(1, **nothing) | {"retrieval.r1": None}
    assert "one clip only" in overview.statements([model_of(single)])[0].text
    assert "100% of 40 prompts, against 100% with shuffled captions" in overview.statements([many])[0].text
    assert "retrieval.r10" not in {key for _, key, _ in overview.tiles([few])}
    assert "retrieval.r10" in {key for _, key, _ in overview.tiles([many])}


def test_the_ladder_is_marked_where_it_must_have_fallen() -> None:
    def rung(strength: float, motion: float, shape: float) -> dict[str, Any]:
        right = {"motion": motion, "shape": shape}
        return {"corruption": "blur", "strength": strength, "breaks": ["motion"], "spares": ["shape"], "right": right}

    def marks(*rungs: dict[str, Any]) -> list[list[str]]:
        table = accuracy.ladder({"clips": 9, "real": {"motion": 1.0, "shape": 1.0}, "rungs": rungs})
        assert table is not None
        return [[mark for _, mark in row.shares] for row in table.rows[1:]]

    assert marks(rung(0.5, 1.0, 1.0), rung(1.0, 0.2, 0.95)) == [["", "held"], ["fell", "held"]]
    assert marks(rung(0.5, 0.1, 0.8), rung(1.0, 1.0, 1.0)) == [["", "lost"], ["stayed", "held"]]


def test_params_that_differ_are_listed(run_root: Path) -> None:
    before = {"train": {"lr": 0.1, "steps": 5}, "gone": 1}
    found = gather.changed_params(before, {"train": {"lr": 0.2, "steps": 5}, "new": {"a": [1]}})
    assert found == [("gone", 1, None), ("new.a", None, [1]), ("train.lr", 0.1, 0.2)]


def test_stages_say_what_they_counted() -> None:
    metrics = {"clips": {"train": 10_000}, "seconds": 41.3, "seed": 7, "resumed": True, "loss": 0.5}
    assert provenance.counts(metrics) == "clips train 10,000"


def test_a_run_without_evaluation_says_what_to_run(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("dataset: shapes\n")
    with pytest.raises(ValueError, match="no metrics/evaluate"):
        gather.gather_run(FolderFiles(tmp_path), "here")


def test_whatever_the_page_shows_makes_dvc_draw_it_again(run_root: Path) -> None:
    """What a run reads is a dependency of the stage, or follows from one."""

    class Noting(FolderFiles):
        def read(self, path: str) -> bytes | None:
            found = super().read(path)
            read.update({path} if found is not None else ())
            return found

    read: set[str] = set()
    gather.gather_run(Noting(run_root), "this run")
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["report"]
    assert {"params.yaml": None} in stage["params"]
    of_a_dep = {  # a stage's counts and losses change with its data or model, whose samples are a dependency
        *("metrics/shapes.json", "metrics/transcode.json", "metrics/embed/shapes.json", "metrics/train.json"),
        *("plots/train/loss.csv", "params.yaml"),
    }
    loose = {path for path in read - of_a_dep if not any(f"{path}/".startswith(f"{dep}/") for dep in stage["deps"])}
    assert not loose
    assert len(read) > len(of_a_dep) + 6


def given_sample(kind: str, role: Role, frames: np.ndarray) -> Sample:
    return Sample(kind, 0, role, 0, 7, "a red square moving left", encode_gif(frames, 10.0), len(frames), 10.0, "unet")


def test_a_model_that_takes_frames_shows_them_beside_what_it_made_of_them(
    run_root: Path, tmp_path: Path, text: str
) -> None:
    assert 'id="given"' not in text
    shutil.copytree(run_root, tmp_path, dirs_exist_ok=True)
    shares = {"first_frame.kept": 0.995, "contradicted.frame_wins": 0.75, "rollout_64.joint": 0.96}
    metrics = {f"{key}{end}": value for key, share in shares.items() for end, value in with_interval(share)}
    metrics |= {"rollout_64.background_drift": 0.25, "rollout_64.background_drift_worst": 1.5}
    metrics |= {"rollout_64.speed_error": 0.061, "real_pairs.speed_error": 0.055}
    write_json(tmp_path / "metrics/frames.json", {"trained": True, **metrics})
    drawn, real = moving_square("red", "left"), moving_square("red", "right")
    made = [("given", real[:1]), ("real", real), ("model", drawn)]
    samples = [given_sample("given", role, frames) for role, frames in made]  # type: ignore[arg-type]
    samples.append(given_sample("rollout", "model", np.tile(drawn, (4, 1, 1, 1))))
    write_samples(tmp_path / "evaluations/frames/samples.parquet", samples)
    shown = page_of(tmp_path).partition('<section id="given"')[2].partition("</section>")[0]
    assert [*re.findall(r'<p class="who">([^<]+)</p>', shown)] == ["Given", "Sample", "Real clip"]
    assert [int(n) for n in re.findall(r"--n:(\d+)", shown)] == [1, 16, 16]
    for words in ("99.5%", "75.0%", "Long clips, 64 frames", "0.061", "0.055", "0.25 of 255", "64 frames, one in 2"):
        assert words in shown, words
    long = given.long_strip(np.tile(drawn, (4, 1, 1, 1)))
    assert long.shape == (2 * 64 + 2, 16 * 66 - 2, 3)
    assert np.array_equal(long[:64, 66 : 66 + 64], drawn[2])
    (tmp_path / "metrics/frames.json").write_text('{"trained": false}')
    assert 'id="given"' not in page_of(tmp_path)


def with_interval(share: float) -> list[tuple[str, float]]:
    return [("", share), ("_low", share - 0.01), ("_high", share + 0.004)]


def test_tables_keep_words_and_gaps(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t/a.csv").write_text("name,value\nnone,1\nnull,\n")
    table = gather.read_tables(FolderFiles(tmp_path), "t")["a"]
    assert table["name"].tolist() == ["none", "null"]
    assert table["value"].isna().tolist() == [False, True]


@pytest.mark.slow
def test_real_video_needs_no_attributes(run_root: Path, tmp_path: Path) -> None:
    shutil.copytree(run_root, tmp_path, dirs_exist_ok=True)
    for model in ("unet", "gan"):
        write_json(tmp_path / f"metrics/evaluate/{model}.json", retrieval(60) | {"clip_similarity_note": "no CLIP"})
    shutil.rmtree(tmp_path / "evaluations")
    main(params_path=tmp_path / "params.yaml", root=tmp_path, reports=tmp_path / "r", metrics=tmp_path / "m.json")
    shown = (tmp_path / "r/index.html").read_text()
    assert "among the ten nearest in 100% of 60 prompts" in shown
    assert "no CLIP" in shown
    assert not (tmp_path / "r/reel.mp4").exists()


@pytest.mark.slow
def test_the_stage_leaves_a_page_and_a_reel(run_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reel, "PROMPTS_PER_KIND", 1)
    out, metrics = tmp_path / "reports", tmp_path / "report.json"
    main(params_path=run_root / "params.yaml", root=run_root, reports=out, metrics=metrics)
    assert (out / "index.html").stat().st_size == json.loads(metrics.read_text())["page_bytes"]
    assert (out / "reel.mp4").stat().st_size > 10_000


def test_a_strip_holds_every_frame() -> None:
    import base64
    import io

    from PIL import Image

    clip = moving_square("red", "left")
    strip = pictures.film_strip(clip, 10.0)
    with Image.open(io.BytesIO(base64.b64decode(strip.uri.partition(",")[2]))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (64, 64 * 16, 3)
    assert np.abs(pixels[:, 64 * 5 : 64 * 6].astype(int) - clip[5]).max() < 12


def test_photographs_are_stored_as_such() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    assert pictures.film_strip(noise, 10.0).uri.startswith("data:image/webp")
    assert pictures.film_strip(moving_square("red", "up"), 10.0).uri.startswith("data:image/png")
