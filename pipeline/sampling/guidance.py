"""From a network to a denoiser: text, given frames, classifier-free guidance and thresholding, bound before a sampler
sees them.

The conditional and the unconditional prediction are one batch of the network; where guidance makes no difference
(scale 1 or 0, no text, outside the interval) only one of them is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.config.models import SamplingParams
from pipeline.diffusion.process import Diffusion, broadcast_over

if TYPE_CHECKING:
    from pipeline.text.captions import TextBatch


class VideoNetwork(Protocol):
    """x_t (B, C, F, H, W), t (B,) and captions to a prediction (x0, eps or v) of x_t's shape.

    Rows where drop_text (B,) is True get the null caption.
    """

    def __call__(self, x: Tensor, t: Tensor, text: TextBatch | None, drop_text: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class GuidedDenoiser:
    """(x_t, t) -> x0_pred in [-1, 1]; t is a scalar tensor. Built by `guided_denoiser`."""

    model: VideoNetwork
    diffusion: Diffusion
    text: TextBatch | None
    negative: TextBatch | None
    guidance_scale: float
    guidance_interval: tuple[float, float]
    given: Tensor | None = None  # (B, C, K, H, W) in [-1, 1]: the first K frames of what is drawn

    def alpha(self, t: Tensor) -> Tensor:
        return self.diffusion.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.diffusion.sigma(t)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        low, high = self.guidance_interval
        scale = self.guidance_scale if low <= float(t) <= high else 1.0  # Kynkäänniemi et al. 2024, equation 5
        if self.text is None or scale == 1.0:
            x0_pred = self._predict(x_t, t, self.text)
        elif scale == 0.0:
            x0_pred = self._predict(x_t, t, self.negative)
        else:
            cond, uncond = self._predict_both(x_t, t, self.text)  # (B, C, F, H, W) each
            x0_pred = uncond + scale * (cond - uncond)
        params = self.diffusion.params
        x0_pred = threshold(x0_pred, params.threshold_percentile if params.dynamic_thresholding else None)
        return x0_pred if self.given is None else torch.cat([self.given, x0_pred[:, :, self.given.shape[2] :]], dim=2)

    def _predict(self, x_t: Tensor, t: Tensor, text: TextBatch | None, drop_text: Tensor | None = None) -> Tensor:
        """One pass through the network, as x0_pred in x_t's type; no text is the null caption."""
        each_t = t.to(x_t.device, torch.float32).expand(len(x_t))  # (B,)
        model_output = self.model(x_t, each_t, text, drop_text)  # (B, C, F, H, W)
        return self.diffusion.to_x0(model_output.to(x_t.dtype), x_t, t)

    def _predict_both(self, x_t: Tensor, t: Tensor, text: TextBatch) -> tuple[Tensor, Tensor]:
        """(conditional, unconditional) x0_pred out of one pass of twice the batch."""
        b = len(x_t)
        drop_text = None
        if self.negative is None:
            both = text.select(torch.arange(2 * b, device=x_t.device) % b)  # 2 B captions
            drop_text = torch.arange(2 * b, device=x_t.device) >= b  # (2 B,)
        else:
            both = join_texts(text, self.negative)
        cond, uncond = self._predict(torch.cat([x_t, x_t]), t, both, drop_text).chunk(2)
        return cond, uncond


def guided_denoiser(
    model: VideoNetwork,
    diffusion: Diffusion,
    text: TextBatch | None,
    sampling: SamplingParams,
    negative: TextBatch | None = None,
    given: Tensor | None = None,  # (B, C, K, H, W) in [-1, 1], of a network that takes frames
) -> GuidedDenoiser:
    """Bind a network, one caption a sample and the guidance of `sampling` into a denoiser for the samplers.

    `negative` (one caption a sample) takes the null caption's place: the sample is driven away from it. `given` frames
    are seen by the network, and stand in each x0_pred as they are.
    """
    if negative is not None and text is None:
        raise ValueError("a negative prompt needs a prompt: give text, or drop negative")
    if negative is not None and text is not None and len(negative) != len(text):
        raise ValueError(f"{len(negative)} negative prompts for {len(text)} prompts: give one for each")
    return GuidedDenoiser(
        model=model if given is None else _giving(model, given),
        diffusion=diffusion,
        text=text,
        negative=negative,
        guidance_scale=sampling.guidance_scale,
        guidance_interval=sampling.guidance_interval,
        given=given,
    )


def _giving(model: Any, given: Tensor) -> VideoNetwork:
    """A network that takes frames as one that sees `given` (B, C, K, H, W), for once or twice the batch."""

    def network(x: Tensor, t: Tensor, text: TextBatch | None, drop_text: Tensor | None = None) -> Tensor:
        count, frames = given.shape[2], x.shape[2]
        padded = F.pad(given, (0, 0, 0, 0, 0, frames - count)).repeat(len(x) // len(given), 1, 1, 1, 1)
        num_given = torch.full((len(x),), count, device=x.device)
        prediction: Tensor = model(x, t, text, drop_text, given=padded, num_given=num_given)
        return prediction

    return network


def threshold(x0_pred: Tensor, percentile: float | None) -> Tensor:
    """Bring (B, ...) into [-1, 1]: by clipping, or dynamically by each sample's percentile of |x0| (Imagen, 2.3)."""
    if percentile is None:
        return x0_pred.clamp(-1.0, 1.0)
    limit = torch.quantile(x0_pred.detach().abs().flatten(1), percentile, dim=1).clamp(min=1.0)  # (B,)
    limit = broadcast_over(limit, x0_pred)
    return torch.minimum(torch.maximum(x0_pred, -limit), limit) / limit


def join_texts(first: TextBatch, second: TextBatch) -> TextBatch:
    """The captions of both, (B1 + B2), the shorter token sequences padded."""
    length = max(first.tokens.shape[1], second.tokens.shape[1])
    pads = [length - text.tokens.shape[1] for text in (first, second)]
    return replace(
        first,
        pooled=torch.cat([first.pooled, second.pooled]),
        tokens=torch.cat([F.pad(text.tokens, (0, 0, 0, pad)) for text, pad in zip((first, second), pads, strict=True)]),
        mask=torch.cat([F.pad(text.mask, (0, pad)) for text, pad in zip((first, second), pads, strict=True)]),
    )
