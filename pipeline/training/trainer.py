"""The part of training that a family of models brings: networks, optimizers and one step. The loop brings the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from pipeline.config.training import LoopParams
from pipeline.model_io.model_card import Family
from pipeline.text.captions import EncoderInfo
from pipeline.training.ema import Ema
from pipeline.training.feed import ClipFeed
from pipeline.training.history import History, Row

BatchT = TypeVar("BatchT")
Values = dict[str, Tensor | float]  # of a step, by column; tensors may still be on their way on the device


class Trainer(ABC, Generic[BatchT]):
    """Networks in training. A subclass sets the attributes and writes the methods below."""

    name: ClassVar[str]  # of its stage and params section
    family: ClassVar[Family]
    columns: ClassVar[tuple[str, ...]]  # of loss.csv after the step; the first is watched for divergence
    validation_columns: ClassVar[tuple[str, ...]] = ()  # of val.csv after the step, `loss` among them; (): no such file
    val_every: int | None = None  # steps; None: no validation

    params: LoopParams
    origin: Mapping[str, str] = {}
    feed: ClipFeed
    text: EncoderInfo | None = None  # of the captions' vectors; None: the network reads words, or no text
    ema: Ema  # of the network that is saved
    dtype: torch.dtype = torch.float32  # in which the network computes
    memory_advice: str  # which params to change where memory runs out
    divergence_advice: str  # which params to change where the loss grows without end

    @abstractmethod
    def prepare(self, step: int) -> BatchT:
        """The batch of step number `step`, from 0, on the CPU. Called a few steps ahead, in a thread of its own."""

    @abstractmethod
    def step(self, step: int, batch: BatchT) -> Values:
        """Update the weights and their moving average by one batch. A column left out keeps its last value."""

    def start(self) -> None:
        """Set up what a checkpoint would bring; called where there is none."""

    def validate(self, step: int) -> list[Row]:
        """Rows of val.csv by the averaged weights after `step` steps."""
        return []

    @abstractmethod
    def metrics(self, history: History) -> dict[str, Any]:
        """The numbers that a finished run is told by; they follow from params and inputs alone."""

    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Everything that changes in training, by its name in a checkpoint; each part has a state_dict."""

    def state_dict(self) -> dict[str, Any]:
        return {name: part.state_dict() for name, part in self.parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
