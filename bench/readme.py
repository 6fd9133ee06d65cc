"""The README's table and picture anew from the default run's metrics and samples: `python -m bench.readme`.

A test asks that the committed table is the one that the committed metrics give.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.frames import enlarge
from pipeline.data.samples import Sample, SampleScores, read_samples
from pipeline.render.clips import contact_sheet, write_image
from pipeline.runtime.code import ROOT
from pipeline.runtime.process import run_stage

KINDS = ("seen", "held_out", "reworded")
TITLE = "| default run (two cores, seed 0) | seen | held-out combination | held-out wording | floor or control |\n"
TABLE = re.compile(re.escape(TITLE) + r"(\|.*\n)+")
SHOWN = {"seen": 7, "held_out": 3, "reworded": 3}  # rows of the picture
CELL = 64  # px of a frame


def main() -> None:
    readme, metrics = ROOT / "README.md", read_metrics(ROOT)
    for model, found in metrics.items():
        if found["dataset"] != "shapes":
            raise ValueError(
                f"metrics/evaluate/{model}.json is of {found['dataset']}, the README of shapes: dvc repro first"
            )
    text = readme.read_text(encoding="utf-8")
    readme.write_text(TABLE.sub(lambda _: table(metrics), text), encoding="utf-8")
    write_image(ROOT / "docs/samples.png", picture(read_samples(ROOT / "evaluations/unet/samples.parquet")))


def read_metrics(root: Path) -> dict[str, dict[str, Any]]:
    """By model."""
    return {model: json.loads((root / f"metrics/evaluate/{model}.json").read_text()) for model in ("unet", "gan")}


def table(metrics: dict[str, dict[str, Any]]) -> str:
    """In Markdown: shares with their intervals, by kind of prompt, and the control of each."""
    unet, gan = metrics["unet"], metrics["gan"]
    shuffled, chance = (_percent(unet[f"caption_shuffle.{key}"]) for key in ("joint", "joint_chance"))
    rows = [_share_row(unet, "**U-Net, joint**", "joint", f"shuffled captions {shuffled} (chance {chance})")]
    rows += [_share_row(unet, key, key) for key in ("shape", "colour", "motion", "speed")]
    pairs, oracle = unet["real_pairs.speed_error"], unet["oracle_on_real.speed_error"]
    floor = f"two real clips of the same words {pairs:.3f}; the oracle on real clips {oracle:.3f}"
    rows.append(["speed error", *(f"{unet[f'{kind}.speed_error']:.3f}" for kind in KINDS), floor])
    rows += [_share_row(gan, f"GAN, {key}", key) for key in ("joint", "shape", "motion")]
    ratios = f"{unet['frechet.ratio']:.2f} (GAN {gan['frechet.ratio']:.2f})"
    rows.append(["Fréchet distance over its floor", ratios, "", "", "1 is train against test"])
    return f"{TITLE}|---|---|---|---|---|\n" + "".join(re.sub(" +", " ", f"| {' | '.join(row)} |\n") for row in rows)


def picture(samples: Iterable[Sample]) -> np.ndarray:
    """The first samples of each kind, a prompt a row, marked by the oracle: uint8 (H, W, 3)."""
    left = Counter(SHOWN)
    shown: list[tuple[Sample, SampleScores]] = []
    for sample in samples:
        if sample.is_first_take and sample.scores is not None and left[sample.kind] > 0:
            left[sample.kind] -= 1
            shown.append((sample, sample.scores))
    captions = [
        [f"{'right' if scores.right else 'wrong'} [{sample.kind}]  {sample.caption}"] for sample, scores in shown
    ]
    clips = [sample.frames() for sample, _ in shown]
    return contact_sheet([enlarge(clip, max(1, CELL // clip.shape[1])) for clip in clips], captions=captions)


def _share_row(metrics: dict[str, Any], name: str, key: str, control: str | None = None) -> list[str]:
    shares = [
        f"{_percent(metrics[f'{kind}.{key}'])} "
        f"({100 * metrics[f'{kind}.{key}_low']:.1f}–{100 * metrics[f'{kind}.{key}_high']:.1f})"
        for kind in KINDS
    ]
    return [name, *shares, control or f"shuffled {_percent(metrics[f'caption_shuffle.{key}'])}"]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    run_stage(main)
