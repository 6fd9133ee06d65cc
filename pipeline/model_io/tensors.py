"""Between files and networks: uint8 (…, F, H, W, C) and float (…, C, F, H, W) in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def to_model(frames: np.ndarray | Tensor) -> Tensor:
    """uint8 (…, F, H, W, C) to float32 (…, C, F, H, W) in [-1, 1]."""
    tensor = torch.as_tensor(frames)
    assert tensor.dtype == torch.uint8, tensor.dtype
    return rearrange(tensor, "... f h w c -> ... c f h w").float().div_(127.5).sub_(1.0)


def to_frames(video: Tensor) -> np.ndarray:
    """float (…, C, F, H, W) in [-1, 1], clipped, to uint8 (…, F, H, W, C)."""
    scaled = video.detach().float().cpu().clamp(-1.0, 1.0).add(1.0).mul(127.5).round()
    return rearrange(scaled, "... c f h w -> ... f h w c").to(torch.uint8).numpy()
