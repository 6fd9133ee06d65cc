"""A set's distinct captions to one parquet table of vectors (read by `pipeline.text.captions.CaptionTable`).

Captions are sorted by token count, then alphabet, and cut into fixed batches: the same captions give the same bytes on
any number of cores. Chunks of batches are finished one by one in a scratch folder, so that a killed run goes on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.runtime.executors import open_workers
from pipeline.runtime.files import whole_file, write_csv
from pipeline.runtime.jobs import Workers, map_groups
from pipeline.runtime.progress import Progress
from pipeline.text.captions import Encoder, info_to_metadata, one_thread

log = logging.getLogger("t2v")

CHUNK_BATCHES = 32
TOKENISED_TOGETHER = 4096


@dataclass(frozen=True)
class RejectedCaption:
    key: str  # of the first clip that has it
    caption: str
    reason: str  # empty | not text | too long | unknown words


@dataclass(frozen=True)
class CaptionList:
    """The captions to embed, in the table's order, and those refused."""

    captions: list[str]
    lengths: list[int]
    rejected: list[RejectedCaption]
    given: int  # captions seen, repeats included


def collect_captions(rows: Iterable[tuple[str, str, tuple[str, ...]]], encoder: Encoder) -> CaptionList:
    """Distinct captions of (key, split, captions) rows, by token count. Raises ValueError where none is left."""
    first_key: dict[str, str] = {}
    rejected: list[RejectedCaption] = []
    given = 0
    for key, _, captions in rows:
        for caption in captions:
            given += 1
            if not isinstance(caption, str) or not any(letter.isalnum() for letter in caption):
                reason = "empty" if not str(caption or "").strip() else "not text"
                rejected.append(RejectedCaption(key, str(caption), reason))
            else:
                first_key.setdefault(caption, key)
    measured: list[tuple[int, str]] = []
    for caption, ids in _token_ids(list(first_key), encoder):
        reason = _refusal(ids, encoder)
        if reason:
            rejected.append(RejectedCaption(first_key[caption], caption, reason))
        else:
            measured.append((len(ids), caption))
    if not measured:
        raise ValueError(f"no caption to embed: {given} given, {len(rejected)} rejected ({_reasons(rejected)})")
    measured.sort()
    return CaptionList([caption for _, caption in measured], [n for n, _ in measured], rejected, given)


def _token_ids(captions: Sequence[str], encoder: Encoder) -> Iterator[tuple[str, list[int]]]:
    """Captions with their token ids, some at a time: all ids at once take kilobytes a caption."""
    for start in range(0, len(captions), TOKENISED_TOGETHER):
        some = captions[start : start + TOKENISED_TOGETHER]
        yield from zip(some, encoder.token_ids(some), strict=True)


def _refusal(ids: Sequence[int], encoder: Encoder) -> str:
    if len(ids) > encoder.info.max_tokens:
        return "too long"
    words = set(ids) - set(encoder.tokenizer.all_special_ids)
    return "" if words else "unknown words"


def _reasons(rejected: Sequence[RejectedCaption]) -> dict[str, int]:
    return dict(Counter(one.reason for one in rejected))


@dataclass
class EmbedReport:
    """The stage's metrics."""

    captions: int
    distinct: int
    embedded: int
    tokens: int
    width: int
    chunks_resumed: int
    seconds: float
    rejected: dict[str, int] = field(default_factory=dict)


def embed_captions(
    chosen: CaptionList,
    encoder: Encoder,
    *,
    out: Path,
    scratch: Path,  # finished chunks survive a kill here
    dtype: str = "float16",  # of the stored vectors
    batch_size: int = 64,
    workers: int | None = None,  # threads; None: all cores
) -> EmbedReport:
    """Write the table, whole or not at all."""
    started = time.monotonic()
    step = batch_size * CHUNK_BATCHES
    starts = range(0, len(chosen.captions), step)
    paths = [scratch / f"chunk-{start:08d}.parquet" for start in starts]
    chunks = {path: chosen.captions[start : start + step] for start, path in zip(starts, paths, strict=True)}
    todo = {path: captions for path, captions in chunks.items() if not path.is_file()}
    schema = _schema(encoder, dtype)
    with one_thread(), open_workers(workers, threads=True) as pool:
        log.info(
            "embedding %d distinct captions (%d given) with %s, %d wide, by %s; %d of %d chunks kept",
            len(chosen.captions), chosen.given, encoder.info.name, encoder.info.width, pool.name,
            len(paths) - len(todo), len(paths),
        )  # fmt: skip
        _embed_chunks(todo, len(chosen.captions), EncodeSettings(encoder, dtype), batch_size, pool, schema)
    there = sum(pq.read_metadata(path).num_rows for path in paths)
    if there != len(chosen.captions):
        raise ValueError(f"{scratch}: its chunks hold {there} of {len(chosen.captions)} captions; delete it and rerun")
    _write(out, (pq.read_table(path) for path in paths), schema)
    return EmbedReport(
        captions=chosen.given,
        distinct=len(chosen.captions) + len({one.caption for one in chosen.rejected}),
        embedded=len(chosen.captions),
        tokens=sum(chosen.lengths),
        width=encoder.info.width,
        chunks_resumed=len(paths) - len(todo),
        seconds=round(time.monotonic() - started, 2),
        rejected=_reasons(chosen.rejected),
    )


def write_rejected(path: Path, rejected: Sequence[RejectedCaption]) -> None:
    """A line each, under a header. They are people's words: an output that DVC keeps, not a metric that git does."""
    lines = [[one.key, one.reason, one.caption] for one in rejected]
    write_csv(path, pd.DataFrame(lines, columns=["key", "reason", "caption"]))


@dataclass(frozen=True)
class EncodeSettings:
    encoder: Encoder
    dtype: str  # of the stored vectors


def encode_batch(settings: EncodeSettings, captions: Sequence[str]) -> list[tuple[int, bytes, bytes]]:
    """(token count, pooled vector, real tokens' vectors) of each caption, by one forward pass on one thread."""
    torch.set_num_threads(1)  # of the thread that calls it, maybe a cluster's
    batch = settings.encoder.encode_together(captions)
    pooled, tokens = (vectors.numpy().astype(settings.dtype) for vectors in (batch.pooled, batch.tokens))
    lengths = batch.mask.sum(1).tolist()
    return [(n, pooled[row].tobytes(), tokens[row, :n].tobytes()) for row, n in enumerate(lengths)]


def _embed_chunks(
    todo: Mapping[Path, Sequence[str]],  # captions of each chunk's file
    total: int,  # captions, those of the finished chunks included
    settings: EncodeSettings,
    batch_size: int,
    pool: Workers,
    schema: pa.Schema,
) -> None:
    groups = {
        path: [captions[start : start + batch_size] for start in range(0, len(captions), batch_size)]
        for path, captions in todo.items()
    }
    done = total - sum(map(len, todo.values()))
    with Progress(total=total, initial=done, desc="embed", unit="caption") as progress:
        for path, batches in map_groups(pool, encode_batch, settings, groups):
            rows: list[tuple[int, bytes, bytes]] = []
            for batch in batches:
                progress.update(len(batch))
                rows += batch
            lengths, pooled, tokens = zip(*rows, strict=True)
            columns = {"caption": todo[path], "n_tokens": lengths, "pooled": pooled, "tokens": tokens}
            _write(path, [pa.table(columns, schema=schema)], schema)


def _schema(encoder: Encoder, dtype: str) -> pa.Schema:
    fields = [("caption", pa.string()), ("n_tokens", pa.int32()), ("pooled", pa.binary()), ("tokens", pa.binary())]
    return pa.schema(fields, metadata=info_to_metadata(encoder.info, dtype))


def _write(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    with (
        whole_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="none", use_dictionary=False) as writer,
    ):
        for table in tables:
            writer.write_table(table, row_group_size=1024)
