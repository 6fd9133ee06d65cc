"""Shard sets: bytes, reading, the plain folder and back, the contact sheet."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config.data import TranscodeParams
from pipeline.config.params import load_params
from pipeline.data.gif import Clip, encode_gif
from pipeline.data.shards import Row, load_rows, read_captions, read_rows, read_set, to_row, write_set, write_shard
from pipeline.shards import captioned_sheet, choose, main
from pipeline.sources.captions import read_captions as read_captions_of
from pipeline.transcode.gif_folder import export_rows, import_folder

ROOT = Path(__file__).resolve().parent.parent


def clip(index: int, n_frames: int = 6, side: int = 24) -> Clip:
    frames = np.zeros((n_frames, side, side, 3), np.uint8)
    for number in range(n_frames):
        frames[number, 4:12, number : number + 8] = (200, 10 * index, 90)
    split = "validate" if index % 3 == 2 else "train"
    captions = (f"clip {index}, first", f"clip {index}, sécond")
    return Clip(f"key{index}", split, captions, frames, 12.5, f"drawn:{index}", {"seed": index})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [to_row(clip(index)) for index in range(7)]
    write_shard(tmp_path / "set" / "shard-00000.parquet", rows[:4])
    write_shard(tmp_path / "set" / "shard-00001.parquet", rows[4:])
    write_set(tmp_path / "set", {"set": "toy", "counts": {"train": 5, "validate": 2}})
    return tmp_path / "set"


def test_what_goes_in_comes_out(folder: Path) -> None:
    rows = list(read_rows(folder))
    assert [row.key for row in rows] == [f"key{i}" for i in range(7)]
    np.testing.assert_array_equal(rows[4].frames(), clip(4).frames)
    assert rows[4].captions == clip(4).captions
    assert rows[4].attributes == {"seed": 4}
    assert [row.key for row in read_rows(folder, "validate")] == ["key2", "key5"]
    assert [row.key for row in read_rows(folder, "train", limit=3)] == ["key0", "key1", "key3"]
    assert next(read_captions(folder)) == ("key0", "train", clip(0).captions)


def test_bytes_are_stable(folder: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "again.parquet", [to_row(clip(index)) for index in range(4)])
    assert (tmp_path / "again.parquet").read_bytes() == (folder / "shard-00000.parquet").read_bytes()


def test_a_split_loads_into_memory(folder: Path) -> None:
    loaded = load_rows(read_rows(folder, "train"))
    assert loaded.frames.shape == (5, 6, 24, 24, 3)
    np.testing.assert_array_equal(loaded.frames[3], clip(4).frames)
    with pytest.raises(ValueError, match="empty"):
        load_rows(read_rows(folder, "nowhere"))


def test_a_missing_set_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dvc repro"):
        list(read_rows(tmp_path))
    with pytest.raises(ValueError, match="dvc repro"):
        read_set(tmp_path)


def shape(**changes: object) -> TranscodeParams:
    toy = {"frames": 6, "resolution": 24, "clips_per_shard": 4, "time_limit_s": 20.0, "max_rejected_share": 0.9}
    return TranscodeParams.read({**load_params(ROOT / "tests/params.yaml").transcode.model_dump(), **toy, **changes})


def test_export_and_import_give_the_same_shards(folder: Path, tmp_path: Path) -> None:
    assert export_rows(read_rows(folder), tmp_path / "plain") == 7
    assert (tmp_path / "plain" / "key5.txt").read_text(encoding="utf-8") == "clip 5, first\nclip 5, sécond\n"
    about = import_folder(tmp_path / "plain", tmp_path / "back", shape())
    assert about["counts"] == {"train": 5, "validate": 2}
    assert about["split_rule"] == "as exported"
    for path in folder.glob("*.parquet"):
        assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="already"):
        import_folder(tmp_path / "plain", tmp_path / "back", shape())


def test_an_export_is_a_folder_of_captions_too(folder: Path, tmp_path: Path) -> None:
    """What `download.source=local` reads of it: the same captions, splits and attributes."""
    export_rows(read_rows(folder), tmp_path / "plain")
    read = read_captions_of(tmp_path / "plain")
    assert read.captions["key5"] == clip(5).captions
    assert (read.split["key5"], read.split["key4"]) == ("validate", "train")
    assert read.attributes["key4"] == {"seed": 4}
    assert read.rejected == ()


def test_a_folder_that_others_made(tmp_path: Path) -> None:
    """Another size, more and fewer frames, capitals, blank lines; a missing text, an empty one, and a GIF that is none.

    Frames are taken as the stage transcode takes them: over the whole clip.
    """
    plain = tmp_path / "plain"
    plain.mkdir()
    long, wide = clip(1, n_frames=9).frames, np.concatenate([clip(2).frames] * 2, axis=2)
    for name, frames in (("long", long), ("short", clip(3, 2).frames), ("wide", wide), ("mute", long), ("blank", long)):
        (plain / f"{name}.gif").write_bytes(encode_gif(frames, 10.0))
        (plain / f"{name}.txt").write_text(f"\n  a {name} clip\n\n", encoding="utf-8")
    (plain / "mute.txt").unlink()
    (plain / "blank.txt").write_text("\n", encoding="utf-8")
    (plain / "UPPER.GIF").write_bytes(encode_gif(long, 10.0))
    (plain / "UPPER.TXT").write_text("in capitals", encoding="utf-8")
    (plain / "broken.gif").write_bytes(b"GIF89a and no more")
    (plain / "broken.txt").write_text("broken", encoding="utf-8")
    (plain / "notes.pdf").write_bytes(b"notes")

    about = import_folder(plain, tmp_path / "set", shape())
    rows = {row.key: row for row in read_rows(tmp_path / "set")}
    assert set(rows) == {"long", "short", "wide", "UPPER"}
    assert rows["long"].captions == ("a long clip",)
    with (tmp_path / "set" / "rejected.csv").open(encoding="utf-8", newline="") as file:
        rejected = {key: reason for key, reason, _ in list(csv.reader(file))[1:]}
    assert rejected.keys() == {"notes.pdf", "mute", "blank", "broken"}
    assert (rejected["notes.pdf"], rejected["mute"]) == ("not a clip", "no caption")
    assert {row.frames().shape for row in rows.values()} == {(6, 24, 24, 3)}
    np.testing.assert_array_equal(rows["long"].frames(), long[[0, 1, 3, 4, 6, 7]])
    np.testing.assert_array_equal(rows["short"].frames(), clip(3, 2).frames[[0, 0, 0, 1, 1, 1]])
    assert about["counts"] == {"train": 3, "validate": 1, "test": 0}


def test_a_gif_cut_anywhere_costs_itself_alone(tmp_path: Path) -> None:
    whole = encode_gif(clip(1).frames, 10.0)
    for name in ("whole", *(f"cut{at}" for at in range(20, len(whole) - 1, 40))):
        (tmp_path / f"{name}.gif").write_bytes(whole[: int(name[3:])] if name != "whole" else whole)
        (tmp_path / f"{name}.txt").write_text("a clip\n", encoding="utf-8")
    import_folder(tmp_path, tmp_path / "set", shape(max_rejected_share=1.0))
    rows = {row.key: row for row in read_rows(tmp_path / "set")}
    np.testing.assert_array_equal(rows["whole"].frames(), clip(1).frames)
    with (tmp_path / "set" / "rejected.csv").open(encoding="utf-8", newline="") as file:
        rejected = {key for key, _, _ in csv.reader(file)}
    assert rejected == {path.stem for path in tmp_path.glob("cut*.gif")} | {"key"}
    assert rows.keys() == {"whole"}


def test_a_key_never_leaves_the_folder(tmp_path: Path) -> None:
    base = to_row(clip(0))
    rows = [Row(**{**base.__dict__, "key": key}) for key in ("../up", "a/b", "a_b", "..")]
    assert export_rows(rows, tmp_path / "plain") == 4
    assert len(list((tmp_path / "plain").glob("*.gif"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
    import_folder(tmp_path / "plain", tmp_path / "back", shape())
    assert {row.key for row in read_rows(tmp_path / "back")} == {"../up", "a/b", "a_b", ".."}


def test_the_sheet_shows_frames_and_captions(folder: Path) -> None:
    rows = choose(folder, 3, 0, None)
    sheet = captioned_sheet(rows)
    frames = rows[0].frames()
    np.testing.assert_array_equal(sheet[:24, :24], frames[0])
    np.testing.assert_array_equal(sheet[:24, 26 * 5 :][:, :24], frames[5])
    assert (sheet[26:54] < 128).any()
    assert choose(folder, 3, 0, None) == rows
    assert {row.split for row in choose(folder, 9, 1, "validate")} == {"validate"}


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["show", str(folder / "shard-00000.parquet"), "--out", str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png", formats=("PNG",)) as image:
        assert image.size[0] == 8 * 26 - 2
    main(["export", str(tmp_path / "plain"), "--set", str(folder), "--split", "train"])
    options = ["--frames", "6", "--resolution", "24", "--params", str(ROOT / "tests/params.yaml")]
    main(["import", str(tmp_path / "plain"), "--set", str(tmp_path / "back"), *options])
    assert "5 clips" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"error: .*no such shard or set"):
        main(["show", str(tmp_path / "none.parquet")])
    with pytest.raises(SystemExit, match="already"):
        main(["export", str(tmp_path / "plain"), "--set", str(folder)])
    with pytest.raises(SystemExit, match=r"no clip of split 'val' in it; its splits are train \(5\), validate \(2\)"):
        main(["export", str(tmp_path / "none"), "--set", str(folder), "--split", "val"])
    with pytest.raises(SystemExit, match=r"error: .*no such shard or set"):
        main(["export", str(tmp_path / "none"), "--set", str(tmp_path / "gone")])
    assert not (tmp_path / "none").exists()
