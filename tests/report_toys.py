"""A run's files as the report reads them, drawn here: metrics, curves, samples and a set of shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.gif import Clip, encode_gif
from pipeline.data.samples import Role, Sample, SampleScores, write_samples
from pipeline.data.shards import count_clips, to_row, write_set, write_shard

COLOURS = {"red": (214, 40, 40), "green": (40, 150, 70), "blue": (40, 80, 210), "yellow": (240, 200, 40)}
STEPS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def moving_square(colour: str, motion: str, f: int = 16, side: int = 64) -> np.ndarray:
    frames = np.full((f, side, side, 3), 255, np.uint8)
    for index in range(f):
        x, y = (int(26 + step * (index - f / 2) * 2) for step in STEPS[motion])
        frames[index, max(0, y) : y + 14, max(0, x) : x + 14] = COLOURS[colour]
    return frames


def write_shapes(folder: Path, clips: int = 12) -> None:
    rows = []
    for index in range(clips):
        colour, motion = list(COLOURS)[index % 4], list(STEPS)[index // 4 % 4]
        caption = f"a {colour} square moving {motion}"
        split = ("train", "train", "val")[index % 3]
        rows.append(to_row(Clip(f"{index:05d}", split, (caption,), moving_square(colour, motion), 10.0, "toy")))
    write_shard(folder / "shard-00000.parquet", rows)
    write_set(folder, {"set": "shapes", "counts": count_clips(folder), "resolution": 64, "frames": 16, "fps": 10.0})


def toy_samples(model: str, prompts: int = 3, takes: int = 2) -> list[Sample]:
    """The real clip, `takes` samples and a failure of each of `prompts` prompts of three kinds."""
    samples = []
    for kind in ("seen", "held_out", "reworded"):
        for index in range(prompts):
            colour, motion = list(COLOURS)[index % 4], list(STEPS)[(index + 1) % 4]
            caption = f"a {colour} square moving {motion}" if kind != "reworded" else f"{motion} goes a <{colour}> box"
            shown: list[tuple[Role, int]] = [("real", 0), *(("model", take) for take in range(takes))]
            for role, take in [*shown, ("failure", 0)] if index == 0 else shown:
                right = role != "failure" and (index + take) % 3 != 2
                drawn = moving_square(colour, motion if right or role == "real" else "left")
                reading = {"colour": colour, "shape": "square", "motion": motion if right else "left"}
                samples.append(
                    Sample(
                        kind=kind,
                        index=index,
                        role=role,
                        take=take,
                        seed=1000 + index + take * 100_000,
                        caption=caption,
                        gif=encode_gif(drawn, 10.0),
                        n_frames=len(drawn),
                        fps=10.0,
                        source=model,
                        scores=None if role == "real" else SampleScores(right, () if right else ("motion",), reading),
                    )
                )
    return samples


def evaluation_metrics(joint: float) -> dict[str, Any]:
    metrics: dict[str, Any] = {"dataset": "shapes", "device": "cpu", "seconds": 171.25, "clips": 1800, "seed": 1000}
    for kind, drop in (("seen", 0.0), ("held_out", 0.03), ("reworded", 0.12)):
        for name, bonus in (("count", 0.02), ("shape", 0.01), ("colour", 0.02), ("motion", 0.0), ("joint", -0.02)):
            value = joint + bonus - drop
            metrics |= {
                f"{kind}.{name}": value,
                f"{kind}.{name}_low": value - 0.02,
                f"{kind}.{name}_high": value + 0.015,
            }
        metrics |= {f"{kind}.failures": 31, f"{kind}.clips": 600, f"{kind}.identity": 0.97, f"{kind}.flicker": 0.012}
        metrics[f"{kind}.speed_error"] = 0.0713
    for name in ("count", "shape", "colour", "motion", "joint"):
        metrics |= {f"oracle_on_real.{name}": 0.996, f"caption_shuffle.{name}": 0.0117}
    metrics |= {"oracle_on_real.identity": 0.99, "oracle_on_real.flicker": 0.0, "oracle_on_real.speed_error": 0.004}
    metrics |= {"frechet.distance": 3.1415, "frechet.floor": 1.25, "frechet.ratio": 2.5132, "density": 0.91}
    metrics |= {"coverage": 0.88, "coverage_floor": 0.97, "density_floor": 1.01, "seconds_per_clip": 0.0613}
    metrics |= {"kernel.distance": -0.00012, "kernel.floor": 0.00002, "evaluations_per_clip": 20.0}
    metrics |= {"unsaid.clips": 16, "unsaid.clean": 0.75, "unsaid.clean_low": 0.6, "unsaid.clean_high": 0.9}
    metrics |= {"unsaid.blank_share": 0.0, "unsaid.part_blank_share": 0.0, "unsaid.colour.clips": 16}
    metrics |= {"unsaid.colour.clear": 1.0, "unsaid.colour.least_ratio": 0.52, "unsaid.colour.most_ratio": 1.6}
    metrics |= {"unsaid.colour.agreement": 0.31, "unsaid.colour.agreement_real": 0.25}
    metrics |= {"blank_share": 0.002, "part_blank_share": 0.004, "blank.clips": 2200, "blank.seeds": 1000}
    metrics |= {"nearest_train.distance": 4.2, "nearest_train.floor": 4.0, "nearest_train.ratio": 1.05}
    return metrics


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(root: Path, params: Path) -> None:
    """A whole toy run under `root`, with params.yaml copied from `params`."""
    (root / "params.yaml").write_text(params.read_text())
    write_shapes(root / "data/shards/shapes")
    for model, joint in (("unet", 0.97), ("gan", 0.71)):
        write_json(root / f"metrics/evaluate/{model}.json", evaluation_metrics(joint))
        write_samples(root / f"evaluations/{model}/samples.parquet", toy_samples(model))
        table = [
            {
                "kind": "seen",
                "attribute": "motion",
                "value": v,
                "right": 9,
                "clips": 10,
                "share": s,
                "low": s - 0.1,
                "high": s + 0.05,
            }
            for v, s in (
                ("all", joint),
                ("left", joint - 0.02),
                ("right", joint),
                ("up", joint - 0.05),
                ("down", joint),
            )
        ]
        write_csv(root / f"plots/evaluate/{model}/accuracy.csv", table)
        spread = [("red", 5, 0.31, 0.25), ("blue", 4, 0.25, 0.25), ("green", 7, 0.44, 0.5)]
        columns = ("attribute", "value", "clips", "share", "real_share")
        write_csv(
            root / f"plots/evaluate/{model}/unsaid.csv",
            [dict(zip(columns, ("colour", *row), strict=True)) | {"ratio": row[2] / row[3]} for row in spread],
        )
    curve = [
        {"value": v, "joint": j, "distance": 4 - j, "seconds_per_clip": v / 100}
        for v, j in ((4, 0.6), (10, 0.9), (20, 0.92))
    ]
    write_csv(root / "plots/evaluate/unet/steps.csv", curve)
    write_csv(root / "plots/evaluate/unet/guidance.csv", curve)
    noise = [{"t": t / 10, "loss": 0.1, "error": 0.001 * 2**t} for t in range(1, 10)]
    write_csv(root / "plots/evaluate/unet/loss_by_noise.csv", noise)
    loss = [
        {"step": step, "loss": 2.0 / (1 + step / 40) + 0.02, "lr": 0.002, "grad_norm": 0.5}
        for step in range(1, 6000, 15)
    ]
    write_csv(root / "plots/train/loss.csv", loss)
    write_json(root / "metrics/shapes.json", {"clips": {"train": 10000, "val": 600}, "seconds": 41.3, "seed": 0})
    write_json(root / "metrics/transcode.json", {"in": 24, "out": 23, "rejected": {"too short": 1}, "seconds": 12.5})
    write_json(root / "metrics/embed/shapes.json", {"captions": 4812, "seconds": 33.0})
    write_json(root / "metrics/train.json", {"loss": 0.02, "steps": 6000, "device": "cpu", "seconds": 1503.0})
    real = {"count": 1.0, "shape": 0.99, "motion": 1.0, "joint": 0.99}
    rungs = [
        {
            "corruption": name,
            "strength": strength,
            "breaks": ["motion", "joint"],
            "spares": ["count", "shape"],
            "right": {**real, "motion": 1 - strength, "joint": 1 - strength},
        }
        for name in ("frame shuffle", "time reversal")
        for strength in (0.25, 0.5, 1.0)
    ]
    write_json(root / "models/judge/ladder.json", {"clips": 64, "real": real, "rungs": rungs})
