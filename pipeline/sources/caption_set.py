"""The captions of a set of clips: matched with the clips that they are of, and parted into splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import PurePosixPath
from typing import Any

from pipeline.sources.archive import VideoEntry, kind_of
from pipeline.sources.members import Rejected
from pipeline.sources.splits import (
    MSRVTT_ID,
    HoldOut,
    Splits,
    Told,
    group_clips,
    hold_out_combinations,
    official_split,
    split_clips,
    split_told_by,
)


@dataclass(frozen=True)
class CaptionSet:
    """Captions and attributes by clip key, in natural order of the keys."""

    captions: dict[str, tuple[str, ...]]
    rejected: tuple[Rejected, ...]
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the clips that have any
    split: dict[str, str] = field(default_factory=dict)  # of the clips whose captions name one: train | validate | test
    split_by_file: dict[str, str] = field(default_factory=dict)  # of those whose captions' file or folder tells one
    test_1k_a: frozenset[str] = frozenset()  # ids of the 1k-A test list, where such a file came along

    def matched(self, entries: Sequence[VideoEntry]) -> CaptionSet:
        """The same by the keys of these clips. An id that names none of them stays as it is.

        An id names the clip of its file name; of several, the one whose folders are most like the id's.
        """
        finder = _Finder(entries)
        keys = {key: finder.find(key) for key in self.captions}
        captions: dict[str, tuple[str, ...]] = {}
        for key, found in keys.items():
            if found is not None:
                captions[found] = captions.get(found, ()) + self.captions[key]
        parted = [Rejected(k, "several clips have this name; give their paths") for k, v in keys.items() if v is None]
        found_keys = {key: found for key, found in keys.items() if found is not None}
        return CaptionSet(
            captions,
            (*self.rejected, *parted),
            {found: self.attributes[key] for key, found in found_keys.items() if key in self.attributes},
            {found: self.split[key] for key, found in found_keys.items() if key in self.split},
            {found: self.split_by_file[key] for key, found in found_keys.items() if key in self.split_by_file},
            self.test_1k_a,
        )

    def splits(
        self,
        entries: Sequence[VideoEntry],
        rule: str = "official",  # or 1k-A
        *,
        group: str | None = None,  # a column, or a regex on keys: kin that no split parts
        hold_out: HoldOut | None = None,
    ) -> Splits:
        """The split of each of these clips that has captions.

        Raises ValueError where 1k-A cannot be had, kin not be kept together, or nothing be held out.
        """
        assert rule in ("official", "1k-A"), rule
        keys = [entry.key for entry in entries if entry.key in self.captions]
        held = hold_out_combinations(keys, self.attributes, hold_out) if hold_out else {}
        away = {key for clips in held.values() for key in clips if self.split.get(key) != "test"}
        rest = [key for key in keys if key not in away]
        groups = group_clips(rest, self.attributes, group) if group else None
        splits = split_clips(rest, self._told(entries, rule), groups)
        words = [splits.rule, *([f"kin by {group}"] if group else [])]
        if hold_out:
            words.append(f"{len(held)} combinations of {' and '.join(hold_out.columns)} held out")
        of = {key: splits.of.get(key, "held_out") for key in keys}
        return Splits(of, ", ".join(words), tuple(held))

    def _told(self, entries: Sequence[VideoEntry], rule: str) -> list[Told]:
        if rule == "1k-A":
            self._require_1k_a()
            return [Told("1k-A", {key: "test" if key in self.test_1k_a else "train" for key in self.captions})]
        folders = ((entry.key, split_told_by(str(PurePosixPath(entry.name).parent))) for entry in entries)
        return [
            Told("official", self.split),
            Told("by MSR-VTT's ids", self._official_splits()),
            Told("by the names of files", self.split_by_file, is_sure=False),
            Told("by the names of folders", {key: split for key, split in folders if split}, is_sure=False),
        ]

    def labels(self, keys: Iterable[str]) -> dict[str, int]:
        """The number of values that each attribute has among these clips."""
        values: dict[str, set[Any]] = defaultdict(set)
        for key in keys:
            for name, value in self.attributes.get(key, {}).items():
                values[name].add(value)
        return {name: len(found) for name, found in sorted(values.items())}

    def _official_splits(self) -> dict[str, str]:
        """MSR-VTT's own splits, where all ids are its and some are of those that it holds back."""
        if not all(MSRVTT_ID.fullmatch(key) for key in self.captions):
            return {}
        splits = {key: official_split(key) for key in self.captions}
        return splits if set(splits.values()) != {"train"} else {}

    def _require_1k_a(self) -> None:
        if not self.test_1k_a:
            raise ValueError(
                "split=1k-A: its list of 1,000 test ids is not among the captions; put MSRVTT_JSFUSION_test.csv "
                "(columns key, vid_key, video_id, sentence) beside them, or use split=official"
            )
        if not self.test_1k_a & self.captions.keys():
            raise ValueError(
                "split=1k-A: none of its 1,000 test clips (of the official test split, video7010 to video9999) has "
                "captions here; add the official test set's captions and clips, or use split=official"
            )


class _Finder:
    """Clips by what captions call them."""

    def __init__(self, entries: Sequence[VideoEntry]) -> None:
        self._keys = {entry.key for entry in entries}
        self._by_name: dict[str, list[VideoEntry]] = defaultdict(list)
        for entry in entries:
            self._by_name[PurePosixPath(entry.name).stem].append(entry)

    def find(self, key: str) -> str | None:
        """The clip's key, the id itself where no clip has its name, None where several have."""
        *folders, name = key.split("/")
        if key in self._keys or name not in self._by_name:
            return key
        likeness = {entry.key: (_shared(folders, entry.name), -kind_of(entry.name)) for entry in self._by_name[name]}
        best = max(likeness.values())
        alike = [found for found, value in likeness.items() if value == best]
        return alike[0] if len(alike) == 1 else None


def _shared(folders: Sequence[str], name: str) -> int:
    """The number of folders, from the file up, that are the same."""
    pairs = zip(reversed(folders), PurePosixPath(name).parts[-2::-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
