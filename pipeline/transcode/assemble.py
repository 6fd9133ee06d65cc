"""A captioned archive of videos to a shard set, resumable shard by shard.

Which clip goes into which shard follows from the archive and the captions alone, so the bytes are the same whatever the
workers, the backend and the number of kills. A clip that fails leaves a line in rejected.csv: key, reason, detail.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config.data import TranscodeParams
from pipeline.data.shards import Row, write_set, write_shard
from pipeline.runtime.files import link_or_copy, whole_folder, write_csv, write_json
from pipeline.runtime.jobs import Workers, map_groups
from pipeline.runtime.progress import Progress
from pipeline.sources.archive import VideoArchive, VideoEntry
from pipeline.sources.caption_set import CaptionSet
from pipeline.sources.splits import HoldOut
from pipeline.transcode.child import ClipAnswer
from pipeline.transcode.decoding.spec import FrameSpec, rgb_of
from pipeline.transcode.repeats import Repeat, count_repeats, find_repeats, write_repeats
from pipeline.transcode.workers import BatchSettings, Limits, decoders, transcode_batch

log = logging.getLogger("t2v")

CLIPS_PER_BATCH = 8


@dataclass(frozen=True)
class Rejection:
    """A line of rejected.csv."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True)
class TranscodeReport:
    """The stage's metrics."""

    clips_in: int
    clips_out: int
    captions: int
    counts: dict[str, int]  # clips by split
    repeats: dict[str, dict[str, int]]  # by held-back split: clips that stand in train too, exact and near
    rejected: dict[str, int]  # lines of rejected.csv by reason
    captioned_without_clip: int
    shards: int
    shards_resumed: int
    workers: str
    seconds: float


class Transcoding:
    """One archive on its way to one shard set."""

    def __init__(
        self,
        archive: VideoArchive,
        captions: CaptionSet,
        params: TranscodeParams,
        *,
        scratch: Path,  # finished shards survive a kill here
        left_out: Mapping[str, str] | None = None,  # files that never came into the archive, and why
        decoder: str | None = None,  # "module:function" in place of decode_clip
    ) -> None:
        self.archive, self.captions, self.params = archive, captions.matched(archive.entries), params
        self.scratch, self.decoder, self.left_out = scratch, decoder, left_out or {}
        self.entries = [entry for entry in archive.entries if entry.key in self.captions.captions]
        hold_out = HoldOut(params.hold_out, params.hold_out_share, params.hold_out_seed) if params.hold_out else None
        self.splits = self.captions.splits(archive.entries, params.split, group=params.group, hold_out=hold_out)
        step = params.clips_per_shard
        self.shards = [self.entries[start : start + step] for start in range(0, len(self.entries), step)]

    def run(self, out: Path, workers: Workers) -> TranscodeReport:
        """Write the set to `out`, whole or not at all. Raises ValueError where too many clips are rejected."""
        started = time.monotonic()
        todo = [index for index in range(len(self.shards)) if not self._record(index).is_file()]
        log.info(
            "transcoding %d captioned clips of %s into %d shards with %s",
            len(self.entries), self.archive.path.name, len(self.shards), workers.name,
        )  # fmt: skip
        if len(todo) < len(self.shards):
            kept = len(self.shards) - len(todo)
            log.info(
                "%d of %d shards were made before; to make them anew, delete %s", kept, len(self.shards), self.scratch
            )
        self._make(todo, workers)
        records = [json.loads(self._record(index).read_text(encoding="utf-8")) for index in range(len(self.shards))]
        rejections = [*self._left_out(), *(Rejection(**line) for record in records for line in record["rejected"])]
        write_rejections(self.scratch / "rejected.csv", rejections)
        self._refuse_too_many(sum(len(record["rejected"]) for record in records), rejections)
        counts = Counter(dict.fromkeys(("train", "validate", "test"), 0))
        for record in records:
            counts.update(record["counts"])
        repeats = find_repeats([self._shard(index) for index in range(len(self.shards))])
        for split, found in count_repeats(repeats, counts).items():
            if any(found.values()):
                log.warning(
                    "%s: %s clips of a split before it stand in it again (repeats.csv names each)", split, found
                )
        self._publish(out, dict(counts), repeats)
        return TranscodeReport(
            clips_in=len(self.archive.entries),
            clips_out=counts.total(),
            captions=sum(record["captions"] for record in records),
            counts=dict(counts),
            repeats=count_repeats(repeats, counts),
            rejected=dict(Counter(one.reason for one in rejections)),
            captioned_without_clip=len(self.captions.captions.keys() - {entry.key for entry in self.archive.entries}),
            shards=len(records),
            shards_resumed=len(records) - len(todo),
            workers=workers.name,
            seconds=round(time.monotonic() - started, 2),
        )

    def _make(self, todo: Sequence[int], workers: Workers) -> None:
        """Finish shards in order; the clips of those that follow are under way by then."""
        params = self.params
        background = rgb_of(params.background)
        spec = FrameSpec(params.frames, params.resolution, params.span, params.duration_s, params.fit, background)
        limits = Limits(params.time_limit_s, params.memory_limit_gb)
        settings = BatchSettings(str(self.archive.path.resolve()), spec, params.fps, self.decoder, limits)
        groups = {index: list(self._batches(index)) for index in todo}
        done = len(self.entries) - sum(len(self.shards[index]) for index in todo)
        bar = Progress(total=len(self.entries), initial=done, desc="transcode", unit="clip")
        with decoders(self.archive), bar as progress:
            for index, batches in map_groups(workers, transcode_batch, settings, groups):
                answers: list[ClipAnswer] = []
                for batch in batches:
                    progress.update(len(batch))
                    answers += batch
                self._finish(index, answers)

    def _batches(self, index: int) -> Iterator[list[VideoEntry]]:
        shard = self.shards[index]
        return (shard[start : start + CLIPS_PER_BATCH] for start in range(0, len(shard), CLIPS_PER_BATCH))

    def _finish(self, index: int, answers: Sequence[ClipAnswer]) -> None:
        """Write a shard, then the record that says it is done."""
        rows, rejected = [], []
        for entry, answer in zip(self.shards[index], answers, strict=True):
            if answer.reason:
                rejected.append(asdict(Rejection(entry.key, answer.reason, answer.detail)))
                log.warning("%s: %s: %s", entry.key, answer.reason, answer.detail)
            else:
                rows.append(self._row(entry, answer.gif))
        write_shard(self._shard(index), rows)
        captions = sum(len(row.captions) for row in rows)
        counts = Counter(row.split for row in rows)
        write_json(self._record(index), {"rejected": rejected, "captions": captions, "counts": counts})

    def _row(self, entry: VideoEntry, gif: bytes) -> Row:
        captions, params = self.captions.captions[entry.key], self.params
        source = f"{self.archive.path.name}:{entry.name}"
        attributes = self.captions.attributes.get(entry.key, {})
        split = self.splits.of[entry.key]
        return Row(entry.key, split, captions, params.frames, params.fps, gif, source, attributes)

    def _left_out(self) -> Iterator[Rejection]:
        """Clips that never came to decoding."""
        for name, reason in self.left_out.items():
            yield Rejection(name, "not a clip", reason)
        for member in self.archive.rejected:
            yield Rejection(member.key, "archive", member.reason)
        for caption in self.captions.rejected:
            yield Rejection(caption.key, "caption", caption.reason)
        for entry in self.archive.entries:
            if entry.key not in self.captions.captions:
                yield Rejection(entry.key, "no caption", "no usable caption names this clip")

    def _refuse_too_many(self, n_rejected: int, rejections: Sequence[Rejection]) -> None:
        share = n_rejected / max(1, len(self.entries))
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(one.reason for one in rejections).most_common())
        if share > self.params.max_rejected_share or n_rejected == len(self.entries):
            raise ValueError(
                f"{n_rejected} of {len(self.entries)} captioned clips rejected ({share:.0%}), more than "
                f"transcode.max_rejected_share={self.params.max_rejected_share:g} ({reasons}); "
                f"each is named in {self.scratch / 'rejected.csv'}: mend the archive or raise the share"
            )
        if rejections:
            log.warning("rejected: %s (rejected.csv names each)", reasons)

    def _publish(self, out: Path, counts: dict[str, int], repeats: Sequence[Repeat]) -> None:
        params = self.params
        about: dict[str, Any] = {
            "set": out.name, "counts": counts, "split_rule": self.splits.rule, "repeats": count_repeats(repeats, counts)
        }  # fmt: skip
        if labels := self.captions.labels(self.splits.of):
            about["labels"] = labels
        if self.splits.held_out:
            about |= {"held_out": self.splits.held_out, "held_out_columns": params.hold_out}
        shown = params.model_dump(mode="json", include={"resolution", "frames", "fps", "span", "duration_s", "fit"})
        with whole_folder(out) as partial:
            for index in range(len(self.shards)):
                link_or_copy(self._shard(index), partial / self._shard(index).name)
            link_or_copy(self.scratch / "rejected.csv", partial / "rejected.csv")
            write_repeats(partial / "repeats.csv", repeats)
            write_set(partial, about | shown)

    def _shard(self, index: int) -> Path:
        return self.scratch / f"shard-{index:05d}.parquet"

    def _record(self, index: int) -> Path:
        return self.scratch / f"shard-{index:05d}.json"


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """key,reason,detail; one line each."""
    lines = [[" ".join(value.split()) for value in (one.key, one.reason, one.detail)] for one in rejections]
    write_csv(path, pd.DataFrame(lines, columns=["key", "reason", "detail"]))
