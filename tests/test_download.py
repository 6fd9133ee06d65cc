"""The download stage: through `main`, as a program, and under DVC."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.sources.archive import open_videos
from pipeline.sources.captions import read_captions
from pipeline.sources.manifest import read_manifest, sha256_of
from stages.download import main
from tests.kaggle_server import Answer, DataSet, FakeKaggle
from tests.test_sources_kaggle import LARGE, MIB, wait_for_bytes, zip_bytes

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("T2V_REAL_DATA", ROOT.parent / "shared" / "data")) / "msrvtt-real"
ANNOTATION = {
    "info": {},
    "videos": [{"id": n, "video_id": f"video{n}", "split": s} for n, s in ((0, "train"), (1, "validate"))],
    "sentences": [
        {"sen_id": 0, "video_id": "video0", "caption": "a man talks"},
        {"sen_id": 1, "video_id": "video1", "caption": "a dog runs"},
        {"sen_id": 2, "video_id": "video1", "caption": "  "},
    ],
}
CAPTIONS_ZIP = zip_bytes({"train_val_annotation/train_val_videodatainfo.json": json.dumps(ANNOTATION).encode()})


def write_params(folder: Path, **download: Any) -> Path:
    tree = yaml.safe_load((ROOT / "tests/params.yaml").read_text())
    tree["download"] |= download
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def run_main(folder: Path, **download: Any) -> tuple[Path, dict[str, Any]]:
    raw, metrics = folder / "data" / "raw", folder / "metrics.json"
    main(params_path=write_params(folder, **download), raw=raw, metrics=metrics)
    return raw, json.loads(metrics.read_text())


@pytest.fixture
def kaggle() -> Iterator[FakeKaggle]:
    with FakeKaggle() as server:
        server.sets["o/videos"] = DataSet(body=zip_bytes({"deep/er/video0.mp4": b"a", "video1.mp4": b"b"}))
        server.sets["o/captions"] = DataSet(body=CAPTIONS_ZIP)
        yield server


def kaggle_stage(server: FakeKaggle, folder: Path) -> subprocess.CompletedProcess[str]:
    write_params(folder, source="kaggle", videos_slug="o/videos", captions_slug="o/captions")
    return subprocess.run(
        [sys.executable, "-m", "stages.download"],
        cwd=folder,
        env=server.environment(folder),
        text=True,
        capture_output=True,
        timeout=100,
        check=False,
    )


@pytest.mark.slow
def test_kaggle_archives_stay_as_they_are_and_failures_are_one_line(kaggle: FakeKaggle, tmp_path: Path) -> None:
    videos = kaggle.sets["o/videos"].body
    kaggle.sets["o/videos"].body = zip_bytes({"readme.txt": b"no clips here"})
    failed = kaggle_stage(kaggle, tmp_path)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("error: o/videos: its archive holds no video*.mp4 (1 files")
    assert not (tmp_path / "data" / "raw").exists()

    # The data set is mended: another version of it, and the captions are not sent again.
    kaggle.sets["o/videos"].body = videos
    kaggle.sets["o/videos"].answers = [Answer(headers={"Last-Modified": "Mon, 02 Mar 2099 10:00:00 GMT"})]
    kaggle.sent.clear()
    done = kaggle_stage(kaggle, tmp_path)
    assert done.returncode == 0, done.stderr
    raw = tmp_path / "data" / "raw"
    assert (raw / "videos.zip").read_bytes() == videos
    assert (raw / "captions.zip").read_bytes() == CAPTIONS_ZIP
    manifest = read_manifest(raw)
    assert (manifest.source, manifest.clips, manifest.captioned_clips, manifest.rejected) == ("kaggle", 2, 2, 1)
    assert manifest.origin == {"videos": "o/videos", "captions": "o/captions"}
    assert manifest.files["videos.zip"] == {"bytes": len(videos), "sha256": sha256_of(raw / "videos.zip")}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_killed_dvc_repro_goes_on_where_it_was(shell: str, kaggle: FakeKaggle, tmp_path: Path) -> None:
    kaggle.sets["o/videos"] = DataSet(body=LARGE, answers=[Answer(stall_at=3 * MIB), Answer()])
    write_params(tmp_path, source="kaggle", videos_slug="o/videos", captions_slug="o/captions")
    stage = {"cmd": f"{sys.executable} -m stages.download", "params": ["download"], "outs": ["data/raw"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"download": stage}}))
    environment = {key: value for key, value in kaggle.environment(tmp_path).items() if key != "DVC_ROOT"}
    dvc = [sys.executable, "-m", "dvc"]
    options: dict[str, Any] = {"cwd": tmp_path, "env": environment | {"DVC_NO_ANALYTICS": "1", "SHELL": shell}}
    subprocess.run([*dvc, "init", "--no-scm", "-q"], check=True, **options)
    repro = subprocess.Popen([*dvc, "repro"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)
    wait_for_bytes(tmp_path, 3 * MIB)
    repro.send_signal(signal.SIGKILL)
    repro.wait()

    again = subprocess.run([*dvc, "repro"], capture_output=True, text=True, timeout=100, check=False, **options)
    assert again.returncode == 0, again.stderr
    assert kaggle.transfers[-1] == ("o/videos", f"bytes={3 * MIB}-")
    assert (tmp_path / "data" / "raw" / "videos.zip").read_bytes() == LARGE


def test_local_archive_and_captions(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(zip_bytes({"x/video0.mp4": b"a", "../video1.mp4": b"b"}))
    (tmp_path / "annotation.json").write_text(json.dumps(ANNOTATION))
    local = {"source": "local", "path": str(tmp_path / "mine.zip"), "captions_path": str(tmp_path / "annotation.json")}
    raw, metrics = run_main(tmp_path, **local)
    assert (raw / "videos.zip").read_bytes() == (tmp_path / "mine.zip").read_bytes()
    assert not (raw / "videos.zip").samefile(tmp_path / "mine.zip")  # DVC write-protects what it caches
    assert (metrics["clips"], metrics["captioned_clips"], metrics["captions"], metrics["rejected"]) == (1, 1, 2, 2)
    assert not (tmp_path / "data" / "video1.mp4").exists()


@pytest.mark.parametrize("form", ["zip", "tar", "folder"])
def test_own_clips_in_place_are_named_and_known_again(tmp_path: Path, form: str) -> None:
    folder, own = tmp_path / "clips", tmp_path / f"clips.{form}"
    folder.mkdir()
    for name, data in (("a.mp4", b"a"), ("b.mp4", b"bb"), ("a.txt", b"a cat"), ("b.txt", b"a dog")):
        (folder / name).write_bytes(data)
    own = folder if form == "folder" else Path(shutil.make_archive(str(folder), form, folder))
    raw, metrics = run_main(tmp_path, source="local", path=str(own), in_place=True)
    assert [file.name for file in raw.iterdir()] == ["manifest.json"]
    assert (metrics["clips"], metrics["captions"]) == (2, 2)
    manifest = read_manifest(raw)
    n_bytes = 13 if form == "folder" else own.stat().st_size
    assert (manifest.files[str(own)]["bytes"], metrics["bytes"]) == (n_bytes, n_bytes)
    assert manifest.path(raw, manifest.videos) == manifest.path(raw, manifest.captions) == own

    written = folder / "b.mp4" if form == "folder" else own
    os.utime(written, (1, 1))  # another time, the same bytes
    manifest.require_same(raw)
    data = written.read_bytes()
    (folder / "b.mp4").write_bytes(b"cc")
    if form != "folder":
        shutil.make_archive(str(folder), form, folder)
    with pytest.raises(ValueError, match=r"clips.*: not what it was .*; bring it back, or take it anew by") as caught:
        manifest.require_same(raw)
    assert "\n" not in str(caught.value)
    written.write_bytes(data)
    manifest.require_same(raw)
    own.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"clips.*: gone; .* bring it back, or name another in download\.path"):
        manifest.require_same(raw)


def test_a_compressed_tar_is_not_taken_in_place(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"a")
    (tmp_path / "clips/a.txt").write_text("a cat")
    own = shutil.make_archive(str(tmp_path / "clips"), "gztar", tmp_path / "clips")
    with pytest.raises(ValueError, match=r"download\.in_place: .*clips\.tar\.gz is a compressed tar"):
        run_main(tmp_path, source="local", path=own, in_place=True)


def test_a_failure_keeps_the_old_output(tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_bytes(zip_bytes({"a.mp4": b"a", "a.txt": b"a cat"}))
    raw, _ = run_main(tmp_path, source="local", path=str(tmp_path / "mine.zip"))
    with pytest.raises(ValueError, match="does not exist"):
        run_main(tmp_path, source="local", path=str(tmp_path / "gone.zip"))
    assert read_captions(raw / read_manifest(raw).captions).captions == {"a": ("a cat",)}


@pytest.mark.slow
def test_the_sample_is_in_the_layout_of_msrvtt_and_repeats_to_the_byte(tmp_path: Path) -> None:
    import av

    raw, metrics = run_main(tmp_path, source="sample", sample_clips=4)
    with zipfile.ZipFile(raw / "videos.zip") as archive:
        assert archive.namelist() == [f"TrainValVideo/video{n}.mp4" for n in range(4)]
    tree = json.loads((raw / "captions.json").read_text())
    assert [video["split"] for video in tree["videos"]] == ["train", "train", "train", "validate"]
    captioned = read_captions(raw / "captions.json")
    assert all(3 <= len(texts) <= 5 for texts in captioned.captions.values())
    assert (metrics["clips"], metrics["captioned_clips"], metrics["rejected"]) == (4, 4, 0)

    archive_of_videos = open_videos(raw / "videos.zip")
    file = archive_of_videos.extract(archive_of_videos.entries[0], tmp_path)
    with av.open(str(file)) as container:
        assert [stream.codec_context.name for stream in container.streams] == ["h264", "aac"]
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (320, 240, 25)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 50
    assert abs(frames[0].astype(int) - frames[12]).max() > 100  # something moves

    digest = sha256_of(raw / "videos.zip")
    shutil.rmtree(raw)
    run_main(tmp_path, source="sample", sample_clips=4)
    assert sha256_of(raw / "videos.zip") == digest


@pytest.mark.skipif(not REAL.is_dir(), reason="no real clips beside the checkout")
def test_real_clips(tmp_path: Path) -> None:
    captions = str(REAL / "msrvttdatainfo.zip")
    raw, metrics = run_main(tmp_path, source="local", path=str(REAL / "msrvtt.zip"), captions_path=captions)
    assert (metrics["clips"], metrics["captioned_clips"], metrics["rejected"]) == (11, 11, 0)
    archive = open_videos(raw / read_manifest(raw).videos)
    assert [entry.key for entry in archive.entries] == [f"video{n}" for n in range(11)]
