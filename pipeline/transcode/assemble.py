"""A captioned archive of videos to a shard set, resumable shard by shard.

Which clip goes into which shard follows from the archive and the captions alone, so the bytes are the same whatever the
workers, the backend and the number of kills. A clip that fails leaves a line in rejected.csv: key, reason, detail.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.config.params import TranscodeParams
from pipeline.data.shards import Row, write_set, write_shard
from pipeline.runtime.process import whole_folder, write_json
from pipeline.sources.archive import VideoArchive, VideoEntry
from pipeline.sources.msrvtt import CaptionSet
from pipeline.transcode.child import ClipAnswer, ClipJob
from pipeline.transcode.spec import FrameSpec, rgb_of
from pipeline.transcode.workers import Limits, transcode_batch

log = logging.getLogger("t2v")

DECODER = "pipeline.transcode.decode:decode_clip"
CLIPS_PER_BATCH = 8
SHARDS_IN_FLIGHT = 2


@dataclass(frozen=True)
class Rejection:
    """A line of rejected.csv."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True)
class TranscodeReport:
    """What the stage writes as its metrics."""

    clips_in: int
    clips_out: int
    captions: int
    counts: dict[str, int]  # clips by split
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
        decoder: str = DECODER,  # "module:function", imported by the decoder processes
    ) -> None:
        self.archive, self.captions, self.params = archive, captions, params
        self.scratch, self.decoder = scratch, decoder
        self.split = captions.split_by(params.split)
        self.entries = [entry for entry in archive.entries if captions.captions.get(entry.key)]
        step = params.clips_per_shard
        self.shards = [self.entries[start : start + step] for start in range(0, len(self.entries), step)]

    def run(self, out: Path, executor: Executor, workers: str) -> TranscodeReport:
        """Write the set to `out`, whole or not at all. Raises ValueError where too many clips are rejected."""
        started = time.monotonic()
        todo = [index for index in range(len(self.shards)) if not self._record(index).is_file()]
        log.info(
            "transcoding %d captioned clips of %s into %d shards with %s; %d shards kept",
            len(self.entries), self.archive.path.name, len(self.shards), workers, len(self.shards) - len(todo),
        )  # fmt: skip
        self._make(todo, executor)
        records = [json.loads(self._record(index).read_text(encoding="utf-8")) for index in range(len(self.shards))]
        rejections = [*self._left_out(), *(Rejection(**line) for record in records for line in record["rejected"])]
        write_rejections(self.scratch / "rejected.csv", rejections)
        self._refuse_too_many(sum(len(record["rejected"]) for record in records), rejections)
        counts = Counter(dict.fromkeys(("train", "validate", "test"), 0))
        for record in records:
            counts.update(record["counts"])
        self._publish(out, dict(counts))
        return TranscodeReport(
            clips_in=len(self.archive.entries),
            clips_out=counts.total(),
            captions=sum(record["captions"] for record in records),
            counts=dict(counts),
            rejected=dict(Counter(one.reason for one in rejections)),
            captioned_without_clip=len(self.captions.captions.keys() - {entry.key for entry in self.archive.entries}),
            shards=len(records),
            shards_resumed=len(records) - len(todo),
            workers=workers,
            seconds=round(time.monotonic() - started, 2),
        )

    def _make(self, todo: Sequence[int], executor: Executor) -> None:
        """Finish shards in order, with the next one's clips already under way."""
        pending: deque[tuple[int, list[Future[list[ClipAnswer]]]]] = deque()
        waiting = iter(todo)
        n_clips = sum(len(self.shards[index]) for index in todo)
        with tqdm(total=n_clips, desc="transcode", unit="clip", disable=None) as bar:
            for _ in range(len(todo)):
                while len(pending) < SHARDS_IN_FLIGHT and (index := next(waiting, None)) is not None:
                    pending.append((index, self._submit(index, executor)))
                index, futures = pending.popleft()
                answers: list[ClipAnswer] = []
                for future in futures:
                    batch = future.result()
                    bar.update(len(batch))
                    answers += batch
                self._finish(index, answers)

    def _submit(self, index: int, executor: Executor) -> list[Future[list[ClipAnswer]]]:
        params = self.params
        background = rgb_of(params.background)
        spec = FrameSpec(params.frames, params.resolution, params.span, params.duration_s, params.fit, background)
        limits = Limits(params.time_limit_s, params.memory_limit_gb)
        path = str(self.archive.path.resolve())
        jobs = [ClipJob(path, entry, spec, params.fps, self.decoder) for entry in self.shards[index]]
        batches = [jobs[start : start + CLIPS_PER_BATCH] for start in range(0, len(jobs), CLIPS_PER_BATCH)]
        return [executor.submit(transcode_batch, batch, limits) for batch in batches]

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
        return Row(entry.key, self.split[entry.key], captions, params.frames, params.fps, gif, source, {})

    def _left_out(self) -> Iterator[Rejection]:
        """What never came to decoding."""
        for member in self.archive.rejected:
            yield Rejection(member.key, "archive", member.reason)
        for caption in self.captions.rejected:
            yield Rejection(caption.key, "caption", caption.reason)
        for entry in self.archive.entries:
            if not self.captions.captions.get(entry.key):
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

    def _publish(self, out: Path, counts: dict[str, int]) -> None:
        params = self.params
        rule = self.captions.split_rule if params.split == "official" else params.split
        about = {"set": "msrvtt", "counts": counts, "split_rule": rule}
        shown = params.model_dump(mode="json", include={"resolution", "frames", "fps", "span", "duration_s", "fit"})
        with whole_folder(out) as partial:
            for index in range(len(self.shards)):
                shutil.copyfile(self._shard(index), partial / self._shard(index).name)
            shutil.copyfile(self.scratch / "rejected.csv", partial / "rejected.csv")
            write_set(partial, about | shown)

    def _shard(self, index: int) -> Path:
        return self.scratch / f"shard-{index:05d}.parquet"

    def _record(self, index: int) -> Path:
        return self.scratch / f"shard-{index:05d}.json"


def write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    """key,reason,detail; one line each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["key", "reason", "detail"])
        for one in rejections:
            writer.writerow([" ".join(value.split()) for value in (one.key, one.reason, one.detail)])
