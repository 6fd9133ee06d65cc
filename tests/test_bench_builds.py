"""The benches that run whole builds, at toy size: what they measure, and that both sides are run."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bench import msrvtt, scale
from bench.builds import ROOT, Build, Cost, folder_bytes, in_json, open_builds, tree_memory
from bench.stand_in import CAPTIONS_BY_WORDS, annotate, draw_stand_in
from pipeline.text.captions import CaptionTable

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SMALL = {
    "transcode.resolution": 32, "transcode.frames": 8, "shapes.resolution": 32, "shapes.frames": 8,
    "train.resolution": 32, "train.frames": 8, "train.batch_size": 4, "unet.patch": 4, "unet.fold_frames": [2, 4],
    "unet.unfold_frames": [1, 8], "unet.dim": 16, "unet.cond_dim": 32, "evaluate.guidance_scales": [2.0],
    "evaluate.steps": [2], "sampling.num_inference_steps": 2, "evaluate.prompts": 4, "train.steps": 2,
    "train_gan.frames": 8, "train_gan.resolution": 32, "train.warmup_steps": 1, "train.sample_every": 2,
    "train.val_every": 2, "train.num_sample_rows": 1, "judge.steps": 2, "evaluate.feature_clips": 8,
    "evaluate.curve_prompts": 2, "evaluate.showcase_prompts": 1,
}  # fmt: skip


@linux
def test_memory_is_that_of_all_processes_and_time_is_told(tmp_path: Path) -> None:
    hold = "import time; held = bytearray(60_000_000); time.sleep(0.4)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}]); {hold}"
    cost = Build("now", tmp_path).run("-c", child)
    assert 60.0 < cost.memory_mb < 120.0  # one after the other, not both
    both = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; p.wait()"
    assert Build("now", tmp_path).run("-c", both).memory_mb > 120.0
    assert cost.seconds > 0.8
    assert tree_memory(2**22) == 0
    with pytest.raises(ValueError, match=r"now: python -c import nothing_at_all ended with 1: .*No module"):
        Build("now", tmp_path).run("-c", "import nothing_at_all")


def test_a_hard_link_is_no_more_disk(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(100_000))
    alone = folder_bytes(tmp_path)
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert folder_bytes(tmp_path) == alone >= 100_000


def test_ratios_are_of_now_over_before() -> None:
    told = in_json({"before": Cost(10.0, 8.0, 400.0, 50.0), "now": Cost(5.0, 6.0, 100.0, 50.0)})
    shares = {"time_ratio": 0.5, "cpu_ratio": 0.75, "memory_ratio": 0.25, "disk_ratio": 1.0}
    assert {key: told[key] for key in shares} == shares


def test_ratios_are_named_by_the_revision() -> None:
    costs = {"before": Cost(10.0, 8.0, 400.0, 50.0), "now": Cost(5.0, 6.0, 100.0, 50.0)}
    told = msrvtt.by_revision({"transcode": in_json(costs)}, "t1")
    assert told == {
        "transcode": {
            "ratio_to_t1": 2.0, "time_ratio_to_t1": 0.5, "cpu_ratio_to_t1": 0.75, "memory_ratio_to_t1": 0.25
        }
    }  # fmt: skip


def test_both_builds_stand_in_folders_of_their_own() -> None:
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("no commit to build")
    with open_builds("HEAD") as builds:
        assert [build.name for build in builds] == ["before", "now"]
        assert all((build.folder / "stages/train.py").is_file() for build in builds)
        builds[1].set_params({"train.steps": 7, "train.no_such_key": 1, "dataset": "shapes"})
        text = (builds[1].folder / "params.yaml").read_text(encoding="utf-8")
        assert "steps: 7" in text
        assert "no_such_key" not in text
    assert not builds[0].folder.exists()
    with (
        pytest.raises(ValueError, match=r"--before no-such-revision: .*give a tag or a commit"),
        open_builds("no-such-revision"),
    ):
        pass


def test_captions_have_the_lengths_of_msrvtt() -> None:
    sentences = annotate(400)["sentences"]
    assert len(sentences) == 8000
    words = np.array([len(str(one["caption"]).split()) for one in sentences])
    counts = np.array(CAPTIONS_BY_WORDS)
    mean = (counts * np.arange(2, 2 + len(counts))).sum() / counts.sum()
    assert abs(words.mean() - mean) < 0.15
    distinct = len({one["caption"] for one in sentences}) / len(sentences)
    assert abs(distinct - 0.84) < 0.02


@pytest.mark.slow
@linux
def test_a_stand_in_goes_through_all_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.builds.LOOK_EVERY_S", 0.2)  # each look reads all of /proc
    draw_stand_in(tmp_path, 16, lengths_s=(1,))
    with zipfile.ZipFile(tmp_path / "videos.zip") as archive:
        clips = [archive.read(name) for name in archive.namelist()]
    assert len({*clips}) == 16
    (tmp_path / "clip.mp4").write_bytes(clips[3])
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        frames = list(clip.decode(video=0))
    assert 30 <= len(frames) <= 32  # pictures that wait for others come along
    assert frames[0].pts == 0
    found = msrvtt.compare(tmp_path, None, SMALL)
    assert set(found["stages"]) == {"download", "transcode", "embed", "judge", "train", "train_start", "evaluate"}
    assert found["stages"]["train_start"]["now"]["seconds"] < found["stages"]["train"]["now"]["seconds"]
    assert all(one["now"]["memory_mb"] > 20.0 for one in found["stages"].values())
    assert found["disk_ratio_to_archive"] > 1.0
    assert len(msrvtt.table(found["stages"]).splitlines()) == 7


def test_the_table_that_is_read_is_one(tmp_path: Path) -> None:
    scale.write_table(tmp_path / "table.parquet", 1500)
    table = CaptionTable.read(tmp_path / "table.parquet")
    assert len(table) == 1500
    assert table.batch(["caption 1499"]).mask.sum() == scale.TOKENS


@pytest.mark.slow
@linux
def test_growth_is_measured_at_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(build: Build, *words: str) -> Cost:
        """A stage that takes a second and 10 MB, and 1 ms and 20 kB a clip."""
        tree = (build.folder / "params.yaml").read_text(encoding="utf-8")
        clips = int(next(line.split()[1] for line in tree.splitlines() if "train_clips" in line))
        return Cost(1.0 + clips / 1000, 1.0 + clips / 500, 10.0 + clips / 50, 1.0)

    monkeypatch.setattr(Build, "run", run)
    with open_builds(None) as builds:
        found: dict[str, Any] = scale.stages(builds, 40, scale.PARAMS)
    assert found["judge"]["now"] == {
        "ms_each": 1.0, "cpu_ms_each": 2.0, "kb_each": 20.0, "seconds": 1.08, "memory_mb": 11.6
    }  # fmt: skip
    assert json.dumps(found)
