"""Archives with tricks in them, and clips that the user has."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources import local
from pipeline.sources.archive import VideoArchive, open_videos
from pipeline.sources.captions import read_captions
from tests.source_toys import local_params, make_zip, msrvtt_json


def keys(archive: VideoArchive) -> list[str]:
    return [entry.key for entry in archive.entries]


def reasons(archive: VideoArchive) -> dict[str, str]:
    return {rejected.key: rejected.reason for rejected in archive.rejected}


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


def test_a_folder_reads_like_an_archive_and_follows_its_links(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "far.mp4").write_bytes(b"far")
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "video3.mp4").write_bytes(b"three")
    (folder / "link.mp4").symlink_to(tmp_path / "disk" / "far.mp4")
    (folder / "more").symlink_to(tmp_path / "disk")
    (folder / "gone.mp4").symlink_to(tmp_path / "nowhere")
    (folder / "deep" / "loop").symlink_to(folder)
    archive = open_videos(folder)
    assert keys(archive) == ["far", "link", "video3"]
    assert [archive.read(entry) for entry in archive.entries] == [b"far", b"far", b"three"]
    assert reasons(archive) == {
        "gone": "'gone.mp4': a link that leads nowhere",
        "loop": "'deep/loop': a link to a folder that it lies in",
    }


def test_every_suffix_that_a_decoder_takes_is_a_clip_and_the_rest_is_named(tmp_path: Path) -> None:
    """A poster or a preview beside a video is no clip, alone it is one; another folder's is another clip."""
    names = ["a.MTS", "b.m2ts", "c.VOB", "d.GIF", "e.webp", "f.png", "notes.pdf", ".kept.mp4", "x/._a.mp4", ".DS_Store"]
    names += ["g.mp4", "g.jpg", "h.gif", "h.avi", "posters/g.jpg", "video5.mp4", "thumbs/video5.jpg"]
    archive = open_videos(make_zip(tmp_path / "x.zip", [(name, name.encode()) for name in names]))
    by_key = {entry.key: entry.name for entry in archive.entries}
    assert by_key == {
        **{"a": "a.MTS", "b": "b.m2ts", "c": "c.VOB", "d": "d.GIF", "e": "e.webp", "f": "f.png"},
        **{"g": "g.mp4", "h": "h.avi", "posters/g": "posters/g.jpg", "video5": "video5.mp4"},
    }
    assert archive.others == ["notes.pdf", ".kept.mp4"]
    assert {rejected.reason for rejected in archive.rejected} == {
        "'g.jpg': a second clip of this name; 'g.mp4' is used",
        "'h.gif': a second clip of this name; 'h.avi' is used",
        "'thumbs/video5.jpg': a second clip of this name; 'video5.mp4' is used",
    }


def unflagged(path: Path, extra: bytes = b"") -> None:
    """Take the UTF-8 flag from the names of a zip, as Info-ZIP on Debian and macOS do."""
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        start = data.find(signature)
        while start >= 0:
            data[start + place] &= ~0x08
            start = data.find(signature, start + 4)
    path.write_bytes(bytes(data))


def test_names_are_read_as_they_were_meant(tmp_path: Path) -> None:
    """UTF-8 without its flag, decomposed letters, code page 437, a Unicode path beside it, Latin-1 bytes on a disk."""
    apart = unicodedata.normalize("NFD", "niño")
    path = make_zip(tmp_path / "x.zip", [("café.mp4", b"1"), (f"{apart}.mp4", b"2"), ("한글.mp4", b"3")])
    unflagged(path)
    archive = open_videos(path)
    assert keys(archive) == ["café", "niño", "한글"]
    assert [archive.read(entry) for entry in archive.entries] == [b"1", b"2", b"3"]

    cyrillic = "кот.mp4".encode("cp866")
    info = zipfile.ZipInfo("aaa.mp4")
    told = "кот.mp4".encode()
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(told), 1, zlib.crc32(cyrillic)) + told
    path = make_zip(tmp_path / "y.zip", [(info, b"4"), ("bbb.mp4", b"5")])
    data = path.read_bytes().replace(b"aaa.mp4", cyrillic).replace(b"bbb.mp4", "ü.mp4".encode("cp437").ljust(7, b"4"))
    path.write_bytes(data)
    assert keys(open_videos(path))[-1] == "кот"

    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / f"{apart}.mp4").write_bytes(b"6")
    with open(os.fsencode(folder) + b"/caf\xe9.mp4", "wb") as file:  # noqa: PTH123
        file.write(b"7")
    (tmp_path / "c.csv").write_text("video_id,caption\nniño,a child\ncafé,a coffee\n", encoding="utf-8")
    (tmp_path / "out").mkdir()
    manifest = local.fetch(local_params(folder, tmp_path / "c.csv"), tmp_path / "out")
    assert (manifest.captioned_clips, manifest.rejected) == (2, 0)
    assert keys(open_videos(tmp_path / "out" / "videos.tar")) == ["café", "niño"]


def test_where_every_member_is_refused_the_first_reason_is_said(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", [("a.mp4", b"A"), ("b.mp4", b"B")])
    data = path.read_bytes()
    central = data.index(b"PK\x01\x02")
    deflate64 = bytearray(data)
    for start in (central, data.rindex(b"PK\x01\x02")):
        deflate64[start + 10] = 9
    path.write_bytes(bytes(deflate64))
    with pytest.raises(ValueError, match=r"x\.zip: no video in it \(2 refused, the first: 'a\.mp4': compressed by a"):
        local.fetch(local_params(path), tmp_path)
    split = bytearray(data)
    split[-18:-16] = b"\1\0"  # the number of this disk
    path.write_bytes(bytes(split))
    with pytest.raises(ValueError, match=r"x\.zip: a part of a split archive; join its parts first"):
        local.fetch(local_params(path), tmp_path)
    (tmp_path / "x.z01").write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=r"x\.z01: a part of a split archive"):
        local.fetch(local_params(tmp_path / "x.z01"), tmp_path)


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


# Local sources


def test_a_folder_becomes_one_tar_of_stable_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    (folder / "x").mkdir(parents=True)
    for name in ("x/video10.mp4", "x/video9.mp4"):
        (folder / name).write_bytes(name.encode())
        (folder / name).with_suffix(".txt").write_text(f"about {name[2:-4]}")
    (folder / "notes.pdf").write_bytes(b"not wanted")
    (folder / "video11.mp4").symlink_to("x/video9.mp4")
    (folder / "video11.txt").write_text("linked")
    (folder / "gone.mp4").symlink_to("nowhere")
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    manifest = local.fetch(local_params(folder), tmp_path / "1")
    os.utime(folder / "x" / "video9.mp4", (1, 1))
    local.fetch(local_params(folder), tmp_path / "2")
    assert (tmp_path / "1" / "videos.tar").read_bytes() == (tmp_path / "2" / "videos.tar").read_bytes()
    assert (manifest.videos, manifest.captions, manifest.clips, manifest.rejected) == ("videos.tar", "videos.tar", 3, 0)
    videos = open_videos(tmp_path / "1" / "videos.tar")
    assert keys(videos) == ["video9", "video10", "video11"]
    assert videos.read(videos.entries[2]) == b"x/video9.mp4"
    assert manifest.left_out == {
        "notes.pdf": "by its name neither a video nor captions",
        "gone": "'gone.mp4': a link that leads nowhere",
    }


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
