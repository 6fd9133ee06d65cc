"""The stages on a set of MSR-VTT's kind and size, each with its seconds, memory and disk, beside an earlier build.

`python -m bench.msrvtt --clips 7010 [--before REVISION] [--json FILE]`. The set is a stand-in that the bench draws
(stand_in.py), 20 captions a clip. Training is a few steps: it is the way there that is measured.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from bench.builds import RATIOS, Build, Cost, in_json, open_builds
from bench.facts import machine_facts
from bench.stand_in import draw_stand_in
from pipeline.runtime.files import write_json
from pipeline.runtime.stage import run_stage

PARAMS = {
    "train.steps": 5,
    "train.warmup_steps": 2,
    "train.sample_every": 5,
    "train.val_every": 5,
    "judge.steps": 60,
    "evaluate.curve_prompts": 16,
}


def main() -> None:
    args = build_parser().parse_args()
    with TemporaryDirectory(prefix="t2v-bench-") as name:
        drawn = Path(name)
        draw_stand_in(drawn, args.clips)
        found = compare(drawn, args.before, dict(PARAMS))
    found |= machine_facts(torch.device("cpu")) | {"clips": args.clips, "before": args.before}
    if args.before is not None:
        found |= by_revision(found["stages"], args.before)
    print(table(found["stages"]))
    if args.json is not None:
        write_json(args.json, found)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.msrvtt", description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=300, help="MSR-VTT has 7,010 in train and validation")
    parser.add_argument("--before", metavar="REVISION", help="run this build too, stage by stage in turn")
    parser.add_argument("--json", type=Path, help="write everything here")
    return parser


def compare(drawn: Path, before: str | None, params: dict[str, Any]) -> dict[str, Any]:
    """Costs by stage and build of the set in `drawn`, and of the whole: stages run in turn, one build after the other.

    `train_start` is what training takes before its first step and after its last.
    """
    costs: dict[str, dict[str, Cost]] = {}
    with open_builds(before) as builds:
        for build in builds:
            local = {"download.source": "local", "download.path": str(drawn / "videos.zip")}
            local |= {"download.captions_path": str(drawn / "captions.json"), "dataset": build.videos}
            build.set_params(params | local)
        for stage in ("download", "transcode", "embed", "judge", "train", "evaluate"):
            costs[stage] = {build.name: build.run("-m", f"stages.{stage}", *_words(stage, build)) for build in builds}
            if stage == "train":
                costs["train_start"] = {build.name: training_start(build, costs[stage][build.name]) for build in builds}
    archive_mb = (drawn / "videos.zip").stat().st_size / 1e6
    last = costs["evaluate"]["now"]
    return {
        "stages": {stage: in_json(by_build) for stage, by_build in costs.items()},
        "archive_mb": round(archive_mb, 1),
        "disk_ratio_to_archive": round(last.disk_mb / archive_mb, 3),
    }


def _words(stage: str, build: Build) -> tuple[str, ...]:
    return {"embed": (build.videos,), "evaluate": ("unet",)}.get(stage, ())


def training_start(build: Build, cost: Cost) -> Cost:
    """The cost of training without its steps."""
    seconds = 0.0
    for path in ("metrics/train.json", "metrics/machine/train.json"):  # where the build keeps what a clock tells
        if (build.folder / path).is_file():
            seconds = json.loads((build.folder / path).read_text(encoding="utf-8")).get("seconds", seconds)
    return replace(cost, seconds=cost.seconds - seconds)


def by_revision(stages: dict[str, Any], before: str) -> dict[str, dict[str, float]]:
    """Ratios by stage under the name of the revision: `ratio_to_t1` (its speed: the time before over that of now),
    `time_ratio_to_t1`, `cpu_ratio_to_t1`, `memory_ratio_to_t1`."""
    told = {}
    for stage, found in stages.items():
        ratios = {f"{what}_ratio_to_{before}": found[f"{what}_ratio"] for what in ("time", "cpu", "memory")}
        told[stage] = {f"ratio_to_{before}": round(1 / found["time_ratio"], 3), **ratios}
    return told


def table(stages: dict[str, Any]) -> str:
    """A line a stage."""
    lines = []
    for stage, found in stages.items():
        parts = [f"{stage:<12}"]
        for name in ("before", "now"):
            if name in found:
                one = found[name]
                spent = f"{one['seconds']:8.1f} s, {one['cpu_s']:.1f} of CPU"
                parts.append(f"{name} {spent} {one['memory_mb']:7.0f} MB {one['disk_mb']:8.0f} MB disk")
        if "time_ratio" in found:
            parts.append("ratios " + " ".join(f"{found[f'{what}_ratio']:.2f}" for what in RATIOS))
        lines.append("  ".join(parts))
    return "\n".join(lines)


if __name__ == "__main__":
    run_stage(main)
