"""The judge of a set: everything that reads or measures clips of it, trained once on its real clips and then frozen.

A folder holds `judge.json` (what it was made for and how well it does on clips it never saw), `weights.safetensors`
(all networks, one metadata key) and `ladder.json` (the corruption ladder, generated sets only).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.config.earlier import todays_set
from pipeline.judge.features import FeatureNet, embed
from pipeline.judge.label_readers import Label, LabelReader
from pipeline.judge.oracles.digit_classifier import DigitReader
from pipeline.judge.oracles.digits import read_digits
from pipeline.judge.oracles.reading import Reading
from pipeline.judge.oracles.score_reading import Scores, score_reading
from pipeline.judge.oracles.shapes import read_shapes
from pipeline.judge.oracles.world.reading import WorldReading, read_world
from pipeline.judge.oracles.world.score import score_world
from pipeline.judge.retrieval import Retrieval, TextHalf
from pipeline.runtime.files import whole_folder, write_bytes, write_json
from pipeline.runtime.row_file import RowFile

CARD_FILE = "judge.json"
WEIGHTS_FILE = "weights.safetensors"
LADDER_FILE = "ladder.json"


@dataclass(frozen=True)
class JudgeCard:
    """The set a judge was made for, its measures and how well it does."""

    dataset: str
    resolution: int  # px of the clips it was trained on
    frames: int
    width: int  # channels of the feature network's first level
    feature_dim: int
    in_play: dict[str, list[Any]]  # attribute values of the set, of own clips those that are read; may be empty
    metrics: dict[str, Any]  # on clips that no judge network was trained on
    vocabulary: tuple[str, ...] = ()  # of the dual encoder; none where the set has attributes


class Judge:
    """Reads and measures clips of one set."""

    def __init__(
        self,
        card: JudgeCard,
        net: FeatureNet,
        mean: Tensor,  # (D,) of the features of train clips
        std: Tensor,
        *,
        digit_reader: DigitReader | None = None,
        text_half: TextHalf | None = None,
        readers: Sequence[LabelReader] = (),  # of own clips' attributes
        device: torch.device | str = "cpu",
    ) -> None:
        self.card, self.mean, self.std = card, mean.cpu(), std.cpu()
        self.device = torch.device(device)
        self.net = net.to(self.device).eval()
        self.digit_reader = digit_reader.to(self.device).eval() if digit_reader else None
        self.retrieval = Retrieval(self.net, text_half.to(self.device).eval(), self.device) if text_half else None
        self.readers = tuple(readers)
        for reader in self.readers:
            reader.net.to(self.device).eval()
            reader.head.to(self.device)

    def features(self, frames: np.ndarray) -> np.ndarray:
        """float32 (N, D) of uint8 clips (N, F, H, W, 3): of the train clips, mean 0 and standard deviation 1."""
        return (embed(self.net, frames, self.device) - self.mean.numpy()) / self.std.numpy()

    def read_labels(self, frames: np.ndarray | RowFile) -> list[Label]:
        """The readers' values for each uint8 clip (N, F, H, W, 3): a value by attribute."""
        found = {reader.name: reader.read(frames, self.device) for reader in self.readers}
        return [{name: values[row] for name, values in found.items()} for row in range(len(frames))]

    def read(self, frames: np.ndarray) -> Reading:
        """Reading of a uint8 clip (F, H, W, 3). Raises ValueError for real video, which no oracle reads."""
        if self.card.in_play.get("kind"):
            return read_world(frames)
        if self.card.dataset == "shapes":
            return read_shapes(frames)
        if self.digit_reader is None:
            raise ValueError(f"no oracle reads clips of {self.card.dataset}; only shapes and moving_mnist have one")
        return read_digits(frames, self.digit_reader, self.device)

    def score_reading(self, reading: Reading, attributes: Mapping[str, Any]) -> Scores:
        """A reading against the true attributes of a caption."""
        if isinstance(reading, WorldReading):
            return score_world(reading, attributes, self.card.in_play, resolution=self.card.resolution)
        return score_reading(reading, attributes, self.card.in_play, resolution=self.card.resolution)

    def score(self, frames: np.ndarray, attributes: Mapping[str, Any]) -> Scores:
        """One clip, read and scored."""
        return self.score_reading(self.read(frames), attributes)

    def score_many(
        self,
        clips: Iterable[np.ndarray],  # uint8 (F, H, W, 3) each
        attributes: Sequence[Mapping[str, Any]],
    ) -> list[Scores]:
        """One `score` per clip."""
        return [self.score(frames, truth) for frames, truth in zip(clips, attributes, strict=True)]


def save_judge(folder: Path, judge: Judge, ladder: Mapping[str, Any] | None) -> None:
    """Write a judge folder; equal judges give equal bytes."""
    tensors = {f"features.{name}": value for name, value in judge.net.state_dict().items()}
    tensors |= {"scale.mean": judge.mean, "scale.std": judge.std}
    if judge.digit_reader:
        tensors |= {f"digits.{name}": value for name, value in judge.digit_reader.state_dict().items()}
    if judge.retrieval:
        tensors |= {f"retrieval.{name}": value for name, value in judge.retrieval.half.state_dict().items()}
    for place, reader in enumerate(judge.readers):
        tensors |= {f"reader{place}.net.{name}": value for name, value in reader.net.state_dict().items()}
        tensors |= {f"reader{place}.head.{name}": value for name, value in reader.head.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with whole_folder(folder) as partial:
        write_bytes(partial / WEIGHTS_FILE, save(tensors, {"dataset": judge.card.dataset}))
        write_json(partial / CARD_FILE, asdict(judge.card))
        if ladder is not None:
            write_json(partial / LADDER_FILE, ladder)


def load_judge(folder: Path | str, device: torch.device | str = "cpu") -> Judge:
    """The judge of a folder. Raises ValueError, one line, where the folder is no judge."""
    folder = Path(folder)
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: not a judge folder ({name} missing); run the judge stage (dvc repro judge)")
    card = _read_card(folder / CARD_FILE)
    tensors = load_file(folder / WEIGHTS_FILE)
    net = FeatureNet(card.width, card.feature_dim)
    net.load_state_dict(_part(tensors, "features"))
    reader = DigitReader() if any(name.startswith("digits.") for name in tensors) else None
    if reader:
        reader.load_state_dict(_part(tensors, "digits"))
    half = TextHalf(card.vocabulary, card.feature_dim) if card.vocabulary else None
    if half:
        half.load_state_dict(_part(tensors, "retrieval"))
    for network in (net, reader, half):
        if network is not None:
            network.requires_grad_(False)
    return Judge(
        card,
        net,
        tensors["scale.mean"],
        tensors["scale.std"],
        digit_reader=reader,
        text_half=half,
        readers=_readers(card, tensors),
        device=device,
    )


def _readers(card: JudgeCard, tensors: Mapping[str, Tensor]) -> list[LabelReader]:
    """One for each attribute in play, where the judge has readers."""
    readers = []
    for place, (name, values) in enumerate(card.in_play.items() if "reader0.head.weight" in tensors else ()):
        net, head = FeatureNet(card.width, card.feature_dim), nn.Linear(card.feature_dim, len(values))
        net.load_state_dict(_part(tensors, f"reader{place}.net"))
        head.load_state_dict(_part(tensors, f"reader{place}.head"))
        readers.append(LabelReader(name, tuple(values), net.requires_grad_(False), head.requires_grad_(False)))
    return readers


def _read_card(path: Path) -> JudgeCard:
    tree = json.loads(path.read_text(encoding="utf-8"))
    if tree.pop("text_width", None) is not None:
        raise ValueError(f"{path}: this judge reads an embeddings table, as earlier versions did: dvc repro judge")
    told = {"dataset": todays_set(tree["dataset"]), "vocabulary": tuple(tree.get("vocabulary", ()))}
    return JudgeCard(**{**tree, **told})


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}
