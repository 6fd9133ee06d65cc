"""Captions in every form, matched with their clips, and the rules of splitting."""

from __future__ import annotations

import csv
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.sources.archive import VideoEntry, open_videos
from pipeline.sources.captions import read_captions
from pipeline.sources.splits import HoldOut, split_by_hash
from tests.source_toys import make_zip, msrvtt_json

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("T2V_REAL_DATA", ROOT.parent / "shared" / "data")) / "msrvtt-real"


def test_msrvtt_json_keeps_all_captions_and_names_the_bad_ones(tmp_path: Path) -> None:
    bad: list[Any] = ["", " \t\n", None, 7, {"no": "caption"}, "?!", "\0\1\2", "x" * 6000]
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
    assert (read.split_by_file if form == "txt" else read.split) == {"b": "train", "clip_1": "validate"}
    assert read.rejected == ()


FORMS: dict[str, tuple[str, Any]] = {
    "coco, as MSR_VTT.json has it": (
        "MSR_VTT.json",
        {
            "images": [{"id": "one"}, {"id": "two"}],
            "annotations": [
                {"id": 0, "image_id": "one", "caption": "a cat"},
                {"id": 1, "image_id": "two", "caption": "a dog"},
                {"id": 2, "image_id": "one", "caption": "a black cat"},
            ],
        },
    ),
    "coco with numbers and file names": (
        "c.json",
        {
            "images": [{"id": 7, "file_name": "v/one.mp4"}, {"id": 8, "file_name": "v/two.mp4"}],
            "annotations": [
                {"id": n, "image_id": i, "caption": t}
                for n, (i, t) in enumerate([(7, "a cat"), (8, "a dog"), (7, "a black cat")])
            ],
        },
    ),
    "lists by split": (
        "c.json",
        {
            "train": [{"video": "one", "caption": "a cat"}, {"video": "one", "caption": "a black cat"}],
            "val": [],
            "test": [{"video": "two.avi", "caption": "a dog"}],
        },
    ),
    "captions by clip, by split": (
        "c.json",
        {"train": {"one": {"caption": ["a cat", "a black cat"]}}, "testing": {"two.avi": "a dog"}},
    ),
    "captions by clip": ("c.json", {"one": ["a cat", "a black cat"], "two": "a dog"}),
    "nested sentences": (
        "c.json",
        {
            "images": [
                {"filename": "one.mp4", "sentences": [{"raw": "a cat"}, {"raw": "a black cat"}], "split": "train"},
                {"filename": "two.mp4", "sentences": [{"raw": "a dog"}], "split": "test"},
            ]
        },
    ),
    "JSON lines named .json": (
        "c.json",
        '{"video_id": "one", "caption": "a cat"}\n\n{"video_id": "one", "caption": "a black cat"}\n'
        '{"video_id": "two", "caption": "a dog"}\n',
    ),
    "a list named .jsonl": (
        "c.jsonl",
        [{"vid": "one", "text": ["a cat", "a black cat"]}, {"vid": "two", "text": "a dog"}],
    ),
    "TSV": ("c.tsv", "video_id\tcaption\none\ta cat\none\ta black cat\ntwo\ta dog\n"),
    "Excel's CSV": ("c.csv", "\ufefffilename;text\r\none.mp4;a cat\r\n;\r\none.mp4;a black cat\r\ntwo.mp4;a dog\r\n"),
    "Excel's first line": ("c.csv", 'sep=;\n"Video ID";"Caption"\none;a cat\none;a black cat\ntwo;"a dog"\n'),
    "paths": ("c.csv", "path,prompt\n/home/me/v/one.mp4,a cat\nv\\one.mp4,a black cat\n./two.mp4,a dog\n"),
    "WebVid's": (
        "c.csv",
        "videoid,contentUrl,name\none,https://x,a cat\none,https://x,a black cat\ntwo,https://y,a dog\n",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16"])
def test_common_forms_are_read(tmp_path: Path, form: str, codec: str) -> None:
    name, content = FORMS[form]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_bytes(text.encode(codec))
    clips = open_videos(make_zip(tmp_path / "v.zip", [("v/one.mp4", b"1"), ("two.mp4", b"2")])).entries
    read = read_captions(tmp_path / name).matched(clips)
    assert read.captions == {"one": ("a cat", "a black cat"), "two": ("a dog",)}
    assert read.rejected == ()


def test_numbers_are_ids(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text(
        '{"video_id": 78687, "caption": "holding"}\n{"video_id": 4, "caption": "putting"}\n'
    )
    assert read_captions(tmp_path / "c.jsonl").captions == {"4": ("putting",), "78687": ("holding",)}


def test_a_list_of_prompts_beside_a_list_of_videos(tmp_path: Path) -> None:
    files: list[Any] = [("videos/0.mp4", b"0"), ("videos/1.mp4", b"1"), ("videos.txt", b"videos/0.mp4\nvideos/1.mp4\n")]
    path = make_zip(tmp_path / "x.zip", [*files, ("prompts.txt", b"a cat\na dog\n\n")])
    assert read_captions(path).matched(open_videos(path).entries).captions == {"0": ("a cat",), "1": ("a dog",)}
    path = make_zip(tmp_path / "y.zip", [*files, ("prompts.txt", b"a cat\n")])
    with pytest.raises(ValueError, match=r"videos\.txt has 2 lines and prompts\.txt 1; give a line for each"):
        read_captions(path)


def test_excels_unicode_text_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_bytes("filename\ttext\r\nöl.mp4\tein Hund\r\n".encode("utf-16"))
    assert read_captions(tmp_path / "c.txt").captions == {"öl": ("ein Hund",)}


def test_an_id_finds_its_clip_by_the_folders_that_it_names(tmp_path: Path) -> None:
    names = ["cats/001.mp4", "dogs/001.mp4", "dogs/002.mp4", "thumbs/002.jpg"]
    clips = open_videos(make_zip(tmp_path / "x.zip", [(name, b"x") for name in names])).entries
    (tmp_path / "c.csv").write_text(
        "file,text\n/data/dogs/001.mp4,a dog\n001,a pet\n002,another\nthumbs/002.jpg,a still\n"
    )
    read = read_captions(tmp_path / "c.csv").matched(clips)
    assert read.captions == {"dogs/001": ("a dog",), "002": ("another",), "thumbs/002": ("a still",)}
    assert [(one.key, one.reason) for one in read.rejected] == [
        ("001", "several clips have this name; give their paths")
    ]


def test_columns_beside_the_captions_are_attributes(tmp_path: Path) -> None:
    """What all rows of a clip agree on; ids, splits and MSR-VTT's book-keeping are none."""
    rows = [
        {"video_id": "a", "id": 1, "caption": "a cat", "tone": "dark", "age": 3, "by": "x", "url": "u", "tags": ["t"]},
        {"video_id": "a", "id": 2, "caption": "the cat", "tone": "dark", "age": 3, "by": "y", "url": "u", "tags": []},
        {
            "video_id": "b",
            "id": 3,
            "caption": "a dog",
            "tone": " ",
            "age": 2.5,
            "by": "y",
            "url": "v",
            "split": "train",
        },
    ]
    (tmp_path / "c.json").write_text(json.dumps(rows))
    read = read_captions(tmp_path / "c.json")
    assert read.attributes == {"a": {"tone": "dark", "age": 3}, "b": {"age": 2.5, "by": "y"}}
    assert isinstance(read.attributes["a"]["age"], int)
    assert [(one.key, one.reason) for one in read.rejected] == [
        ("a", "c.json: column 'by' differs between the captions of 1 clips, such as this one; left out for them")
    ]
    (tmp_path / "c.csv").write_text("video_id;caption;subject\nc;a cow;cow\n")
    assert read_captions(tmp_path / "c.csv").attributes == {"c": {"subject": "cow"}}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b'{"videos": [', "not whole JSON"),
        ("a.json", b'{"other": 1}', "expected videos and sentences"),
        ("a.json", b'{"train": 1}', "'train' holds no list of records"),
        ("a.json", b"\xff\xfe", "not whole JSON"),
        ("a.json", b"\xff\xfe\x00", "neither UTF-8 nor UTF-16 text"),
        ("a.csv", b"caf\xe9,text\n", "neither UTF-8 nor UTF-16 text .byte 3."),
        ("a.csv", b"colour,size\nx,y\n", "columns colour, size; captions need one for the clip"),
        ("a.csv", b"video_id,caption\n", "no caption found"),
        ("a.csv", b"", "columns none"),
        ("a.csv", b"video_id,caption\nx,\n", "x: a.csv row 2: an empty caption"),
        ("a.csv", b'video_id,caption\nx,a cat\ny,"a dog\nz,a cow\n', "a.csv: row 3: a quotation mark is never closed"),
        ("a.jsonl", b'{"video_id": "x"}\n{"video_id": "y"}', "columns video_id; captions need"),
        ("a.json", b'{"video_id": "x"}', "not a captions file"),
        ("a.txt", b"\xff\xfe\x00", "neither UTF-8 nor UTF-16"),
    ],
)
def test_a_captions_file_that_cannot_be_read_is_one_line(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_captions(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_unquoted_comma_in_a_csv_is_named_and_a_long_caption_costs_itself(tmp_path: Path) -> None:
    text = f'video_id,caption\nx,a cat, a dog\ny,a bird\nz,{"w" * 300_000}\nq,"two\nlines"\n'
    (tmp_path / "a.csv").write_text(text)
    read = read_captions(tmp_path / "a.csv")
    assert read.captions == {"q": ("two lines",), "y": ("a bird",)}
    assert [(one.key, one.reason[:30]) for one in read.rejected] == [
        ("x", "a.csv row 2: more fields than "),
        ("z", "a.csv row 4: a caption of 3000"),
    ]


def test_an_unknown_split_is_rejected_by_key(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(msrvtt_json([("a", "a cat"), ("b", "a dog")], {"a": "holdout", "b": "train"}))
    read = read_captions(tmp_path / "a.json")
    assert list(read.captions) == ["b"]
    assert "'holdout'" in read.rejected[0].reason


def test_a_mirror_that_nests_its_files_twice_reads_once_and_names_what_is_no_captions_file(tmp_path: Path) -> None:
    data = msrvtt_json([("video0", "a cat")], {"video0": "train"})
    path = make_zip(tmp_path / "x.zip", [("a/info.json", data), ("b/info.json", data), ("meta.json", b'{"x": 1}')])
    read = read_captions(path)
    assert read.captions == {"video0": ("a cat",)}
    assert [one.reason[:35] for one in read.rejected] == ["meta.json: not a captions file; exp"]


# Splits


def clips_of(folder: Path, names: list[str]) -> list[VideoEntry]:
    return open_videos(make_zip(folder / "v.zip", [(name, b"x") for name in names])).entries


def test_clips_without_a_split_get_one_by_hash() -> None:
    names = [f"clip{n}" for n in range(40)]
    split = split_by_hash(names)
    assert list(split.values()).count("validate") == 4
    assert split_by_hash(names[::-1]) == split
    assert sorted(split_by_hash(names[:2]).values()) == ["train", "validate"]
    assert split_by_hash(names[:1]) == {"clip0": "train"}


def test_the_captions_own_split_counts_and_a_tenth_of_train_validates_where_none_does(tmp_path: Path) -> None:
    records = [{"video_id": f"c{n}", "caption": "a cat", "split": "test" if n < 5 else "train"} for n in range(25)]
    (tmp_path / "c.json").write_text(json.dumps([*records, {"video_id": "c7", "caption": "again", "split": "test"}]))
    splits = read_captions(tmp_path / "c.json").splits(clips_of(tmp_path, [f"c{n}.mp4" for n in range(25)]))
    assert splits.rule == "official, validate by hash"
    assert {key for key, split in splits.of.items() if split == "test"} == {"c0", "c1", "c2", "c3", "c4", "c7"}
    assert list(splits.of.values()).count("validate") == 1


def test_the_name_of_a_captions_file_tells_the_split(tmp_path: Path) -> None:
    """train.csv, val.csv and test.csv. A clip in two is the more held back; one file alone tells nothing."""
    folder = tmp_path / "c"
    folder.mkdir()
    for name, ids in (("train", range(6)), ("val", [6, 7]), ("my_Test", [8, 9, 5])):
        (folder / f"{name}.csv").write_text("video_id,caption\n" + "".join(f"c{n},a cat\n" for n in ids))
    clips = clips_of(tmp_path, [f"c{n}.mp4" for n in range(10)])
    splits = read_captions(folder).splits(clips)
    assert splits.rule == "by the names of files"
    told = {split: {key for key, value in splits.of.items() if value == split} for split in ("validate", "test")}
    assert told == {"validate": {"c6", "c7"}, "test": {"c5", "c8", "c9"}}
    (folder / "train.csv").unlink()
    (folder / "val.csv").unlink()
    assert set(read_captions(folder).splits(clips[8:]).of.values()) == {"train", "validate"}


def test_the_folder_of_a_clip_tells_the_split(tmp_path: Path) -> None:
    names = [*(f"TrainValVideo/c{n}.mp4" for n in range(5)), "TestVideo/c5.mp4", "val/c6.mp4"]
    (tmp_path / "c.csv").write_text("video_id,caption\n" + "".join(f"c{n},a cat\n" for n in range(7)))
    splits = read_captions(tmp_path / "c.csv").splits(clips_of(tmp_path, names))
    assert (splits.of["c5"], splits.of["c6"], splits.of["c0"]) == ("test", "validate", "train")


def test_the_ids_of_msrvtt_tell_the_split(tmp_path: Path) -> None:
    """The mirror's training file of 9,000 holds clips of the official test split; 1k-A's list is its other file."""
    folder = tmp_path / "c"
    folder.mkdir()
    for name, ids in (("msrvtt_train_9k", [0, 6512, 6513, 7009, 7010]), ("msrvtt_test_1k", [7020, 9999])):
        records = [{"video_id": f"video{n}", "id": 0, "caption": ["a man talks", "a man"]} for n in ids]
        (folder / f"{name}.json").write_text(json.dumps(records))
    read = read_captions(folder)
    clips = clips_of(tmp_path, [f"video{n}.mp4" for n in (0, 6512, 6513, 7009, 7010, 7020, 9999)])
    assert read.splits(clips).of == {
        **{"video0": "train", "video6512": "train", "video6513": "validate", "video7009": "validate"},
        **{"video7010": "test", "video7020": "test", "video9999": "test"},
    }
    assert read.splits(clips).rule == "by MSR-VTT's ids"
    rule = read.splits(clips, "1k-A")
    assert {key for key, split in rule.of.items() if split == "test"} == {"video7020", "video9999"}
    own = [f"video{n}.mp4" for n in (7020, 12000)]
    (tmp_path / "own.csv").write_text("video_id,caption\nvideo7020,a cat\nvideo12000,a dog\n")
    assert read_captions(tmp_path / "own.csv").splits(clips_of(tmp_path, own)).rule == "by hash"


def test_the_1k_a_rule_needs_its_list_and_never_mixes(tmp_path: Path) -> None:
    splits = {"video0": "train", "video6600": "validate", "video7010": "test", "video9000": "test"}
    clips = clips_of(tmp_path, [f"{key}.mp4" for key in splits])
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "all.json").write_bytes(msrvtt_json([(key, f"about {key}") for key in splits], splits))
    with pytest.raises(ValueError, match="list of 1,000 test ids"):
        read_captions(folder).splits(clips, "1k-A")
    table = folder / "MSRVTT_JSFUSION_test.csv"
    table.write_text("key,vid_key,video_id,sentence\nret0,msr9000,video9000,about it\n")
    read = read_captions(folder)
    assert read.captions["video9000"] == ("about video9000",)
    rule = read.splits(clips, "1k-A")
    assert rule.rule == "1k-A, validate by hash"  # the judges need clips that training has not seen
    assert rule.of["video9000"] == "test"
    assert sorted(rule.of.values()) == ["test", "train", "train", "validate"]
    assert read.splits(clips).of == splits
    table.write_text("key,vid_key,video_id,sentence\nret0,msr1,video1,about it\n")
    with pytest.raises(ValueError, match="none of its 1,000 test clips"):
        read_captions(folder).splits(clips, "1k-A")


def test_kin_stand_on_one_side(tmp_path: Path) -> None:
    """By a column or by a regex on keys; a clip without a group is alone."""
    names = [f"s{subject}-{tone}" for subject in range(30) for tone in range(4)] + ["alone"]
    rows = "".join(f"{name},a person,{name.split('-')[0] if '-' in name else ''}\n" for name in names)
    (tmp_path / "c.csv").write_text(f"video_id,caption,subject\n{rows}")
    read = read_captions(tmp_path / "c.csv")
    clips = clips_of(tmp_path, [f"{name}.mp4" for name in names])

    def sides(group: str | None) -> list[int]:
        of = read.splits(clips, group=group).of
        assert 8 <= list(of.values()).count("validate") <= 12
        return [len({of[f"s{subject}-{tone}"] for tone in range(4)}) for subject in range(30)]

    assert max(sides(None)) == 2
    assert max(sides("subject")) == 1
    assert max(sides("^(s[0-9]+)-")) == 1
    assert read.splits(clips, group="subject").rule == "by hash, kin by subject"
    with pytest.raises(ValueError, match=r"transcode\.group=hue: no column of this name.*\(columns: subject\)"):
        read.splits(clips, group="hue")
    with pytest.raises(ValueError, match="this regex finds nothing"):
        read.splits(clips, group="(x+)$")


def test_combinations_are_held_out_and_every_value_stays(tmp_path: Path) -> None:
    names = [f"s{subject}-t{tone}" for subject in range(20) for tone in range(5)]
    rows = "".join(f"{name},a person,{name.split('-')[0]},{name.split('-')[1]}\n" for name in [*names, "s99-t0"])
    (tmp_path / "c.csv").write_text(f"video_id,caption,subject,tone\n{rows}")
    read = read_captions(tmp_path / "c.csv")
    clips = clips_of(tmp_path, [f"{name}.mp4" for name in [*names, "s99-t0"]])
    splits = read.splits(clips, group="subject", hold_out=HoldOut(("subject", "tone"), 0.1, 0))
    assert splits.rule == "by hash, kin by subject, 10 combinations of subject and tone held out"
    held = {tuple(key.split("-")) for key, split in splits.of.items() if split == "held_out"}
    assert held == set(splits.held_out)
    assert len(held) == 10
    left = [key.split("-") for key, split in splits.of.items() if split != "held_out"]
    assert {subject for subject, _ in left} == {f"s{n}" for n in range(20)} | {"s99"}
    assert max(Counter(tone for _, tone in held).values()) == 2  # a tenth of a tone's 20
    assert max(Counter(subject for subject, _ in held).values()) == 1
    other = read.splits(clips, hold_out=HoldOut(("subject", "tone"), 0.1, 1))
    assert set(other.held_out) != held
    with pytest.raises(ValueError, match=r"hold_out=\['hue'\]: 0 combinations.*captions: subject, tone"):
        read.splits(clips, hold_out=HoldOut(("hue",), 0.1, 0))


def test_kin_that_the_captions_part_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("video_id,caption,split,who\na,x1,train,bo\nb,x2,test,bo\nc,x3,train,al\n")
    with pytest.raises(
        ValueError, match=r"1 groups have clips in several .* such as 'who bo' \(b in test, a in train\)"
    ):
        read_captions(tmp_path / "c.csv").splits(clips_of(tmp_path, ["a.mp4", "b.mp4", "c.mp4"]), group="who")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real annotations beside the checkout")
def test_the_full_annotation_reads_in_seconds() -> None:
    started = time.process_time()
    read = read_captions(REAL / "train_val_annotation.full.zip")
    assert time.process_time() - started < 10
    assert (len(read.captions), sum(map(len, read.captions.values()))) == (7010, 140200)
    assert len({text for texts in read.captions.values() for text in texts}) == 118145
    assert list(read.split.values()).count("validate") == 497
    assert read.attributes == {}
