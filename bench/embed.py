"""Caption vectors once per distinct caption, against the encoder in every training step, as the old systems had it.

`python -m bench.embed [--json FILE] [--captions ANNOTATIONS]`. Per epoch: the old way encodes one caption of each clip
in random batches; ours reads the table. With an annotation file, its own counts are used for the estimates.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pipeline.runtime.files import write_json
from pipeline.sources.captions import read_captions
from pipeline.text.captions import CaptionTable, load_encoder, one_thread
from pipeline.text.embedding import collect_captions, embed_captions

BATCH = 32
WORDS = "a man woman dog is are playing running cooking talking in on the street kitchen field about with red car"


def made_up(count: int) -> list[str]:
    """Captions of MSR-VTT's lengths (about nine words)."""
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS.split(), k=max(3, round(rng.gauss(9.3, 3.5))))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.embed", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--captions", type=Path, help="an MSR-VTT annotation file or archive")
    parser.add_argument("--sample", type=int, default=1024, help="captions that are really embedded")
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()

    figures: dict[str, float] = {}
    captions, clips = made_up(options.sample), options.sample
    if options.captions:
        started = time.perf_counter()
        found = read_captions(options.captions)
        figures["read_s"] = time.perf_counter() - started
        captions, clips = [text for texts in found.captions.values() for text in texts], len(found.captions)
    distinct = sorted(set(captions))
    sample = random.Random(0).sample(distinct, min(options.sample, len(distinct)))

    encoder = load_encoder("packaged", max_tokens=64)
    started = time.perf_counter()
    chosen = collect_captions((("", "train", (text,)) for text in sample), encoder)
    with tempfile.TemporaryDirectory() as name:
        embed_captions(chosen, encoder, out=Path(name) / "table.parquet", scratch=Path(name), workers=1)
        once_s = (time.perf_counter() - started) / len(sample)
        table = CaptionTable.read(Path(name) / "table.parquet")

    batches = [random.Random(step).sample(chosen.captions, BATCH) for step in range(8)]
    with one_thread():
        started = time.perf_counter()
        for batch in batches:
            encoder.encode_together(batch)
        each_s = (time.perf_counter() - started) / (BATCH * len(batches))
    started = time.perf_counter()
    for batch in batches:
        table.batch(batch)
    lookup_s = (time.perf_counter() - started) / (BATCH * len(batches))

    old_s = options.epochs * clips * each_s
    ours_s = len(distinct) * once_s + options.epochs * clips * lookup_s
    figures |= {
        "captions": len(captions),
        "distinct": len(distinct),
        "captions_per_s_once": 1 / once_s,
        "captions_per_s_each_step": 1 / each_s,
        "lookups_per_s": 1 / lookup_s,
        "ratio_lookup_to_encoding": each_s / lookup_s,
        "estimated_embedding_s": len(distinct) * once_s,
        "epochs": options.epochs,
        "ratio_to_every_epoch": old_s / ours_s,
        "epochs_to_break_even": float(np.ceil(len(distinct) * once_s / (clips * (each_s - lookup_s)))),
        "bytes_per_caption": table.vectors.nbytes / len(table),
        "torch_threads": torch.get_num_threads(),
    }
    print(
        f"{len(captions):,} captions, {len(distinct):,} distinct of {clips:,} clips: once "
        f"{len(distinct) * once_s:,.0f} s (one core, estimated), then {1 / lookup_s:,.0f} look-ups/s; "
        f"in every step {1 / each_s:,.0f} captions/s. "
        f"{options.epochs} epochs: {ours_s:,.0f} s against {old_s:,.0f} s ({old_s / ours_s:.1f}x)"
    )
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
