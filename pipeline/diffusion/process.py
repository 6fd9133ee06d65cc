"""The forward process and the objectives: noising, targets, x0 out of a network's output, and the loss.

Everything follows from x_t = alpha x0 + sigma eps and v = a eps - b x0 (a, b: schedules.py), so flow and the beta
schedules, and the objectives x0, eps and v, share every line here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pipeline.config.models import DiffusionParams
from pipeline.diffusion.schedules import build_schedule

SCALE_MIN = 1e-5  # of the divisor alpha: below every table's, above flow's exact zero at t = 1
VELOCITY_T_MIN = 0.1  # of sigma in the velocity weight


class Diffusion:
    """The forward process and the objective of one params section.

    x0, eps, x_t and model outputs are (B, ...) of one shape; t is (B,), or a scalar tensor for the whole batch.
    """

    def __init__(self, params: DiffusionParams) -> None:
        self.params = params
        self.schedule = build_schedule(params)

    def alpha(self, t: Tensor) -> Tensor:
        """Share of signal at t, in t's shape."""
        return self.schedule.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Share of noise at t, in t's shape."""
        return self.schedule.sigma(t)

    def sample_t(self, n: int, generator: Generator) -> Tensor:
        """(n,) training times: logit-normal (flow) or uniform over the table (betas)."""
        return self.schedule.sample_t(n, generator)

    def times(self, num_inference_steps: int, shift: float, start: float = 1.0) -> Tensor:
        """(num_inference_steps + 1,) float64 sampling times from `start` to 0; shift > 1 dwells at high noise.

        Esser et al. 2024, equation 23: u -> shift u / (1 + (shift - 1) u), for u in even steps.
        """
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps={num_inference_steps}: at least 1 step is needed")
        first = 1.0 if start == 1.0 else start / (shift - (shift - 1.0) * start)  # the u of `start`
        u = torch.linspace(first, 0.0, num_inference_steps + 1, dtype=torch.float64)
        return shift * u / (1.0 + (shift - 1.0) * u)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha x0 + sigma eps."""
        t = broadcast_over(t, x0)
        return self.alpha(t) * x0 + self.sigma(t) * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """The network's target, in x0's shape."""
        if self.params.objective == "x0":
            return x0
        if self.params.objective == "eps":
            return eps
        a, b = self.schedule.velocity_weights(broadcast_over(t, x0))
        return a * eps - b * x0

    def to_x0(self, model_output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x0_pred out of the network's output. At alpha = 0 an eps_pred says nothing of x0: huge, not infinite."""
        if self.params.objective == "x0":
            return model_output
        t = broadcast_over(t, x_t)
        alpha, sigma = self.alpha(t), self.sigma(t)
        if self.params.objective == "eps":
            return (x_t - sigma * model_output) / alpha.clamp(min=SCALE_MIN)
        a, b = self.schedule.velocity_weights(t)
        return (a * x_t - sigma * model_output) / (alpha * a + sigma * b)

    def loss(
        self,
        model_output: Tensor,
        x0: Tensor,
        eps: Tensor,
        x_t: Tensor,
        t: Tensor,
        asked: Tensor | None = None,  # what counts, 1 or 0, as it broadcasts over x0; None: all
    ) -> Tensor:
        """(B,) weighted loss of each sample: over its elements, those that do not count being right."""
        shapes = [tensor.shape for tensor in (model_output, x0, eps, x_t)]
        assert len(set(shapes)) == 1, shapes
        distance = {"l2": F.mse_loss, "l1": F.l1_loss}[self.params.loss]
        error = distance(model_output, self.target(x0, eps, t), reduction="none")
        if asked is not None:
            error = error * asked
        return self.loss_weight(t) * error.flatten(1).mean(1)

    def loss_weight(self, t: Tensor) -> Tensor:
        """Weight of the objective's own error at t, in t's shape.

        velocity: the error of v, whatever the network predicts, capped at loss_weight_max.
        """
        if self.params.loss_weight == "none" or self.params.objective == "v":
            return torch.ones_like(t)
        scale = self.sigma(t) if self.params.objective == "x0" else self.alpha(t)
        return scale.clamp(min=VELOCITY_T_MIN).pow(-2).clamp(max=self.params.loss_weight_max)


def broadcast_over(values: Tensor, x: Tensor) -> Tensor:
    """One value a sample as it broadcasts over x (B, ...): a scalar as it is, (B,) as (B, 1, ...)."""
    return values if values.ndim == 0 else values.reshape(-1, *([1] * (x.ndim - 1)))
