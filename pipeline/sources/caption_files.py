"""One captions file to a table: a row a caption, in the file's order. Says what is there; judges nothing.

JSON in its common shapes, JSON lines, and delimited text (CSV, TSV, Excel's). The file must have the form; a single
bad caption is still a row, for the caller to reject by its clip's key.
"""

from __future__ import annotations

import codecs
import io
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from pipeline.sources.archive import is_video
from pipeline.sources.splits import split_named

# Column names as data sets use them, without case, spaces or signs. The first that a table has counts.
CAPTION_NAMES = (
    *("caption", "captions", "text", "prompt", "sentence", "sentences", "description", "encap", "label", "title"),
    "name",  # WebVid's captions, beside a videoid
)
ID_NAMES = (
    *("videoid", "video", "vid", "filename", "file", "videopath", "filepath", "path", "videoname", "clipid", "clip"),
    *("clipname", "imageid", "image", "key", "name", "id"),
)
SPLIT_NAMES = ("split", "subset", "partition")
BOOKKEEPING = ("url", "starttime", "endtime", "senid", *ID_NAMES, *SPLIT_NAMES)  # of MSR-VTT's mirrors
COLUMNS_1K_A = {"key", "vid_key", "video_id", "sentence"}
DELIMITERS = (",", ";", "\t", "|")
ROW = ("key", "caption", "split", "where", "fault")
FORMS = "videos and sentences (MSR-VTT), images and annotations, lists by split, or records of video_id and caption"


class OtherTableError(ValueError):
    """Healthy JSON or delimited text that is no captions file; one line."""


@dataclass(frozen=True)
class CaptionFile:
    """Captions as found."""

    rows: pd.DataFrame  # ROW: `where` places a row in its file; `fault` is set where the row itself is broken
    attributes: pd.DataFrame  # every other column, indexed by clip key; a clip may stand there several times
    clips: frozenset[str] = frozenset()  # those that the file lists by themselves
    test_1k_a: frozenset[str] = frozenset()  # the ids, where it is the 1k-A list


def read_table(name: str, data: bytes, clips: Collection[str] = ()) -> CaptionFile:
    """Parse a .json, .jsonl, .csv or .tsv file; `clips` are the keys of the clips beside it, where they are known.

    Raises ValueError, one line, where it is damaged, and OtherTableError where it has not the form.
    """
    text = decode_text(name, data)
    if PurePosixPath(name).suffix.lower() in (".csv", ".tsv", ".txt"):
        return _read_delimited(name, text)
    if _is_json_lines(text):
        lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        records = [_parse(f"{name} line {n}", line) for n, line in lines]
        return _read_records(name, records, [f"{name} line {n}" for n, _ in lines])
    tree = _parse(name, text)
    if isinstance(tree, dict):
        said, videos = _listed(tree, "sentences", "annotations"), _listed(tree, "videos", "images")
        if said is not None and videos is not None:
            return _read_joined(name, videos, said)
        tree = _records_in(name, tree, clips)
    if not isinstance(tree, list):
        raise OtherTableError(f"{name}: not a captions file; expected {FORMS}")
    return _read_records(name, tree, [f"{name} item {n}" for n in range(1, len(tree) + 1)])


def decode_text(name: str, data: bytes) -> str:
    """The text of UTF-8 or, by its byte order mark, UTF-16. Raises ValueError, one line."""
    codec = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: neither UTF-8 nor UTF-16 text (byte {error.start}); save it as UTF-8") from None


def clip_key(value: Any) -> str:
    """A clip's id as its file name without a video's suffix, in composed form; '' where there is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    key = unicodedata.normalize("NFC", str(value).strip()).replace("\\", "/").removeprefix("./")
    return key[: -len(PurePosixPath(key).suffix)] if is_video(key) else key


# JSON


def _parse(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: not whole JSON ({error}); get the file anew") from None


def _is_json_lines(text: str) -> bool:
    """Whether the first line is a whole JSON object and more lines follow, whatever the file is called."""
    first, _, rest = text.strip().partition("\n")
    if not rest or not first.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except json.JSONDecodeError:
        return False


def _listed(tree: dict[str, Any], *names: str) -> list[Any] | None:
    return next((tree[name] for name in names if isinstance(tree.get(name), list)), None)


def _records_in(name: str, tree: dict[str, Any], clips: Collection[str]) -> list[Any] | None:
    """A list of records in an object: under one name, by split, one record alone, or captions by clip."""
    found = _listed(tree, "annotations", "sentences", "captions", "videos", "images", "data")
    if found is not None:
        return found
    if tree and all(split_named(key) for key in tree):
        return [{**record, "split": split} for split, part in tree.items() for record in _part(name, split, part)]
    if _picked(tree) is not None:
        return [tree]
    return _by_clip(tree) if _is_by_clip(tree, clips) else None


def _part(name: str, split: str, part: Any) -> list[dict[str, Any]]:
    records = _by_clip(part) if isinstance(part, dict) else part
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise OtherTableError(f"{name}: {split!r} holds no list of records of video_id and caption")
    return records


def _by_clip(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"video_id": k, **v} if isinstance(v, dict) else {"video_id": k, "caption": v} for k, v in tree.items()]


def _is_by_clip(tree: dict[str, Any], clips: Collection[str]) -> bool:
    """Whether an object is captions by clip: texts only, and of a clip that is there, where that is known."""
    texts = [text for value in tree.values() for text in (value if isinstance(value, list) else [value])]
    if not texts or not all(isinstance(text, str) for text in texts) or _pick(tree, (*CAPTION_NAMES, *ID_NAMES)):
        return False
    return not clips or any(clip_key(key).rsplit("/", 1)[-1] in clips for key in tree)


def _read_records(name: str, records: list[Any], where: list[str]) -> CaptionFile:
    table = pd.DataFrame([record if isinstance(record, dict) else {} for record in records], dtype=object)
    return _captions_of(name, table, where)


def _read_joined(name: str, videos: list[Any], said: list[Any]) -> CaptionFile:
    """MSR-VTT's `videos` and `sentences`, COCO's `images` and `annotations`: each sentence with what its clip has."""
    listed = pd.DataFrame([video for video in videos if isinstance(video, dict)], dtype=object)
    number, file, split = (_pick(listed, names) for names in (("videoid", "id"), ("filename", "file"), SPLIT_NAMES))
    if number is None:
        raise OtherTableError(f"{name}: its list of videos has neither video_id nor id")
    listed.index = pd.Index([clip_key(value) for value in listed[number]], dtype=object)
    listed = listed[(listed.index != "") & ~listed.index.duplicated()]
    keys = {key: clip_key(name) or key for key, name in (listed[file] if file is not None else listed[number]).items()}
    table = pd.DataFrame([sentence if isinstance(sentence, dict) else {} for sentence in said], dtype=object)
    places = table[_pick(table, ("senid", "id"))] if _pick(table, ("senid", "id")) else range(1, len(said) + 1)
    found = _captions_of(name, table, [f"{name} sen_id {place}" for place in places])
    rows = found.rows
    known = rows["key"].isin(listed.index)
    rows.loc[~known & rows["fault"].isna(), "fault"] = "its clip is not in the file's `videos`"
    if split is not None:
        splits = listed[split].to_dict()
        rows["split"] = pd.Series([splits.get(key) for key in rows["key"]], dtype=object)
    rows["key"] = pd.Series([keys.get(key, key) for key in rows["key"]], dtype=object)
    attributes = _attributes(listed, (*BOOKKEEPING, "category"))
    attributes.index = pd.Index(list(keys.values()), dtype=object)
    return CaptionFile(rows.where(rows.notna(), None), attributes, clips=frozenset(keys.values()))


# Columns


def _pick(columns: Iterable[Any], names: Sequence[str], but: Any = None) -> Any:
    """The column that comes first in `names`, or None."""
    by_name = {re.sub(r"[\W_]", "", str(column).lower()): column for column in reversed(list(columns)) if column != but}
    return next((by_name[name] for name in names if name in by_name), None)


def _picked(columns: Iterable[Any]) -> tuple[Any, Any] | None:
    """The columns of captions and of ids, where there are both."""
    columns = list(columns)
    said = _pick(columns, CAPTION_NAMES)
    key = _pick(columns, ID_NAMES, but=said)
    return None if said is None or key is None else (said, key)


def _captions_of(name: str, table: pd.DataFrame, where: Sequence[str]) -> CaptionFile:
    """Rows and attributes of a table with a row for each record. Raises OtherTableError where a column is wanting."""
    picked = _picked(table.columns)
    if picked is None:
        found = ", ".join(map(str, table.columns)) or "none"
        raise OtherTableError(
            f"{name}: columns {found}; captions need one for the clip (video_id, filename …) and one for the caption "
            "(caption, text …), and may have split"
        )
    said, key = picked
    split = _pick(table.columns, SPLIT_NAMES)
    rows = pd.DataFrame(
        {
            "key": [clip_key(value) for value in table[key]],
            "caption": [_texts(value) for value in table[said]],
            "split": None if split is None else [value if _is_there(value) else None for value in table[split]],
            "where": where,
            "fault": None,
        },
        dtype=object,
    )
    rows.loc[rows["key"] == "", "fault"] = "no video_id"
    attributes = _attributes(table, BOOKKEEPING, but=said)
    attributes.index = pd.Index(rows["key"], dtype=object)
    rows = rows.explode("caption", ignore_index=True)
    return CaptionFile(rows.where(rows.notna(), None), attributes)


def _texts(value: Any) -> list[Any]:
    """The captions in a cell: a text, a list of texts, or of records that hold one each."""
    found: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        found.append(one.get(_pick(one, ("raw", *CAPTION_NAMES))) if isinstance(one, dict) else one)
    return found or [None]


def _is_there(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) and value == value and str(value).strip() != ""


def _attributes(table: pd.DataFrame, other: Sequence[str], but: Any = None) -> pd.DataFrame:
    """The columns that are neither ids nor the book-keeping of a data set; what is no text, number or flag is None.

    A column `attributes` that holds objects, as an export has it, stands for all of them.
    """
    kept = [column for column in table.columns if column != but and _pick([column], other) is None]
    if "attributes" in kept and any(isinstance(value, dict) for value in table["attributes"]):
        inner = [value if isinstance(value, dict) else {} for value in table["attributes"]]
        table = pd.DataFrame(inner, table.index, dtype=object)
        kept = list(table.columns)
    plain = {column: [_scalar(value) for value in table[column]] for column in kept}
    return pd.DataFrame(plain, table.index, dtype=object)


def _scalar(value: Any) -> Any:
    return (value.strip() if isinstance(value, str) else value) if _is_there(value) else None


# Delimited text


def looks_delimited(name: str, data: bytes) -> bool:
    """Whether a .txt file is a table, as Excel's "Unicode text" is: its first line names an id and a caption."""
    try:
        return _picked(_header(decode_text(name, data))[1]) is not None
    except ValueError:
        return False


def _header(text: str) -> tuple[str, list[str]]:
    """The delimiter and the columns of the first line: by the delimiter that gives an id and a caption, or most."""
    line = text.partition("\n")[0]
    parts = {delimiter: [name.strip().strip('"').strip() for name in line.split(delimiter)] for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: (_picked(parts[delimiter]) is not None, len(parts[delimiter])))
    return best, parts[best]


def _read_delimited(name: str, text: str) -> CaptionFile:
    text, first_row = text.replace("\r\n", "\n").replace("\r", "\n"), 2
    if re.match(r"sep=.\n", text):  # Excel's own first line
        text, first_row = text[6:], 3
    delimiter, columns = _header(text)
    # One column more than there are: whatever a caption with bare commas has too much lands in it.
    header = delimiter.join(str(number) for number in range(len(columns) + 1))
    try:
        table = pd.read_csv(
            io.StringIO(header + "\n" + text.partition("\n")[2]),
            sep=delimiter,
            usecols=range(len(columns) + 1),
            dtype=object,
            keep_default_na=False,
            skip_blank_lines=False,
        ).fillna("")
    except pd.errors.ParserError as error:
        quote = re.search(r"EOF inside string starting at row (\d+)", str(error))
        words = (
            f"row {int(quote[1]) + first_row - 1}: a quotation mark is never closed" if quote else str(error).strip()
        )
        raise ValueError(f"{name}: {words}") from None
    table.columns = pd.Index([*columns, ""], dtype=object)
    where = pd.Series([f"{name} row {number}" for number in range(first_row, first_row + len(table))], dtype=object)
    filled = (table != "").any(axis=1)
    table, where, extra = table[filled].reset_index(drop=True), where[filled], table.iloc[:, -1][filled]
    table = table.loc[:, (table.columns != "") & ~table.columns.duplicated()]
    if set(columns) >= COLUMNS_1K_A:
        empty = pd.DataFrame(columns=list(ROW), dtype=object)
        return CaptionFile(empty, pd.DataFrame(), test_1k_a=frozenset(table["video_id"].map(clip_key)) - {""})
    found = _captions_of(name, table, list(where))
    too_many = extra.to_numpy() != ""
    found.rows.loc[too_many, "fault"] = "more fields than columns; put a caption with commas in quotes"
    return found
