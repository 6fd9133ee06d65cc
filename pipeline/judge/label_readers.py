"""Readers of labels: for each attribute of a set of own clips (subject, tone, anything) a small network that names it.

Trained on real train clips and measured on real clips that are held back: how well a reader does there is the ceiling
of whatever it says of a model's samples. A value that no train clip has cannot be read: clips of such are not scored.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.evaluation import JudgeParams
from pipeline.judge.features import FRAMES, FeatureNet, embed, fit
from pipeline.judge.oracles.score_reading import Scores
from pipeline.model_io.tensors import to_model
from pipeline.runtime.row_file import RowFile

log = logging.getLogger("t2v")

SHARED = 0.5  # of the train clips of a column, at least, that share their value with another: else it is no label
SHIFT = 1 / 16  # of a side: how far training moves a clip
NOISE = 0.15  # standard deviation, of the range [-1, 1], at most
SOFT = 0.8  # at most, of a clip that training has blurred

Label = Mapping[str, str]  # value by attribute


@dataclass(frozen=True)
class LabelReader:
    """The network of one attribute, and its values in the order of the network's answers."""

    name: str
    values: tuple[str, ...]
    net: FeatureNet
    head: nn.Linear

    @torch.no_grad()
    def read(self, frames: np.ndarray | RowFile, device: torch.device) -> list[str]:
        """The value that each uint8 clip (N, F, H, W, 3) shows."""
        features = torch.from_numpy(embed(self.net, frames, device)).to(device)
        return [self.values[place] for place in self.head(functional.silu(features)).argmax(dim=1).tolist()]


def find_labels(attributes: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The attributes of train clips that a reader can learn, with their values in order.

    Those of at least two values, which clips share: a free text or a clip's own number is none.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted({name for each in attributes for name in each}):
        counts = Counter(str(each[name]) for each in attributes if isinstance(each.get(name), str | int | float))
        shared = sum(count for count in counts.values() if count > 1)
        if len(counts) > 1 and shared >= SHARED * counts.total():
            found[name] = tuple(sorted(counts))
        elif counts:
            log.info("judge: no reader of %r: %d values in %d train clips", name, len(counts), counts.total())
    return found


def train_label_reader(
    name: str,
    values: Sequence[str],
    frames: np.ndarray | RowFile,  # uint8 (N, F, H, W, 3)
    attributes: Sequence[Mapping[str, Any]],
    params: JudgeParams,
    device: torch.device,
) -> LabelReader:
    """Train on the clips that have the attribute, each visit shifted, softened and made grainy in another way."""
    rows = np.array([row for row, each in enumerate(attributes) if name in each])
    index = {value: place for place, value in enumerate(values)}
    wanted = torch.tensor([index[str(attributes[row][name])] for row in rows])
    few = _few_frames(frames.shape[1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.seed)
        net = FeatureNet(params.width, params.feature_dim).to(device)
        head = nn.Linear(params.feature_dim, len(values)).to(device)
    generator = torch.Generator().manual_seed(params.seed)

    def loss(batch: Tensor) -> Tensor:
        video = vary(to_model(frames[rows[batch.numpy()]][:, few]), generator).to(device)
        logits = head(functional.silu(net(video)))
        return functional.cross_entropy(logits, wanted[batch].to(device), label_smoothing=0.05)

    fit([net, head], loss, len(rows), params, desc=f"reader of {name}")
    return LabelReader(name, tuple(values), net, head)


def vary(video: Tensor, generator: torch.Generator) -> Tensor:
    """Clips float (B, 3, F, H, W) as a model may draw them: a little beside their place, and softer or grainier."""
    b, _, _, height, width = video.shape
    reach = max(1, round(SHIFT * width))
    padded = functional.pad(video, (reach, reach, reach, reach, 0, 0), mode="replicate")
    places = torch.randint(2 * reach + 1, (b, 2), generator=generator).tolist()
    moved = torch.stack([clip[..., y : y + height, x : x + width] for clip, (y, x) in zip(padded, places, strict=True)])
    amount = torch.rand(b, 1, 1, 1, 1, generator=generator)
    soft, grainy = moved[::2], moved[1::2]
    blurred = functional.avg_pool2d(soft.flatten(1, 2), 3, stride=1, padding=1, count_include_pad=False)
    soft.lerp_(blurred.view_as(soft), SOFT * amount[::2])
    grainy.add_(NOISE * amount[1::2] * torch.randn(grainy.shape, generator=generator))
    return moved


def score_label(read: Label, wanted: Mapping[str, Any], values: Mapping[str, Sequence[str]]) -> Scores:
    """Right or wrong for each attribute of a clip, and `joint`: all of them.

    Empty where the clip has no attribute that is read, or a value that no train clip has.
    """
    asked = {name: str(wanted[name]) for name in values if name in wanted}
    if not asked or any(value not in values[name] for name, value in asked.items()):
        return {}
    right = {name: read[name] == value for name, value in asked.items()}
    return {**right, "joint": all(right.values())}


def label_shares(scores: Sequence[Scores]) -> dict[str, tuple[int, int]]:
    """(right, clips) by attribute, over the clips that have it."""
    names = dict.fromkeys(name for each in scores for name in each)
    return {
        name: (sum(bool(each.get(name)) for each in scores), sum(name in each for each in scores)) for name in names
    }


def _few_frames(n_frames: int) -> np.ndarray:
    """The frames that the network looks at anyway."""
    return torch.linspace(0, n_frames - 1, min(FRAMES, n_frames)).round().long().numpy()
