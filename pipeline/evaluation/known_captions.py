"""Clips as far as their captions have vectors: the embed stage rejects what is empty or too long."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator

from pipeline.shards import Row


def keep_known(rows: Iterable[Row], known: Container[str] | None) -> Iterator[Row]:
    """Rows with their captions in `known` (None: all of them); a row that keeps none is left out."""
    for row in rows:
        captions = tuple(caption for caption in row.captions if known is None or caption in known)
        if captions:
            yield dataclasses.replace(row, captions=captions)
