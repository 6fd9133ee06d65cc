"""An archive to a shard set: isolation, kills, worker counts; the same bytes each time."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.config.data import TranscodeParams
from pipeline.config.params import load_params
from pipeline.data.shards import read_rows, read_set
from pipeline.runtime.executors import open_workers
from pipeline.runtime.metrics import machine_file
from pipeline.sources.archive import open_videos
from pipeline.sources.captions import read_captions
from pipeline.sources.manifest import describe
from pipeline.transcode import workers as workers_module
from pipeline.transcode.assemble import TranscodeReport, Transcoding
from stages import download, transcode
from tests.process_toys import is_running
from tests.video_fixtures import H264, corners, encode

ROOT = Path(__file__).resolve().parent.parent
SECTION = load_params(ROOT / "tests/params.yaml").transcode
TOY = {"resolution": 16, "frames": 4, "clips_per_shard": 5, "time_limit_s": 20.0, "memory_limit_gb": 2.0}


def section(**changes: object) -> TranscodeParams:
    return TranscodeParams.read({**SECTION.model_dump(), **TOY, **changes})


def make_raw(folder: Path, clips: dict[str, bytes], captions: dict[str, list[str]] | None = None) -> Path:
    """A videos.zip and a captions.json in MSR-VTT's form."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "videos.zip", "w") as archive:
        for name, data in clips.items():
            archive.writestr(zipfile.ZipInfo(f"TrainValVideo/{name}.mp4"), data)
    captions = captions or {name: [f"{name} moves", f"a clip named {name}"] for name in clips}
    videos = [
        {"video_id": name, "id": i, "category": 0, "url": "", "split": "validate" if i % 4 == 3 else "train"}
        for i, name in enumerate(captions)
    ]
    sentences = [
        {"video_id": name, "sen_id": 0, "caption": caption} for name, texts in captions.items() for caption in texts
    ]
    tree = {"info": {}, "videos": videos, "sentences": sentences}
    (folder / "captions.json").write_text(json.dumps(tree), encoding="utf-8")
    return folder


def run(
    raw: Path, work: Path, *, workers: int = 2, decoder: str = "tests.fake_decoders:obey", **changes: object
) -> TranscodeReport:
    scratch = work / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    job = Transcoding(
        open_videos(raw / "videos.zip"),
        read_captions(raw / "captions.json"),
        section(**changes),
        scratch=scratch,
        decoder=decoder,
    )
    with open_workers(workers, threads=True) as crew:
        return job.run(work / "out", crew)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rejected(work: Path) -> list[list[str]]:
    with (work / "out" / "rejected.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def seeds(n: int, word: str = "seed") -> dict[str, bytes]:
    return {f"video{i}": f"{word} {i}".encode() for i in range(n)}


def test_captions_splits_and_frames_are_kept(tmp_path: Path) -> None:
    report = run(make_raw(tmp_path / "raw", seeds(7)), tmp_path)
    rows = list(read_rows(tmp_path / "out"))
    assert [row.key for row in rows] == [f"video{i}" for i in range(7)]
    assert rows[3].split == "validate"
    assert rows[3].captions == ("video3 moves", "a clip named video3")
    assert rows[3].source == "videos.zip:TrainValVideo/video3.mp4"
    np.testing.assert_array_equal(rows[3].frames(), np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3), np.uint8))
    assert (report.clips_out, report.captions, report.shards) == (7, 14, 2)
    assert read_set(tmp_path / "out")["counts"] == {"train": 6, "validate": 1, "test": 0}


@pytest.mark.slow
def test_a_clip_that_misbehaves_costs_itself_alone(tmp_path: Path) -> None:
    clips = {**seeds(12), "video2": b"abort", "video4": b"hang", "video5": b"memory", "video9": b"bad"}
    report = run(
        make_raw(tmp_path / "raw", clips), tmp_path, time_limit_s=5.0, memory_limit_gb=1.0, max_rejected_share=0.5
    )
    assert report.clips_out == 8
    lines = {line[0]: line[1:] for line in rejected(tmp_path)[1:]}
    assert lines == {
        "video2": ["crashed", "the decoder ended with signal SIGABRT: double free or corruption: 0x…"],
        "video4": ["too slow", "no answer within 5 s (transcode.time_limit_s)"],
        "video5": ["out of memory", "over transcode.memory_limit_gb=1"],
        "video9": ["damaged", "the decoder's own words"],
    }
    assert report.rejected == {"crashed": 1, "too slow": 1, "out of memory": 1, "damaged": 1}


@pytest.mark.slow
def test_bytes_depend_on_no_worker_count(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", {**seeds(23), "video7": b"bad"})
    for workers in (1, 2, 3):
        run(raw, tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1" / "out") == contents(tmp_path / "2" / "out") == contents(tmp_path / "3" / "out")


def test_an_archive_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do the decoder processes list it: they get a clip's bytes, or a file where it is large."""
    raw = make_raw(tmp_path / "raw", seeds(3))
    monkeypatch.setattr(workers_module, "open_videos", lambda _: pytest.fail("listed again"))
    run(raw, tmp_path / "small")
    monkeypatch.setattr(workers_module, "IN_MEMORY_BYTES", 0)
    run(raw, tmp_path / "large")
    assert contents(tmp_path / "small/out") == contents(tmp_path / "large/out")


def test_too_many_rejected_fail_and_are_named(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", {**seeds(4), "video0": b"bad", "video1": b"bad"})
    with pytest.raises(
        ValueError, match=r"2 of 4 captioned clips rejected \(50%\).*max_rejected_share=0.2 \(2 damaged\)"
    ):
        run(raw, tmp_path)
    assert "the decoder's own words" in (tmp_path / "scratch" / "rejected.csv").read_text(encoding="utf-8")
    assert not (tmp_path / "out").exists()


def test_what_never_came_to_decoding_is_named(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", seeds(3), {"video0": ["one"], "video1": ["two", ""], "video9": ["elsewhere"]})
    with zipfile.ZipFile(raw / "videos.zip", "a") as archive:
        archive.writestr("../../video7.mp4", b"seed 7")
    report = run(raw, tmp_path)
    assert {(line[0], line[1]) for line in rejected(tmp_path)[1:]} == {
        ("video1", "caption"), ("video2", "no caption"), ("video7", "archive"),
    }  # fmt: skip
    assert report.captioned_without_clip == 1
    assert [row.key for row in read_rows(tmp_path / "out")] == ["video0", "video1"]
    assert not (tmp_path.parent / "video7.mp4").exists()


@pytest.mark.slow
def test_a_folder_of_animations_and_stills_is_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GIF, WebP, APNG, PNG and JPEG with x.txt beside, by the stages download and transcode alone."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "clips"
    folder.mkdir()
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
    images = [Image.new("RGB", (24, 24), colour) for colour in colours]
    for name in ("a.GIF", "b.webp", "c.png", "d.apng"):
        kind = {"a": "GIF", "b": "WEBP"}.get(name[0], "PNG")
        options = {"lossless": True} if kind == "WEBP" else {}
        with (folder / name).open("wb") as file:
            images[0].save(file, kind, save_all=True, append_images=images[1:], duration=100, **options)
    images[1].save(folder / "e.png")
    images[2].save(folder / "f.jpg", quality=95)
    for name in "abcdef":
        (folder / f"{name}.txt").write_text(f"colours of {name}\n\n", encoding="utf-8")
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text(encoding="utf-8"))
    tree["download"] |= {"source": "local", "path": "clips"}
    tree["transcode"] |= TOY
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    download.main()
    transcode.main()
    rows = {row.key: row for row in read_rows(tmp_path / "data/shards/videos")}
    assert {key: row.captions for key, row in rows.items()} == {name: (f"colours of {name}",) for name in "abcdef"}
    for key, row in rows.items():
        shown = [tuple(frame[8, 8]) for frame in row.frames().astype(int)]
        wanted = colours if key in "abcd" else [colours["ef".index(key) + 1]] * 4
        assert np.abs(np.subtract(shown, wanted)).max() <= (4 if key in "bf" else 0), key


@pytest.mark.slow
def test_columns_kin_repeats_and_what_was_left_out_reach_the_set(tmp_path: Path) -> None:
    """Clips s-t, s the subject and t the take: takes of one subject stand on one side, and are attributes."""
    clips = {f"{subject}-{take}": f"seed {subject}".encode() for subject in range(12) for take in range(2)}
    raw = make_raw(tmp_path / "raw", clips)
    rows = "".join(f"{name},clip {name},{name.split('-')[0]}\n" for name in clips)
    (raw / "captions.csv").write_text(f"file,caption,subject\n{rows}", encoding="utf-8")
    work = tmp_path / "work"
    left_out = {"notes.pdf": "by its name neither a video nor captions"}

    def sides(group: str | None) -> dict[str, dict[str, int]]:
        scratch = work / str(group) / "scratch"
        scratch.mkdir(parents=True)
        job = Transcoding(
            open_videos(raw / "videos.zip"),
            read_captions(raw / "captions.csv"),
            section(group=group),
            scratch=scratch,
            left_out=left_out,
            decoder="tests.fake_decoders:obey",
        )
        with open_workers(2, threads=True) as crew:
            return job.run(work / str(group) / "out", crew).repeats

    assert sides(None) == {"validate": {"exact": 2, "near": 0}}
    assert sides("subject") == {"validate": {"exact": 0, "near": 0}}
    about = read_set(work / "subject" / "out")
    assert (about["repeats"], about["labels"], about["set"]) == (
        {"validate": {"exact": 0, "near": 0}}, {"subject": 12}, "out",
    )  # fmt: skip
    assert about["split_rule"] == "by hash, kin by subject"
    assert {row.key: row.attributes["subject"] for row in read_rows(work / "subject" / "out")}["7-1"] == "7"
    assert (work / "None" / "out" / "repeats.csv").read_text(encoding="utf-8").count("exact,") == 2
    assert "notes.pdf,not a clip,by its name" in (work / "None" / "out" / "rejected.csv").read_text(encoding="utf-8")


def test_finished_shards_are_not_made_again(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", seeds(11))
    run(raw, tmp_path)
    first = contents(tmp_path / "out")
    (tmp_path / "scratch" / "shard-00001.json").unlink()
    report = run(raw, tmp_path)
    assert (report.shards, report.shards_resumed) == (3, 2)
    (tmp_path / "scratch" / "shard-00001.json").unlink()
    assert contents(tmp_path / "out") == first
    with pytest.raises(ValueError, match="5 of 11"):
        run(raw, tmp_path, decoder="tests.fake_decoders:fail_when_used")


KILLED = """
import sys
from pathlib import Path
from tests.test_transcode import run
run(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_then_a_rerun(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", seeds(22, "slow"))
    run(raw, tmp_path / "whole")
    notes = tmp_path / "notes"
    notes.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_DECODER_NOTES": str(notes)}
    work = tmp_path / "killed"
    for n_records in (0, 1, 3):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(raw), str(work)], env=environment, cwd=ROOT)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if any(notes.iterdir()) and len(list(work.glob("scratch/shard-*.json"))) >= n_records:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.3)
    assert not [path.name for path in notes.iterdir() if is_running(int(path.name))]
    report = run(raw, work)
    assert report.shards_resumed >= 1
    assert contents(work / "out") == contents(tmp_path / "whole" / "out")


@pytest.mark.slow
def test_the_stage_on_real_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    clips = {f"video{i}": encode(tmp_path / f"{i}.mp4", corners(8 + i), **H264).read_bytes() for i in range(6)}
    raw = make_raw(tmp_path / "raw", {**clips, "video6": b"not a video"})
    describe(
        raw, source="local", origin={"videos": "v", "captions": "c"}, videos="videos.zip", captions="captions.json"
    )
    for name in ("first", "second"):
        transcode.main(
            params_path=ROOT / "tests/params.yaml",
            raw=raw,
            out=tmp_path / name / "set",
            metrics=tmp_path / f"{name}.json",
        )
    assert contents(tmp_path / "first" / "set") == contents(tmp_path / "second" / "set")
    metrics = json.loads((tmp_path / "second.json").read_text(encoding="utf-8"))
    assert metrics["clips_out"] == 6
    assert metrics["rejected"] == {"unreadable": 1}
    machine = json.loads(machine_file(tmp_path / "second.json").read_text(encoding="utf-8"))
    assert machine["shards_resumed"] == 1
    row = next(iter(read_rows(tmp_path / "first" / "set")))
    assert row.frames().shape == (SECTION.frames, SECTION.resolution, SECTION.resolution, 3)
