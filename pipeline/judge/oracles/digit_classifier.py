"""A small network that names a handwritten digit in a crop, or says that there is none.

Crops are float32 (n, SIDE, SIDE) in [0, 1], white ink on black, cut by `digits.cut_out`. Besides the ten digits it
learns an eleventh answer, "no digit", from crops that are torn, blurred or filled, so that it need not name what no
person could.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

SIDE = 28  # px of a crop
NO_DIGIT = 10
CHUNK = 1024


class DigitReader(nn.Module):
    """Crops (B, SIDE, SIDE) to logits (B, 11)."""

    def __init__(self) -> None:
        super().__init__()
        # Group norm and not batch norm: clean clips have other statistics than worn training batches.
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 5, stride=2, padding=2),
            nn.GroupNorm(8, 32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.GroupNorm(8, 64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * (SIDE // 4) ** 2, 128),
            nn.ReLU(),
            nn.Linear(128, NO_DIGIT + 1),
        )

    def forward(self, crops: Tensor) -> Tensor:
        return self.layers(crops[:, None])


@torch.no_grad()
def digit_probabilities(reader: DigitReader, crops: np.ndarray, device: torch.device) -> np.ndarray:
    """float32 (n, 11) of crops (n, SIDE, SIDE)."""
    images = torch.from_numpy(crops)
    parts = [reader(images[i : i + CHUNK].to(device)).softmax(-1).cpu() for i in range(0, len(images), CHUNK)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, NO_DIGIT + 1), np.float32)


def vote(votes: np.ndarray) -> int:
    """The answer of votes float (m, 11), each weighted by how sure it is; NO_DIGIT only by more than half of them."""
    shares = votes.mean(axis=0)
    return NO_DIGIT if shares[NO_DIGIT] > 0.5 else int(shares[:NO_DIGIT].argmax())
