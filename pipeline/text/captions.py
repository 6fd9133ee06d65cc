"""Captions as vectors: the records that networks take, the table that training reads, and the BERT behind both.

A `CaptionTable` (data/embeddings/<set>.parquet, written by text/embedding.py) holds each distinct caption once. Its
tokens are ragged, on disk too; `batch` pads them. Every vector comes from one thread of the CPU, so that its
bytes depend neither on the core count nor on a device. transformers takes seconds to import: only `load_encoder` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.runtime.row_file import Alone, Peers, RowFile
from pipeline.text import bert
from pipeline.text.encoders import Located, locate_encoder

if TYPE_CHECKING:
    import pyarrow as pa

INFO_KEY = b"t2v.encoder"
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class TextBatch:
    """Vectors of B captions, padded to the longest of L tokens."""

    pooled: Tensor  # float32 (B, D)
    tokens: Tensor  # float32 (B, L, D), zero where padded
    mask: Tensor  # bool (B, L), True where a token is real

    def __len__(self) -> int:
        return len(self.pooled)

    def to(self, device: torch.device | str) -> TextBatch:
        return TextBatch(self.pooled.to(device), self.tokens.to(device), self.mask.to(device))

    def select(self, index: Tensor) -> TextBatch:
        """The captions at `index` (int64 (b,) or bool (B,)), in that order."""
        return TextBatch(self.pooled[index], self.tokens[index], self.mask[index])


@dataclass(frozen=True)
class EncoderInfo:
    """The origin of the vectors; enough to load the same encoder again."""

    name: str  # as in params: packaged, a hub id or a folder
    revision: str | None  # hub: the commit; packaged: the version; folder: a digest of its files
    width: int  # D
    pooling: Pooling
    max_tokens: int  # with the two that frame a sentence


@dataclass(frozen=True)
class CaptionTable:
    """The vectors of a set's distinct captions, in a file that the system keeps in memory as far as there is room."""

    captions: list[str]
    info: EncoderInfo
    vectors: RowFile  # float16 or float32 (D,): of each caption its pooled vector, then its tokens'
    lengths: np.ndarray  # int64 (N,) tokens per caption

    @classmethod
    def read(cls, path: Path | str, peers: Peers | None = None) -> CaptionTable:
        """A table, one copy for all `peers` that read the same one.

        Raises ValueError where the file is missing or is not such a table.
        """
        import pyarrow.parquet as pq  # a command that encodes its own prompts reads no table

        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such embeddings table; run the embed stage (dvc repro)")
        file = pq.ParquetFile(path)
        metadata = file.schema_arrow.metadata or {}
        if INFO_KEY not in metadata:
            raise ValueError(f"{path}: not an embeddings table; run the embed stage again (dvc repro --force embed)")
        header = json.loads(metadata[INFO_KEY])
        dtype = np.dtype(header.pop("dtype"))
        width = header["width"]
        lengths = file.read(columns=["n_tokens"])["n_tokens"].to_numpy().astype(np.int64)
        peers = peers or Alone()
        captions: list[str] = []
        vectors = peers.share(lambda: RowFile.create(len(lengths) + int(lengths.sum()), (width,), dtype))
        for group in range(file.num_row_groups):
            columns = ["caption", "pooled", "tokens"] if peers.local_rank == 0 else ["caption"]
            for batch in file.read_row_group(group, columns=columns).to_batches():
                row, some = len(captions), lengths[len(captions) : len(captions) + len(batch)]
                captions += batch["caption"].to_pylist()
                if peers.local_rank == 0:
                    first = row + int(lengths[:row].sum())
                    vectors.write(
                        first, _interleaved(_joined(batch["pooled"], dtype), _joined(batch["tokens"], dtype), some)
                    )
        peers.wait()
        return cls(captions, EncoderInfo(**header), vectors, lengths)

    def __len__(self) -> int:
        return len(self.captions)

    @cached_property
    def index(self) -> dict[str, int]:
        """Caption to row."""
        return {caption: row for row, caption in enumerate(self.captions)}

    @cached_property
    def mask(self) -> np.ndarray:
        """bool (N, L), L the longest caption of the table."""
        return np.arange(self.lengths.max()) < self.lengths[:, None]

    @cached_property
    def _starts(self) -> np.ndarray:
        """The places at which captions' vectors begin."""
        return np.arange(len(self)) + np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def batch(self, captions: Sequence[str]) -> TextBatch:
        """Vectors of these captions, padded to the table's longest. Raises ValueError naming a caption it lacks."""
        for caption in captions:
            if caption not in self.index:
                raise ValueError(
                    f"caption {caption!r} is not in the embeddings table ({len(self)} captions by {self.info.name}); "
                    "run the embed stage on the set that holds it, or encode it with load_encoder"
                )
        rows = np.array([self.index[caption] for caption in captions], np.int64)
        mask, width = torch.from_numpy(self.mask[rows]), self.info.width
        pooled, tokens = torch.empty(len(rows), width), torch.zeros(*mask.shape, width)
        for place, row in enumerate(rows.tolist()):
            own = torch.from_numpy(self.vectors.read(int(self._starts[row]), 1 + int(self.lengths[row])))
            pooled[place], tokens[place, : len(own) - 1] = own[0], own[1:]
        return TextBatch(pooled, tokens, mask)


def _interleaved(pooled: np.ndarray, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(N + sum of lengths, D): each of N pooled vectors, and after it the vectors of its caption's tokens."""
    width = len(pooled) // max(1, len(lengths))
    joined = np.empty((len(lengths) + int(lengths.sum()), width), pooled.dtype)
    heads = np.arange(len(lengths)) + np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    is_token = np.ones(len(joined), bool)
    is_token[heads] = False
    joined[heads], joined[is_token] = pooled.reshape(-1, width), tokens.reshape(-1, width)
    return joined


def _joined(column: pa.BinaryArray, dtype: np.dtype) -> np.ndarray:
    """The values of a binary column one after another, as `dtype` (n,): a view of Arrow's own buffer, not a copy."""
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32)[[column.offset, column.offset + len(column)]]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[1]].view(dtype)


class Encoder:
    """A BERT and its tokenizer, frozen, on one thread of the CPU."""

    def __init__(self, model: Any, tokenizer: Any, info: EncoderInfo) -> None:
        self.model, self.tokenizer, self.info = model, tokenizer, info

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        """Token ids with the framing tokens, not cut."""
        return self.tokenizer(list(captions), truncation=False, verbose=False)["input_ids"] if captions else []

    def encode(self, captions: Sequence[str]) -> TextBatch:
        """Each caption by itself, so that its vectors never depend on its neighbours.

        Raises ValueError for an empty caption and for one of more than `max_tokens` tokens.
        """
        for caption, ids in zip(captions, self.token_ids(captions), strict=True):
            if not caption.strip():
                raise ValueError("an empty caption cannot be encoded; write what the video should show")
            if len(ids) > self.info.max_tokens:
                raise ValueError(
                    f"caption {caption[:60]!r}… has {len(ids)} tokens, at most {self.info.max_tokens} are allowed "
                    "(embed.max_tokens); shorten it"
                )
        with one_thread():
            parts = [self.encode_together([caption]) for caption in captions]
        longest = max((part.mask.shape[1] for part in parts), default=1)
        batch = TextBatch(
            torch.zeros(len(parts), self.info.width),
            torch.zeros(len(parts), longest, self.info.width),
            torch.zeros(len(parts), longest, dtype=torch.bool),
        )
        for row, part in enumerate(parts):
            batch.pooled[row] = part.pooled[0]
            batch.tokens[row, : part.tokens.shape[1]] = part.tokens[0]
            batch.mask[row, : part.mask.shape[1]] = part.mask[0]
        return batch

    @torch.inference_mode()
    def encode_together(self, captions: Sequence[str]) -> TextBatch:
        """One forward pass of all captions; nothing is checked. Bytes depend on the batch and on `one_thread`."""
        inputs = self.tokenizer(list(captions), padding=True, truncation=False, return_tensors="pt")
        tokens = self.model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].bool()
        tokens = tokens * mask[..., None]
        pooled = tokens[:, 0] if self.info.pooling == "cls" else tokens.sum(1) / mask.sum(1, keepdim=True)
        return TextBatch(pooled.clone(), tokens.clone(), mask)


@contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread inside: matrix products split over several differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load_encoder(
    encoder: EncoderInfo | str,  # packaged, a hub id or a folder; or what a table or a model recorded
    *,
    revision: str | None = None,  # hub id: branch, tag or commit
    pooling: Pooling = "mean",  # over all real tokens, or the first token
    max_tokens: int = 32,
) -> Encoder:
    """Load the encoder, offline where it is here already. Raises ValueError, within two seconds, where it is not."""
    if isinstance(encoder, EncoderInfo):
        located = locate_encoder(encoder.name, encoder.revision)
        loaded = _build(encoder.name, located, _load_light(located), encoder.pooling, encoder.max_tokens)
        if loaded.info.width != encoder.width:
            raise ValueError(f"encoder {encoder.name}: {loaded.info.width} wide, {encoder.width} recorded; embed again")
        return loaded
    located = locate_encoder(encoder, revision)
    return _build(encoder, located, _load_light(located), pooling, max_tokens)


def _build(name: str, located: Located, loaded: tuple[Any, Any], pooling: Pooling, max_tokens: int) -> Encoder:
    model, tokenizer = loaded
    limit = getattr(model.config, "max_position_embeddings", max_tokens)
    if max_tokens > limit:
        raise ValueError(f"embed.max_tokens: {max_tokens} is more than the {limit} that encoder {name} can take")
    revision = located.revision or getattr(model.config, "_commit_hash", None)
    return Encoder(model, tokenizer, EncoderInfo(name, revision, model.config.hidden_size, pooling, max_tokens))


def _load_light(located: Located) -> tuple[Any, Any]:
    """A BERT by few imports, in equal bytes, where the folder holds one; anything else by transformers."""
    folder = Path(located.source)
    return (bert.Bert(folder), bert.BertTokenizer(folder)) if bert.reads(folder) else _load(located)


def _load(located: Located) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where: dict[str, Any] = {"local_files_only": located.is_here}
    if located.asked is not None:
        where["revision"] = located.asked
    try:
        tokenizer = AutoTokenizer.from_pretrained(located.source, **where)
        model = AutoModel.from_pretrained(located.source, dtype=torch.float32, **where)  # whatever its file holds
    except (OSError, KeyError) as error:
        raise ValueError(
            f"encoder {located.source}: transformers cannot load it: {' '.join(str(error).split())}"
        ) from None
    return model.eval().requires_grad_(False), tokenizer


def info_to_metadata(info: EncoderInfo, dtype: str) -> dict[bytes, bytes]:
    """The table's parquet metadata."""
    return {INFO_KEY: json.dumps({**asdict(info), "dtype": dtype}, sort_keys=True).encode()}
