"""A toy set, its captions' vectors and tiny params: what the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from pipeline.config.params import Params, load_params, parse_params
from pipeline.data.gif import Clip
from pipeline.data.shards import to_row, write_set, write_shard
from pipeline.diffusion.training import DiffusionTrainer, open_diffusion_trainer
from pipeline.text.captions import CaptionTable, EncoderInfo, info_to_metadata
from pipeline.training.distributed import DistContext

COLOURS = {"red": (230, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 230), "yellow": (230, 220, 30)}
SPLITS = {"train": 24, "val": 6, "held_out": 6}
WIDTH = 12
FRAMES, SIDE = 8, 16
ALONE = DistContext(0, 1, torch.device("cpu"))


def toy_clip(split: str, number: int) -> Clip:
    """A coloured square that moves up or down, one pixel a frame."""
    colour, motion = list(COLOURS)[number % 4], ("up", "down")[number // 4 % 2]
    frames = np.full((FRAMES, SIDE, SIDE, 3), 255, np.uint8)
    for f in range(FRAMES):
        y = 2 + (f if motion == "down" else FRAMES - f)
        frames[f, y : y + 4, number % 12 : number % 12 + 4] = COLOURS[colour]
    captions = (f"a {colour} square moving {motion}", f"{motion} goes the {colour} square")
    return Clip(f"{split}-{number:03d}", split, captions, frames, 10.0, "toy")


def write_toy_set(root: Path) -> Path:
    """data/shards/shapes and data/embeddings/shapes.parquet below `root`; returns the set's folder."""
    folder = root / "data/shards/shapes"
    clips = [toy_clip(split, number) for split, count in SPLITS.items() for number in range(count)]
    write_shard(folder / "shard-00000.parquet", [to_row(clip) for clip in clips[:20]])
    write_shard(folder / "shard-00001.parquet", [to_row(clip) for clip in clips[20:]])
    write_set(folder, {"set": "shapes", "counts": SPLITS, "resolution": SIDE, "frames": FRAMES, "fps": 10.0})
    write_toy_table(root / "data/embeddings/shapes.parquet", sorted({c for clip in clips for c in clip.captions}))
    return folder


def write_toy_table(path: Path, captions: list[str]) -> None:
    """Random word vectors; the pooled vector is their mean."""
    rng = np.random.default_rng(0)
    words = {word: rng.normal(2.0, 3.0, WIDTH) for word in sorted({w for c in captions for w in c.split()})}
    tokens = [np.stack([words[word] for word in caption.split()]).astype(np.float16) for caption in captions]
    info = EncoderInfo("toy", None, WIDTH, "mean", 16)
    fields = [("caption", pa.string()), ("n_tokens", pa.int32()), ("pooled", pa.binary()), ("tokens", pa.binary())]
    columns = {
        "caption": captions,
        "n_tokens": [len(rows) for rows in tokens],
        "pooled": [rows.mean(0).astype(np.float16).tobytes() for rows in tokens],
        "tokens": [rows.tobytes() for rows in tokens],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=pa.schema(fields, metadata=info_to_metadata(info, "float16"))), path)


def toy_params(**train: Any) -> Params:
    """The committed params at toy measures; keywords change the train section."""
    tree = load_params(Path(__file__).with_name("params.yaml")).model_dump(mode="json")
    tree["unet"] |= {
        "dim": 16,
        "dim_mults": [2],
        "fold_frames": [2],
        "patch": 4,
        "unfold_frames": None,
    }
    tree["unet"] |= {"attn_heads": 2, "attn_dim_head": 8}
    tree["unet"] |= {"spatial_attention": ["none"], "temporal_attention": [True], "joint_attention": [True]}
    tree["unet"] |= {"cross_attention": [True], "mid_attention": "none", "cond_dim": 32}
    tree["diffusion"]["t_mean"] = 1.9  # the committed mean is that of larger pictures
    tree["train"] |= {"frames": 4, "resolution": SIDE, "batch_size": 4, "steps": 8, "warmup_steps": 2}
    tree["train"] |= {"checkpoint_every": 2, "sample_every": 4, "val_every": 4, "num_sample_rows": 2}
    tree["train"] |= {"precision": "fp32", "prob_focus_present": 0.25}
    tree["train"] |= train
    tree["sampling"] |= {"num_inference_steps": 2}
    return parse_params(tree)


def write_toy_params(root: Path, **train: Any) -> Path:
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(toy_params(**train).model_dump(mode="json")), encoding="utf-8")
    return path


def toy_texts(folder: Path) -> CaptionTable:
    """The table beside a toy set's folder."""
    return CaptionTable.read(embeddings_of(folder))


def embeddings_of(folder: Path) -> Path:
    return folder.parents[1] / "embeddings/shapes.parquet"


def open_toy_trainer(folder: Path, params: Params, dist: DistContext = ALONE) -> DiffusionTrainer:
    """The trainer that the stage opens."""
    return open_diffusion_trainer(folder, embeddings_of(folder), params.unet, params.diffusion, params.train, dist)
