"""Accuracy against training time, by a preset and without DVC, for a machine that is lent for minutes.

`python -m bench.quality train --out DIR` makes the set, trains for `--minutes`, and reads samples of each checkpoint;
run again, it goes on. `curve --out DIR` samples the trained model in every way, `export --out DIR` leaves its weights
in half precision. Figures are added to `--json` (metrics/gpu.json). Evaluation never counts as training time.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from bench.curve import sampler_curve
from bench.facts import add_facts, machine_facts
from pipeline.config.models import SamplingParams
from pipeline.config.params import Params, load_params, parse_params
from pipeline.evaluation.prompt_sampler import PromptSampler
from pipeline.evaluation.prompts import PromptSet, load_prompts
from pipeline.evaluation.scoring import evaluate_prompts
from pipeline.evaluation.shares import Share, attribute_shares
from pipeline.judge.judge import Judge, load_judge
from pipeline.model_io.model_card import WEIGHTS_FILE, ModelCard, read_card, save_model
from pipeline.preset import merge, read_preset
from pipeline.runtime.code import ROOT
from pipeline.runtime.device import find_device
from pipeline.runtime.files import write_json
from pipeline.runtime.metrics import machine_file
from pipeline.runtime.stage import run_stage
from pipeline.sampling.video_model import VideoModel, build_network, load_model
from pipeline.text.captions import CaptionTable
from pipeline.training.checkpoints import read_checkpoint

BAR = 0.95  # joint accuracy on seen prompts whose time is asked for
POLL_S = 0.5
EVALUATIONS = (2, 4, 6, 8, 10, 20, 50, 250, 1000)
GUIDANCE_SCALES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
INTERVAL_STARTS = (0.0, 0.3, 0.5, 0.7, 0.9)
PART_BYTES = 15 * 2**20  # of an exported file


def main() -> None:
    args = build_parser().parse_args()
    args.run(args)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run, about in (
        ("train", train_command, "make the set, train, measure each checkpoint"),
        ("curve", curve_command, "steps, guidance and its interval on the trained model"),
        ("export", export_command, f"half-precision weights in files of at most {PART_BYTES >> 20} MiB"),
    ):
        command = commands.add_parser(name, help=about)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, required=True, help="the run's folder: params, data, models, figures")
        command.add_argument("--json", type=Path, default=Path("metrics/gpu.json"), help="figures are added to this")
        command.add_argument("--prompts", type=int, default=500)
        command.add_argument("--device", default="auto")
        if name == "train":
            command.add_argument("--params", type=Path, default=ROOT / "params.yaml", help="the preset goes over these")
            command.add_argument("--preset", default="gpu")
            command.add_argument("--dataset", choices=["shapes", "moving_mnist"], default="shapes")
            command.add_argument("-S", dest="set", metavar="SECTION.KEY=VALUE", action="append", default=[])
            command.add_argument("--minutes", type=float, default=8.0, help="of training, in this call")
    return parser


def train_command(args: argparse.Namespace) -> None:
    if not (args.out / "params.yaml").is_file():
        write_params(args.out, args.params, args.preset, [f"dataset={args.dataset}", *args.set])
    params = load_params(args.out / "params.yaml")
    make_data(args.out, params.dataset)
    train_for(args.out, 60.0 * args.minutes)
    rows = measure_checkpoints(args.out, params, args.prompts, find_device(args.device))
    facts: dict[str, Any] = {"minutes_to_95_joint": minutes_to(BAR, rows), "quality": rows}
    done = (args.out / "models/unet/model.json").is_file()
    if done:
        facts["final"] = measure_model(args.out, params, args.prompts, find_device(args.device))
    report(args, params, facts)
    print(f"{args.out}: {'done' if done else 'stopped on the way; run the same command again to go on'}")


def curve_command(args: argparse.Namespace) -> None:
    params, device = load_params(args.out / "params.yaml"), find_device(args.device)
    curve = sampler_curve(args.out, params, prompts=args.prompts, device=device, evaluations=EVALUATIONS)
    sweeps = {
        "guidance": [params.sampling.model_copy(update={"guidance_scale": scale}) for scale in GUIDANCE_SCALES],
        "interval": [
            params.sampling.model_copy(update={"guidance_interval": (start, 1.0)}) for start in INTERVAL_STARTS
        ],
    }
    model, judge = load_model(args.out / "models/unet", device), load_judge(args.out / "models/judge", device)
    texts = read_table(args.out, params)
    asked = read_prompts(args.out, model.card, params, args.prompts, texts)[0]
    found = {
        name: [
            {**_changed(sampling, params.sampling), **_flat(joint(model, judge, texts, asked, sampling))}
            for sampling in tried
        ]
        for name, tried in sweeps.items()
    }
    report(args, params, {"samplers": curve, **found})


def export_command(args: argparse.Namespace) -> None:
    parts = export_half(args.out / "models/unet", args.out / "export")
    print("\n".join(f"{path}  {path.stat().st_size / 2**20:.1f} MiB" for path in parts))


def write_params(out: Path, params: Path, preset: str, changes: Sequence[str]) -> None:
    """A params file with a preset and some `section.key=value` over it, in the run's own folder."""
    tree = load_params(params).model_dump(mode="json")
    merge(tree, read_preset(preset, ROOT / "presets"))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"-S {change}: no value; write SECTION.KEY=VALUE")
        overlay: Any = yaml.safe_load(text)
        for part in reversed(key.split(".")):
            overlay = {part: overlay}
        merge(tree, overlay)
    checked = parse_params(tree, where=f"{params} with {preset} and -S").model_dump(mode="json")
    out.mkdir(parents=True, exist_ok=True)
    (out / "params.yaml").write_text(yaml.safe_dump(checked, sort_keys=False), encoding="utf-8")


def make_data(out: Path, dataset: str) -> None:
    """The set, its embeddings and its judge, each where it is not yet."""
    for made, command in (
        (out / "data/shards" / dataset / "set.json", [dataset]),
        (out / "data/embeddings" / f"{dataset}.parquet", ["embed", dataset]),
        (out / "models/judge", ["judge"]),
    ):
        if not made.exists():
            wait_for(start_stage(out, *command))


def start_stage(out: Path, stage: str, *words: str) -> subprocess.Popen[bytes]:
    """A stage in a process of its own, in the run's folder."""
    environment = os.environ | {"DVC_ROOT": str(out.resolve()), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-m", f"stages.{stage}", *words], cwd=out, env=environment)


def wait_for(stage: subprocess.Popen[bytes], allowed: Sequence[int] = (0,)) -> None:
    if stage.wait() not in allowed:
        raise ValueError(f"{stage.args!r} ended with {stage.returncode}; its own line above says why")


def train_for(out: Path, seconds: float) -> None:
    """Train to the run's end or for `seconds`, then stop it as Ctrl-C would; each checkpoint stays in snapshots/."""
    if (out / "models/unet/model.json").is_file():
        return
    stage, deadline = start_stage(out, "train"), time.monotonic() + seconds
    while stage.poll() is None:
        keep_snapshots(out)
        if time.monotonic() > deadline:
            stage.send_signal(signal.SIGTERM)
            stage.wait()
        time.sleep(POLL_S)
    keep_snapshots(out)
    wait_for(stage, allowed=(0, 130, -signal.SIGTERM))  # the last: stopped before its first step


def keep_snapshots(out: Path) -> None:
    """A second link to each checkpoint, for the run keeps its last two only."""
    for path in (out / ".scratch/train").glob("*/step-*.ckpt"):
        kept = out / "snapshots" / path.parent.name / path.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, kept)
        except (FileExistsError, FileNotFoundError):  # linked before, or forgotten in between
            continue


def measure_checkpoints(out: Path, params: Params, prompts: int, device: torch.device) -> list[dict[str, Any]]:
    """A row per snapshot and for the end, by steps: seconds of training, joint accuracy on seen prompts. Each once."""
    path = out / "quality.json"
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    judge, texts = load_judge(out / "models/judge", device), read_table(out, params)
    for model, seconds in trained_models(out, params, texts, device, known={row["steps"] for row in rows}):
        asked = read_prompts(out, model.card, params, prompts, texts)[0]
        share = joint(model, judge, texts, asked, params.sampling)
        rows.append({"steps": model.card.steps, "seconds": seconds, **_flat(share)})
        print(f"step {model.card.steps}: {share.value:.3f} joint after {seconds:.0f} s", flush=True)
        write_json(path, rows)
    return rows


def trained_models(
    out: Path, params: Params, texts: CaptionTable, device: torch.device, known: set[int]
) -> Iterator[tuple[VideoModel, float]]:
    """Models with their seconds of training, but those whose steps are `known`; the finished one last."""
    for snapshot in sorted((out / "snapshots").glob("*/step-*.ckpt"), key=lambda each: each.name):
        saved = read_checkpoint(snapshot, snapshot.parent.name)
        if saved is not None and saved["step"] not in known:
            known.add(saved["step"])
            yield snapshot_model(params, texts, saved, device), saved["state"]["seconds"]
    if (out / "models/unet/model.json").is_file():
        model = load_model(out / "models/unet", device)
        if model.card.steps not in known:
            yield model, json.loads(machine_file(out / "metrics/train.json").read_text(encoding="utf-8"))["seconds"]


def snapshot_model(params: Params, texts: CaptionTable, saved: dict[str, Any], device: torch.device) -> VideoModel:
    """The averaged weights of a checkpoint as a model."""
    sections = {name: getattr(params, name).model_dump(mode="json") for name in ("unet", "diffusion", "train")}
    card = ModelCard(
        family="unet",
        dataset=params.dataset,
        frames=params.train.frames,
        resolution=params.train.resolution,
        channels=params.train.channels,
        fps=10.0,
        text=dataclasses.asdict(texts.info),
        params=sections,
        steps=saved["step"],
        seed=params.train.seed,
        clips_seen=saved["step"] * params.train.batch_size,
    )
    network = build_network(card)
    network.load_state_dict(saved["state"]["trainer"]["ema"]["network"])
    return VideoModel(card, network.eval().requires_grad_(False).to(device), device)


def measure_model(out: Path, params: Params, prompts: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Joint accuracy of the finished model on each kind of prompt."""
    model, judge = load_model(out / "models/unet", device), load_judge(out / "models/judge", device)
    texts = read_table(out, params)
    kinds = read_prompts(out, model.card, params, prompts, texts)
    return {asked.kind: _flat(joint(model, judge, texts, asked, params.sampling)) for asked in kinds}


def joint(model: VideoModel, judge: Judge, texts: CaptionTable, asked: PromptSet, sampling: SamplingParams) -> Share:
    samples = PromptSampler(model, texts, sampling, batch_size=250).sample(asked)
    return attribute_shares(evaluate_prompts(judge, asked, samples).scores)["joint"]


def read_prompts(out: Path, card: ModelCard, params: Params, count: int, texts: CaptionTable) -> list[PromptSet]:
    """Of each kind, the seen ones first."""
    folder = out / "data/shards" / card.dataset
    return load_prompts(folder, card, count=count, seed=params.evaluate.seed, known=texts.index)


def read_table(out: Path, params: Params) -> CaptionTable:
    return CaptionTable.read(out / "data/embeddings" / f"{params.dataset}.parquet")


def minutes_to(bar: float, rows: Sequence[dict[str, Any]]) -> float | None:
    """Training time of the first snapshot that reaches `bar`; None where none does."""
    return next((row["seconds"] / 60.0 for row in rows if row["joint"] >= bar), None)


def export_half(model: Path, out: Path) -> list[Path]:
    """The model folder in float16, its weights file cut into parts where it is large: `cat` joins them again."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.half() if tensor.dtype is torch.float32 else tensor
        for name, tensor in load_file(model / WEIGHTS_FILE).items()
    }
    save_model(out, read_card(model), weights, extra={"precision": "float16"})
    whole = out / WEIGHTS_FILE
    if whole.stat().st_size <= PART_BYTES:
        return [whole]
    data, parts = whole.read_bytes(), []
    for index, start in enumerate(range(0, len(data), PART_BYTES)):
        parts.append(whole.with_name(f"{WEIGHTS_FILE}.{index:02d}"))
        parts[-1].write_bytes(data[start : start + PART_BYTES])
    whole.unlink()
    return parts


def report(args: argparse.Namespace, params: Params, facts: dict[str, Any]) -> None:
    """Add facts to the figures; those of another set than shapes under its name."""
    add_facts(args.json, machine_facts(find_device(args.device)))
    add_facts(args.json, facts if params.dataset == "shapes" else {params.dataset: facts})


def _flat(share: Share) -> dict[str, float]:
    return {"joint": share.value, "low": share.low, "high": share.high, "clips": share.clips}


def _changed(sampling: SamplingParams, default: SamplingParams) -> dict[str, Any]:
    before = default.model_dump(mode="json")
    return {key: value for key, value in sampling.model_dump(mode="json").items() if value != before[key]}


if __name__ == "__main__":
    run_stage(main)
