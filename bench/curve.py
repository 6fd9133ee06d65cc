"""Accuracy of a trained model against the number of evaluations of its network, for each sampler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.config.tree import Params
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import load_prompts
from pipeline.evaluation.scoring import evaluate_prompts
from pipeline.evaluation.shares import attribute_shares
from pipeline.judge.judge import load_judge
from pipeline.sampling.samplers import SAMPLERS
from pipeline.sampling.video_model import load_model
from pipeline.text.captions import CaptionTable

EVALUATIONS = (4, 6, 8, 10, 20, 50, 250)


def sampler_curve(
    root: Path,  # with data/ and models/
    params: Params,
    *,
    prompts: int,
    device: torch.device,
    evaluations: Sequence[int] = EVALUATIONS,
) -> list[dict[str, Any]]:
    """A row per sampler and number of evaluations: the share of clips with every attribute right (seen prompts)."""
    model, judge = load_model(root / "models/unet", device), load_judge(root / "models/judge", device)
    card = model.card
    texts = CaptionTable.read(root / "data/embeddings" / f"{card.dataset}.parquet")
    folder, seed = root / "data/shards" / card.dataset, params.evaluate.seed
    asked = load_prompts(folder, card, count=prompts, seed=seed, known=texts.index)[0]
    rows = []
    for sampler in SAMPLERS:
        for count in evaluations:
            steps = (count + 1) // 2 if sampler == "heun" else count  # heun asks twice a step, but the last
            sampling = params.sampling.model_copy(update={"sampler": sampler, "num_inference_steps": steps})
            by = PromptSampler(model, texts, sampling, params.evaluate.batch_size)
            evaluated = evaluate_prompts(judge, asked, by.sample(asked, desc=f"{sampler} {steps}"))
            share = attribute_shares(evaluated.scores)["joint"]
            rows.append(
                {
                    "sampler": sampler,
                    "evaluations": count,
                    "joint": share.right / share.clips,
                    "seconds_per_clip": evaluated.samples.seconds_per_clip,
                }
            )
            print(f"{sampler:9} {count:4} evaluations: {share.right / share.clips:.3f} joint")
    return rows
