"""Untrained models of both families, small enough for tests, as folders on disk; and an encoder without weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipeline.model_io.model_card import ModelCard, save_model
from pipeline.sampling.video_model import build_network
from pipeline.text.captions import EncoderInfo, TextBatch
from stages import train, train_gan
from tests.training_toys import toy_params, write_toy_set

INFO = EncoderInfo("toy", None, 12, "mean", 16)
TOY_GAN = {"frames": 4, "resolution": 16, "base_dim": 16, "code_dim": 16, "word_dim": 8}
VOCABULARY = ("a", "blue", "circle", "down", "moving", "red", "up")


class HashEncoder:
    """A vector per word, from its hash."""

    info = INFO

    def token_ids(self, captions: Sequence[str]) -> list[list[int]]:
        return [[0] * len(caption.split()) for caption in captions]

    def encode_together(self, captions: Sequence[str]) -> TextBatch:
        return self.encode(captions)

    def encode(self, captions: Sequence[str]) -> TextBatch:
        longest = max(len(caption.split()) for caption in captions)
        batch = TextBatch(
            torch.zeros(len(captions), INFO.width),
            torch.zeros(len(captions), longest, INFO.width),
            torch.zeros(len(captions), longest, dtype=torch.bool),
        )
        for row, caption in enumerate(captions):
            for place, word in enumerate(caption.split()):
                seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4])
                batch.tokens[row, place] = torch.randn(INFO.width, generator=torch.Generator().manual_seed(seed))
                batch.mask[row, place] = True
            batch.pooled[row] = batch.tokens[row].sum(0) / len(caption.split())
        return batch


def toy_card(family: str = "unet", **changes: Any) -> ModelCard:
    params = toy_params()
    tree = params.model_dump(mode="json")
    tree["train_gan"] |= TOY_GAN
    sections = ("unet", "diffusion", "train") if family == "unet" else ("train_gan",)
    facts: dict[str, Any] = {
        "family": family,
        "dataset": "shapes",
        "frames": 4,
        "resolution": 16,
        "channels": 3,
        "fps": 10.0,
        "text": asdict(INFO) if family == "unet" else None,
        "params": {name: tree[name] for name in sections},
        "steps": 8,
        "seed": 0,
        "clips_seen": 32,
        "vocabulary": VOCABULARY,
    }
    return ModelCard(**{**facts, **changes})


def write_toy_model(folder: Path, family: str = "unet", **changes: Any) -> ModelCard:
    """An untrained model whose last layers are not zero, so that its samples differ."""
    card = toy_card(family, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(card)
        for weight in network.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.1)
    save_model(folder, card, network.state_dict())
    return card


def train_toy_models(root: Path) -> Path:
    """Models as the stages train and train_gan leave them, after two steps on the toy set: root/models/unet and gan."""
    write_toy_set(root)
    tree = toy_params(steps=2, warmup_steps=1, val_every=2, sample_every=2).model_dump(mode="json")
    tree["train_gan"] |= {**TOY_GAN, "steps": 2, "batch_size": 4, "discriminator_dim": 8, "clip_resolution": 8}
    (root / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        inputs = {"params_path": root / "params.yaml", "shards": root / "data/shards"}
        for family in ("unet", "gan"):
            outs = {"model": root / "models" / family, "plots": root / "plots" / family}
            outs["metrics"] = root / "metrics" / f"{family}.json"
            if family == "unet":
                train.main(**inputs, embeddings=root / "data/embeddings", **outs)
            else:
                train_gan.main(**inputs, **outs)
    return root / "models"
