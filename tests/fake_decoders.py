"""What a decoder process can be made to do: the clip's bytes say it ('seed 3', 'hang', 'abort', 'memory', 'bad')."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from pipeline.transcode.decoding.spec import ClipError, FrameSpec


def obey(source: bytes | Path, spec: FrameSpec) -> np.ndarray:
    data = source if isinstance(source, bytes) else source.read_bytes()
    word, *rest = data.decode().split()
    if word == "hang":
        time.sleep(3600)
    if word == "abort":
        os.write(2, b"double free or corruption: 0x00007f1234567890")
        os.abort()
    if word == "memory":
        hoard = [np.empty(2**24) for _ in range(10**4)]
        raise AssertionError(f"{len(hoard)} arrays of 128 MiB fitted")
    if word == "bad":
        raise ClipError("damaged", "the decoder's own words")
    if word == "slow":
        time.sleep(0.15)
        note = os.environ.get("FAKE_DECODER_NOTES")
        if note:
            with open(f"{note}/{os.getpid()}", "a", encoding="utf-8"):  # noqa: PTH123
                pass
    rng = np.random.default_rng(int(rest[0]))
    return rng.integers(0, 256, (spec.frames, spec.resolution, spec.resolution, 3), dtype=np.uint8)


def fail_when_used(data: bytes, spec: FrameSpec) -> np.ndarray:
    raise ClipError("damaged", "this clip was made before")
