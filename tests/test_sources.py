"""Archives with tricks in them, captions in every form, and the two rules of splitting."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import struct
import tarfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.params import DownloadParams
from pipeline.sources import local
from pipeline.sources.archive import VideoArchive, open_videos
from pipeline.sources.captions import read_captions, split_by_hash

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("T2V_REAL_DATA", ROOT.parent / "shared" / "data")) / "msrvtt-real"


def make_zip(path: Path, files: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return path


def keys(archive: VideoArchive) -> list[str]:
    return [entry.key for entry in archive.entries]


def reasons(archive: VideoArchive) -> dict[str, str]:
    return {rejected.key: rejected.reason for rejected in archive.rejected}


def local_params(path: Path, captions: Path | None = None) -> DownloadParams:
    return DownloadParams(
        source="local",
        path=str(path),
        captions_path=str(captions) if captions else None,
        videos_slug="",
        captions_slug="",
        videos_sha256=None,
        captions_sha256=None,
        sample_clips=4,
        seed=0,
    )


# Archives


def test_videos_are_found_at_any_depth_in_natural_order(tmp_path: Path) -> None:
    names = ["video10.mp4", "TrainValVideo/video9.mp4", "a/b/c/video2.MP4", "readme.txt", "__MACOSX/._video9.mp4"]
    archive = open_videos(make_zip(tmp_path / "x.zip", [(name, name.encode()) for name in names]))
    assert keys(archive) == ["video2", "video9", "video10"]
    assert archive.rejected == []
    assert archive.read(archive.entries[0]) == b"a/b/c/video2.MP4"
    assert archive.extract(archive.entries[0], tmp_path) == tmp_path / "video2.mp4"


def test_zip_tricks_do_nothing_but_a_line(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link.mp4")
    link.external_attr = 0o120777 << 16
    bomb = zipfile.ZipInfo("bomb.mp4")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    tricks: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("../../up.mp4", b"x"),
        ("/etc/absolute.mp4", b"x"),
        ("C:\\windows\\drive.mp4", b"x"),
        ("a\\..\\..\\backslash.mp4", b"x"),
        ("windows\\video5.mp4", b"fine"),
        ("../not-even-a-video", b"x"),
        (link, b"/etc/passwd"),
        (bomb, bytes(32 * 2**20)),
        ("empty.mp4", b""),
        ("video1.mp4", b"first"),
        ("again/video1.mp4", b"second"),
    ]
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = make_zip(tmp_path / "x.zip", [*tricks, ("video1.mp4", b"third")])
    archive = open_videos(path)
    assert keys(archive) == ["video1", "video5"]
    assert archive.read(archive.entries[0]) == b"first"
    said = reasons(archive)
    for key, words in {
        "up": "'..'",
        "absolute": "absolute",
        "drive": "absolute",
        "backslash": "'..'",
        "not-even-a-video": "'..'",
        "link": "a link",
        "bomb": "zip bomb",
        "empty": "empty",
    }.items():
        assert words in said[key], key
    assert [r.key for r in archive.rejected].count("video1") == 2
    assert not (tmp_path.parent / "up.mp4").exists()


def test_members_that_share_bytes_are_a_bomb(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("a.mp4", b"A" * 5000), ("b.mp4", b"B" * 5000)])
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<L", 10)  # b's local header now lies inside a
    path.write_bytes(bytes(data))
    archive = open_videos(path)
    assert keys(archive) == ["a"]
    assert "overlaps" in reasons(archive)["b"]


def test_a_member_that_lies_about_its_length_is_damaged_and_bounded(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("a.mp4", bytes(range(256)) * 40)], zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<L", 100)  # unpacked size
    path.write_bytes(bytes(data))
    archive = open_videos(path)
    with pytest.raises(ValueError, match=r"a\.mp4: damaged inside x\.zip: Bad CRC"):
        archive.read(archive.entries[0])


def test_a_damaged_member_costs_itself_only(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("a.mp4", b"A" * 5000), ("b.mp4", b"B" * 5000)])
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"AAAB", 1))
    archive = open_videos(path)
    with pytest.raises(ValueError, match="damaged"):
        archive.extract(archive.entries[0], tmp_path)
    assert archive.read(archive.entries[1]) == b"B" * 5000


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("a.mp4", b"A"), ("b.mp4", b"B")])
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert "encrypted" in reasons(open_videos(path))["b"]


def test_tar_tricks_do_nothing_but_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("../up.mp4", tarfile.REGTYPE, ""),
            ("/absolute.mp4", tarfile.REGTYPE, ""),
            ("soft.mp4", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.mp4", tarfile.LNKTYPE, "clip.mp4"),
            ("pipe.mp4", tarfile.FIFOTYPE, ""),
            ("device.mp4", tarfile.CHRTYPE, ""),
            ("folder", tarfile.DIRTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for data in (b"first", b"2"):
            info = tarfile.TarInfo("clip.mp4")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    videos = open_videos(path)
    assert keys(videos) == ["clip"]
    assert videos.read(videos.entries[0]) == b"first"
    assert set(reasons(videos)) == {"up", "absolute", "soft", "hard", "pipe", "device", "clip"}


def test_a_folder_reads_like_an_archive_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "video3.mp4").write_bytes(b"three")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "loop").symlink_to(folder)
    archive = open_videos(folder)
    assert keys(archive) == ["video3"]
    assert "a link" in reasons(archive)["link"]
    assert archive.read(archive.entries[0]) == b"three"


def test_own_clips_of_one_name_in_two_folders_are_two_clips(tmp_path: Path) -> None:
    files: list[tuple[str | zipfile.ZipInfo, bytes]] = [(f"{kind}/001.mp4", b"x") for kind in ("cats", "dogs")]
    files += [("cats/001.txt", b"a cat"), ("dogs/001.txt", b"a dog\na second caption")]
    path = make_zip(tmp_path / "x.zip", files)
    assert keys(open_videos(path)) == ["cats/001", "dogs/001"]
    assert read_captions(path).captions == {"cats/001": ("a cat",), "dogs/001": ("a dog", "a second caption")}


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not really", b"\0" * 4096, b"\x1f\x8b\x08\x00 cut"])
def test_what_is_no_archive_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a whole zip or tar|empty file|it is empty"):
        local.fetch(local_params(path), tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        open_videos(tmp_path / "gone.zip")


def read_first(archive: VideoArchive) -> bytes:
    return archive.read(archive.entries[0])


@pytest.mark.slow
def test_worker_processes_can_be_handed_an_archive(tmp_path: Path) -> None:
    archive = open_videos(make_zip(tmp_path / "x.zip", [("video1.mp4", b"bytes")]))
    archive.read(archive.entries[0])  # the handle is open here
    assert keys(pickle.loads(pickle.dumps(archive))) == ["video1"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(read_first, archive).result() == b"bytes"


# Captions


def msrvtt_json(captions: list[tuple[str, Any]], splits: dict[str, str]) -> bytes:
    return json.dumps(
        {
            "info": {},
            "videos": [{"video_id": key, "split": split, "start time": 0.0} for key, split in splits.items()],
            "sentences": [{"sen_id": n, "video_id": key, "caption": text} for n, (key, text) in enumerate(captions)],
        }
    ).encode()


def test_msrvtt_json_keeps_all_captions_and_names_the_bad_ones(tmp_path: Path) -> None:
    bad: list[Any] = ["", " \t\n", None, 7, ["a list"], "?!", "\0\1\2", "x" * 6000]
    captions = [("video2", "A  man\ttalks "), ("video10", "ein Hund läuft"), ("video2", "two  spaces stay")]
    splits = {"video10": "validate", "video2": "train", "video3": "test"}
    path = tmp_path / "captions.json"
    path.write_bytes(msrvtt_json([*captions, *(("video10", text) for text in bad), ("video99", "who?")], splits))
    read = read_captions(path)
    assert list(read.captions.items()) == [
        ("video2", ("A man talks", "two  spaces stay")),
        ("video10", ("ein Hund läuft",)),
    ]
    assert read.split == {"video2": "train", "video10": "validate"}
    assert read.split_rule == "official"
    assert [rejected.key for rejected in read.rejected] == ["video10"] * len(bad) + ["video99", "video3"]
    assert "sen_id 3: an empty caption" in read.rejected[0].reason


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "txt"])
def test_other_forms_read_alike(tmp_path: Path, form: str) -> None:
    rows = [("clip_1.mp4", 'he said "no", twice', "val"), ("b", "a cat", "train"), ("b", "a cat sleeps", "train")]
    records = [{"video_id": key, "caption": text, "split": split} for key, text, split in rows]
    path = tmp_path / f"captions.{form}"
    if form == "csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["video_id", "caption", "split"])
            writer.writeheader()
            writer.writerows(records)
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, records)) + "\n")
    elif form == "json":
        path.write_text(json.dumps(records))
    else:
        path = tmp_path / "texts"
        for key, text, split in rows:
            (path / split).mkdir(parents=True, exist_ok=True)
            with (path / split / key).with_suffix(".txt").open("a") as file:
                file.write(text + "\n")
    read = read_captions(path)
    assert read.captions == {"b": ("a cat", "a cat sleeps"), "clip_1": ('he said "no", twice',)}
    assert read.split == {"b": "train", "clip_1": "validate"}
    assert read.rejected == ()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b'{"videos": [', "not whole JSON"),
        ("a.json", b'{"other": 1}', "expected an object with `videos`"),
        ("a.json", b"\xff\xfe", "not UTF-8"),
        ("a.csv", b"name,text\nx,y\n", "columns name, text"),
        ("a.csv", b"video_id,caption\n", "no caption found"),
        ("a.csv", b"video_id,caption\nx,\n", "x: a.csv line 2: an empty caption"),
        ("a.jsonl", b'{"video_id": "x"}\n', "line 1: not a record"),
        ("a.txt", b"\xff\xfe\x00", "not UTF-8"),
    ],
)
def test_a_captions_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_captions(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_unquoted_comma_in_a_csv_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("video_id,caption\nx,a cat, a dog\ny,a bird\n")
    read = read_captions(tmp_path / "a.csv")
    assert read.captions == {"y": ("a bird",)}
    assert "in quotes" in read.rejected[0].reason


def test_an_unknown_split_is_rejected_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(msrvtt_json([("a", "a cat"), ("b", "a dog")], {"a": "holdout", "b": "train"}))
    read = read_captions(tmp_path / "a.json")
    assert list(read.captions) == ["b"]
    assert "'holdout'" in read.rejected[0].reason


def test_clips_without_a_split_get_one_by_hash() -> None:
    names = [f"clip{n}" for n in range(40)]
    split = split_by_hash(names)
    assert list(split.values()).count("validate") == 4
    assert split_by_hash(names[::-1]) == split
    assert sorted(split_by_hash(names[:2]).values()) == ["train", "validate"]
    assert split_by_hash(names[:1]) == {"clip0": "train"}


def test_a_mirror_that_nests_its_files_twice_reads_once(tmp_path: Path) -> None:
    data = msrvtt_json([("video0", "a cat")], {"video0": "train"})
    path = make_zip(tmp_path / "x.zip", [("a/info.json", data), ("b/info.json", data), ("meta.json", b'{"x": 1}')])
    read = read_captions(path)
    assert (read.captions, read.rejected) == ({"video0": ("a cat",)}, ())


def test_the_1k_a_rule_needs_its_list_and_never_mixes(tmp_path: Path) -> None:
    splits = {"video0": "train", "video6600": "validate", "video7010": "test", "video9000": "test"}
    (tmp_path / "all.json").write_bytes(msrvtt_json([(key, f"about {key}") for key in splits], splits))
    with pytest.raises(ValueError, match="list of 1,000 test ids"):
        read_captions(tmp_path).split_by("1k-A")
    table = tmp_path / "MSRVTT_JSFUSION_test.csv"
    table.write_text("key,vid_key,video_id,sentence\nret0,msr9000,video9000,about it\n")
    read = read_captions(tmp_path)
    assert read.captions["video9000"] == ("about video9000",)
    rule = read.split_by("1k-A")
    assert rule == {"video0": "train", "video6600": "train", "video7010": "train", "video9000": "test"}
    assert read.split_by("official") == splits
    table.write_text("key,vid_key,video_id,sentence\nret0,msr1,video1,about it\n")
    with pytest.raises(ValueError, match="none of its 1,000 test clips"):
        read_captions(tmp_path).split_by("1k-A")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real annotations beside the checkout")
def test_the_full_annotation_reads_in_seconds() -> None:
    started = time.process_time()
    read = read_captions(REAL / "train_val_annotation.full.zip")
    assert time.process_time() - started < 10
    assert (len(read.captions), sum(map(len, read.captions.values()))) == (7010, 140200)
    assert len({text for texts in read.captions.values() for text in texts}) == 118145
    assert list(read.split.values()).count("validate") == 497


# Local sources


def test_a_folder_becomes_one_tar_of_stable_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    (folder / "x").mkdir(parents=True)
    for name in ("x/video10.mp4", "x/video9.mp4"):
        (folder / name).write_bytes(name.encode())
        (folder / name).with_suffix(".txt").write_text(f"about {name[2:-4]}")
    (folder / "notes.pdf").write_bytes(b"not wanted")
    (folder / "link.mp4").symlink_to("x/video9.mp4")
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    manifest = local.fetch(local_params(folder), tmp_path / "1")
    os.utime(folder / "x" / "video9.mp4", (1, 1))
    local.fetch(local_params(folder), tmp_path / "2")
    assert (tmp_path / "1" / "videos.tar").read_bytes() == (tmp_path / "2" / "videos.tar").read_bytes()
    assert (manifest.videos, manifest.captions, manifest.clips, manifest.rejected) == ("videos.tar", "videos.tar", 2, 1)
    videos = open_videos(tmp_path / "1" / "videos.tar")
    assert keys(videos) == ["video9", "video10"]
    assert "a link" in reasons(videos)["link"]


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.xz", "tar"])
def test_a_compressed_tar_becomes_a_plain_one(tmp_path: Path, suffix: str) -> None:
    mode: Any = "w" if suffix == "tar" else f"w:{suffix[4:]}"
    with tarfile.open(tmp_path / f"x.{suffix}", mode) as archive:
        for name, data in (("video1.mp4", b"one"), ("video1.txt", b"a caption")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "out").mkdir()
    local.fetch(local_params(tmp_path / f"x.{suffix}"), tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "videos.tar", "r:") as plain:
        assert plain.getnames() == ["video1.mp4", "video1.txt"]


def test_clips_and_captions_that_do_not_meet_are_one_line(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("clip1.mp4", b"x")])
    (tmp_path / "c.csv").write_text("video_id,caption\nother,a cat\n")
    with pytest.raises(ValueError, match=r"none of the 1 clips of x\.zip \(such as 'clip1'\) has a caption in c\.csv"):
        local.fetch(local_params(path, tmp_path / "c.csv"), tmp_path)
    with pytest.raises(ValueError, match=r"x\.zip: no caption found.* name it in download\.captions_path"):
        local.fetch(local_params(path), tmp_path)
    empty = make_zip(tmp_path / "e.zip", [("a.pdf", b"x")])
    with pytest.raises(ValueError, match=r"e\.zip: no video in it \(1 files, such as 'a\.pdf'\)"):
        local.fetch(local_params(empty, tmp_path / "c.csv"), tmp_path)
    (tmp_path / "one.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match="is one video; give the folder"):
        local.fetch(local_params(tmp_path / "one.mp4"), tmp_path)


def test_a_folder_with_the_archives_of_kaggle_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    make_zip(folder / "msrvtt.zip", [("TrainValVideo/video0.mp4", b"x")])
    data = msrvtt_json([("video0", "a cat")], {"video0": "train"})
    make_zip(folder / "msrvttdatainfo.zip", [("info.json", data)])
    (tmp_path / "out").mkdir()
    manifest = local.fetch(local_params(folder), tmp_path / "out")
    assert (manifest.videos, manifest.captions, manifest.captioned_clips) == ("videos.zip", "captions.zip", 1)
    (folder / "other.json").write_bytes(data)
    with pytest.raises(ValueError, match=r"captions_path \(one of msrvttdatainfo\.zip, other\.json\)"):
        local.fetch(local_params(folder), tmp_path / "out")
    make_zip(folder / "more.zip", [("video7.mp4", b"x")])
    with pytest.raises(ValueError, match=r"several archives of videos \(more\.zip, msrvtt\.zip\)"):
        local.fetch(local_params(folder), tmp_path / "out")
