"""Model folders of earlier versions load: cards as they were written then, read in today's params keys."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config.earlier import REMOVED, RENAMED, in_todays_keys
from pipeline.config.params import ParamsError, parse_params
from pipeline.model_io.model_card import read_card
from pipeline.sampling.video_model import build_network
from pipeline.text.captions import TextBatch

# Written by the version of 2026-11-27, each under other params.
CARDS = {
    "unet folded": """
{"channels": 3, "clips_seen": 32, "dataset": "shapes", "extra": {}, "family": "unet", "format": 1, "fps": 10.0,
"frames": 4, "git_revision": null, "metrics": {}, "params": {"diffusion": {"dynamic_thresholding": false, "loss":
"l2", "loss_weight": "velocity", "loss_weight_max": 25.0, "num_train_timesteps": 1000, "objective": "x0",
"p_uncond": 0.1, "schedule": "flow", "t_mean": 1.9, "t_std": 1.3, "threshold_percentile": 0.9}, "train":
{"accumulate": 1, "batch_size": 4, "betas": [0.9, 0.99], "channels": 3, "checkpoint_every": 2, "clip_grad_norm":
1.0, "compile": false, "decay": "cosine", "ema_decay": 0.995, "ema_every": 1, "ema_start": 0, "final_lr_share":
0.02, "flip": false, "frames": 4, "lr": 0.002, "lr_muon": 0.01, "num_sample_rows": 2, "optimizer": "muon",
"precision": "fp32", "prob_focus_present": 0.25, "ram_budget_gb": 8.0, "resolution": 16, "sample_every": 4, "seed":
0, "steps": 8, "val_every": 4, "warmup_steps": 2, "weight_decay": 0.01}, "unet": {"attn_dim_head": 4, "attn_heads":
1, "block_type": "resnet", "blocks_per_level": 1, "cond_dim": 8, "cross_attention": [false, true], "dim": 8,
"dim_mults": [1, 2], "dropout": 0.1, "final_block": true, "fold_frames": [1, 2], "head_dim": 16, "init_dim": null,
"init_kernel_size": 1, "joint_attention": [false, true], "mid_attention": "joint", "norm": "layer", "out_dim": null,
"patch": 4, "patch_frames": 2, "positions": true, "spatial_attention": ["none", "linear"], "temporal_attention":
[false, false], "temporal_conv": true, "text_dropout": 0.3, "text_pooled": true, "text_queries": 2, "unfold_frames":
[1, 4]}}, "resolution": 16, "seed": 0, "steps": 8, "text": {"max_tokens": 16, "name": "toy", "pooling": "mean",
"revision": null, "width": 12}, "vocabulary": ["a", "red", "up"]}
""",
    "unet seedlike": """
{"channels": 3, "clips_seen": 32, "dataset": "shapes", "extra": {}, "family": "unet", "format": 1, "fps": 10.0,
"frames": 4, "git_revision": null, "metrics": {}, "params": {"diffusion": {"dynamic_thresholding": false, "loss":
"l1", "loss_weight": "none", "loss_weight_max": 25.0, "num_train_timesteps": 50, "objective": "eps", "p_uncond":
0.1, "schedule": "cosine", "t_mean": 1.9, "t_std": 1.3, "threshold_percentile": 0.9}, "train": {"accumulate": 1,
"batch_size": 4, "betas": [0.9, 0.99], "channels": 3, "checkpoint_every": 2, "clip_grad_norm": 0.0, "compile":
false, "decay": "constant", "ema_decay": 0.995, "ema_every": 1, "ema_start": 0, "final_lr_share": 0.02, "flip":
false, "frames": 4, "lr": 0.001, "lr_muon": 0.01, "num_sample_rows": 2, "optimizer": "adamw", "precision": "fp32",
"prob_focus_present": 0.25, "ram_budget_gb": 8.0, "resolution": 16, "sample_every": 4, "seed": 0, "steps": 8,
"val_every": 4, "warmup_steps": 2, "weight_decay": 0.01}, "unet": {"attn_dim_head": 4, "attn_heads": 1,
"block_type": "resnet", "blocks_per_level": 2, "cond_dim": null, "cross_attention": [false, false], "dim": 8,
"dim_mults": [1, 2], "dropout": 0.0, "final_block": true, "fold_frames": [1, 1], "head_dim": null, "init_dim": null,
"init_kernel_size": 7, "joint_attention": [false, false], "mid_attention": "factored", "norm": "rms", "out_dim":
null, "patch": 1, "patch_frames": 1, "positions": false, "spatial_attention": ["linear", "full"],
"temporal_attention": [true, true], "temporal_conv": false, "text_dropout": 0.0, "text_pooled": true,
"text_queries": 0, "unfold_frames": null}}, "resolution": 16, "seed": 0, "steps": 8, "text": {"max_tokens": 16,
"name": "toy", "pooling": "mean", "revision": null, "width": 12}, "vocabulary": ["a", "red", "up"]}
""",
    "gan seedlike": """
{"channels": 3, "clips_seen": 32, "dataset": "shapes", "extra": {}, "family": "gan", "format": 1, "fps": 10.0,
"frames": 4, "git_revision": null, "metrics": {}, "params": {"train_gan": {"background_told": true, "base_dim": 4,
"batch_size": 4, "betas": [0.5, 0.99], "channels": 3, "checkpoint_every": 3, "clip_resolution": 8, "code_dim": 4,
"contrast_weight": 1.0, "discriminator_dim": 8, "ema_decay": 0.995, "frames": 4, "judged_frames": 1, "loss":
"hinge", "lr": 0.001, "lr_discriminator": 0.001, "mismatch": true, "motion_dim": 2, "noise_dim": 4,
"num_sample_rows": 2, "r1_every": 4, "r1_weight": 1.0, "ram_budget_gb": 8.0, "resolution": 16, "rivals": 0,
"sample_every": 6, "seed": 0, "sprites": 1, "steps": 6, "text": "words", "word_dim": 3, "word_window": 3}},
"resolution": 16, "seed": 0, "steps": 8, "text": null, "vocabulary": ["a", "red", "up"]}
""",
}
# What the same version built from them: its parameters' names and shapes, and, with weights set by a formula, the mean
# of |output| on a fixed input.
BUILT = {
    "unet folded": ("b0b49b64bcec", 0.12785982912798013),
    "unet seedlike": ("41af9a7fcbd5", 0.028469798915163363),
    "gan seedlike": ("626776d8899b", 0.09080356279922104),
}


def fill_by_formula(network: nn.Module) -> None:
    for place, (name, weight) in enumerate(sorted(network.state_dict().items())):
        values = torch.arange(weight.numel(), dtype=torch.float64).mul(0.7 + place).sin() * 0.2
        weight.copy_((values.abs() + 0.5 if name.endswith("_std") else values).view_as(weight))


@torch.no_grad()
def output_of(network: nn.Module, family: str) -> torch.Tensor:
    if family == "gan":
        return network(torch.linspace(-1, 1, 12).view(2, 6), torch.tensor([[2, 3], [4, 0]]))
    words = torch.linspace(-1, 1, 72).view(2, 3, 12)
    text = TextBatch(torch.linspace(-1, 1, 24).view(2, 12), words, torch.ones(2, 3, dtype=torch.bool))
    x = torch.linspace(-1, 1, 2 * 3 * 4 * 16 * 16).sin().view(2, 3, 4, 16, 16)
    return network(x, torch.tensor([0.3, 0.8]), text)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_of_an_earlier_version_builds_the_network_that_it_built_then(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.json").write_text(CARDS[name])
    card = read_card(tmp_path)
    network = build_network(card).eval()
    shapes = [(key, list(weight.shape)) for key, weight in sorted(network.state_dict().items())]
    assert hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:12] == BUILT[name][0]
    with torch.no_grad():
        fill_by_formula(network)
    assert output_of(network, card.family).abs().double().mean().item() == pytest.approx(BUILT[name][1], rel=1e-4)


def test_a_card_whose_params_are_no_longer_built_says_so(tmp_path: Path) -> None:
    tree = json.loads(CARDS["gan seedlike"])
    tree["params"]["train_gan"]["text"] = "encoder"
    (tmp_path / "model.json").write_text(json.dumps(tree))
    with pytest.raises(
        ValueError, match=r"model\.json: train_gan\.text=encoder is no longer built; sample by"
    ) as caught:
        read_card(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_of_a_set_by_its_earlier_name_is_one_of_the_set_by_todays(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**json.loads(CARDS["gan seedlike"]), "dataset": "msrvtt"}))
    assert read_card(tmp_path).dataset == "videos"


def test_todays_cards_are_read_as_they_are() -> None:
    sections: dict[str, dict[str, Any]] = {
        "train_gan": {"seed": 3},
        "sampling": {"eta": 1.0, "given_frames": 0, "t_start": 1.0},
    }
    assert in_todays_keys(sections) == sections


@pytest.mark.parametrize("key", [*RENAMED, *REMOVED, "unet.patch_frames"])
def test_a_params_file_with_an_earlier_key_is_told_todays(key: str) -> None:
    section, name = key.split(".")
    expected = RENAMED.get(key, "fold_frames" if key == "unet.patch_frames" else "delete the line")
    with pytest.raises(ParamsError, match=rf"{section}\.{name}: .*{expected}") as caught:
        parse_params({section: {name: 1}})
    assert "\n" not in str(caught.value)
