"""Growth: what a caption costs to read, a clip to start training on, and each stage in memory, beside an earlier build.

`python -m bench.scale [--before REVISION] [--json FILE]`. Everything is measured at two sizes, and told as the
difference by clip or caption, so that what a program needs anyway does not count; networks are small, for the same.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from bench.builds import Build, Cost, open_builds
from bench.facts import machine_facts
from bench.msrvtt import training_start
from pipeline.runtime.files import write_json
from pipeline.runtime.stage import run_stage
from pipeline.text.captions import EncoderInfo, info_to_metadata

WIDTH, TOKENS = 384, 12  # of a caption's vectors, as the packaged encoder makes them of MSR-VTT's captions
READ_TABLE = """
import sys
try:
    from pipeline.text.captions import CaptionTable
except ImportError:  # where builds before had it
    from pipeline.text import CaptionTable
CaptionTable.read(sys.argv[1])
"""
PARAMS = {
    "dataset": "shapes",
    "shapes.held_out_clips": 16,
    "shapes.reworded_clips": 16,
    "unet.dim": 16,
    "unet.head_dim": 32,
    "unet.cond_dim": 32,
    "unet.attn_heads": 2,
    "unet.attn_dim_head": 16,
    "train.steps": 2,
    "train.warmup_steps": 1,
    "train.sample_every": 2,
    "train.val_every": 2,
    "train.num_sample_rows": 1,
    "judge.steps": 5,
    "sampling.num_inference_steps": 2,
    "evaluate.curve_prompts": 4,
    "evaluate.guidance_scales": [2.0],
    "evaluate.steps": [2],
    "evaluate.unsaid_clips": 0,
    "evaluate.showcase_prompts": 1,
    "evaluate.showcase_seeds": 1,
}


def main() -> None:
    args = build_parser().parse_args()
    with open_builds(args.before) as builds:
        found = {"table": caption_tables(builds, args.captions)} | stages(builds, args.clips, dict(PARAMS))
    found |= machine_facts(torch.device("cpu"))
    found |= {"clips": args.clips, "captions": args.captions, "clip_kb": 16 * 64 * 64 * 3 / 1e3, "before": args.before}
    for what, values in found.items():
        print(f"{what}: {values}")
    if args.json is not None:
        write_json(args.json, found)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000, help="the smaller of two sizes; the other is twice that")
    parser.add_argument("--captions", type=int, default=20000, help="of the table that is read")
    parser.add_argument("--before", metavar="REVISION", help="run this build too, in turn")
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser


def caption_tables(builds: list[Build], captions: int) -> dict[str, Any]:
    """Reading a table of this size, less reading one of a single caption: seconds, and bytes of memory a caption."""
    with TemporaryDirectory(prefix="t2v-bench-") as name:
        paths = [Path(name) / "one.parquet", Path(name) / "many.parquet"]
        write_table(paths[0], 1)
        write_table(paths[1], captions)
        costs = {build.name: [build.run("-c", READ_TABLE, str(path)) for path in paths] for build in builds}
    return _by_build({name: _growth(pair, captions) for name, pair in costs.items()})


def write_table(path: Path, captions: int) -> None:
    """An embeddings table of random vectors."""
    rng = np.random.default_rng(0)
    fields = [("caption", pa.string()), ("n_tokens", pa.int32()), ("pooled", pa.binary()), ("tokens", pa.binary())]
    schema = pa.schema(fields, info_to_metadata(EncoderInfo("toy", None, WIDTH, "mean", 32), "float16"))
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, captions, 1024):
            numbers = range(start, min(start + 1024, captions))
            vectors = rng.normal(size=(len(numbers), 1 + TOKENS, WIDTH)).astype(np.float16)
            columns = {
                "caption": [f"caption {number}" for number in numbers],
                "n_tokens": [TOKENS] * len(numbers),
                "pooled": [each[0].tobytes() for each in vectors],
                "tokens": [each[1:].tobytes() for each in vectors],
            }
            writer.write_table(pa.table(columns, schema=schema))


def stages(builds: list[Build], clips: int, params: dict[str, Any]) -> dict[str, Any]:
    """Costs of `clips` more clips by stage: of training the start alone, of evaluate a tenth as many prompts."""
    costs: dict[str, dict[str, list[Cost]]] = {}
    for count in (clips, 2 * clips):
        for build in builds:
            prompts = max(10, count // 10)
            build.set_params(params | {"shapes.train_clips": count, "shapes.val_clips": prompts})
            build.set_params({"evaluate.prompts": prompts, "evaluate.feature_clips": prompts})
            for stage in ("shapes", "embed", "judge", "train", "evaluate"):
                words = {"embed": ("shapes",), "evaluate": ("unet",)}.get(stage, ())
                cost = build.run("-m", f"stages.{stage}", *words)
                if stage == "train":
                    cost = training_start(build, cost)
                costs.setdefault(stage, {}).setdefault(build.name, []).append(cost)
    return {
        stage: _by_build({name: _growth(pair, clips) for name, pair in by_build.items()})
        for stage, by_build in costs.items()
    }


def _growth(pair: list[Cost], more: int) -> dict[str, float]:
    """Costs that came with `more` clips or captions, and those of the larger run in all."""
    small, large = pair
    return {
        "ms_each": 1000 * (large.seconds - small.seconds) / more,
        "cpu_ms_each": 1000 * (large.cpu_s - small.cpu_s) / more,
        "kb_each": 1000 * (large.memory_mb - small.memory_mb) / more,
        "seconds": large.seconds,
        "memory_mb": large.memory_mb,
    }


def _by_build(found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Rounded, with ratios of now over before where both were measured and what came before is not nothing."""
    told: dict[str, Any] = {name: {key: round(value, 3) for key, value in one.items()} for name, one in found.items()}
    if "before" in found:
        pairs = {key: (found["now"][key], old) for key, old in found["before"].items()}
        told["ratios"] = {key: round(new / old, 3) for key, (new, old) in pairs.items() if old > 0.0}
    return told


if __name__ == "__main__":
    run_stage(main)
