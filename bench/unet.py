"""The U-Net's speed, side by side: `python -m bench.unet [--peer] [--json FILE] [--device cuda] [--profile]`.

Training steps (forward, backward, optimizer) of the seed network, of the fast one widened to its parameters, and with
--peer of the video-diffusion-pytorch package; in one run, in turn, by the median. `--curve .`: see curve.py.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.contestants import Contestant, VideoSize, count_flops, our_contestant, peer_contestant, widen
from bench.curve import sampler_curve
from bench.facts import add_facts, machine_facts
from bench.stopwatch import Timing, alternate
from pipeline.config.models import UnetParams
from pipeline.config.params import Params, load_params, parse_params
from pipeline.preset import merge, read_preset
from pipeline.runtime.stage import run_stage
from pipeline.training.precision import choose_dtype, tune_backends

PEER_SIZE = {"cpu": VideoSize(2, 8, 32), "cuda": VideoSize(16, 16, 64)}
FAST_BATCH = {"cpu": 8, "cuda": 64}  # of the fast network against the seed; the seed's memory sets it
PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}  # dense bf16, of the vendor's data sheets


def main() -> None:
    args = build_parser().parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device here; leave it out to measure the CPU")
    tune_backends(device)
    params = fast_params(device)
    seed = UnetParams.read({**params.unet.model_dump(), **read_preset("seed")["unet"]})
    found = describe_machine(device)
    print("  ".join(f"{key}: {value}" for key, value in found.items()))
    usual = PEER_SIZE[device.type]
    size = VideoSize(args.batch_size or usual.batch, args.frames or usual.frames, args.resolution or usual.resolution)
    found["same_network"] = compare_with_peer(seed, size, device, args)
    if args.peer:
        found |= ratios_to_peer(found["same_network"], device)
    if not args.skip_fast:
        found |= compare_fast(params, seed, device, args)
    if args.device == "cuda":
        found["bf16_relative_error"] = bf16_error(seed, device)
    if args.curve is not None:
        found["curve"] = sampler_curve(args.curve, params, prompts=args.prompts, device=device)
    if args.json is not None:
        add_facts(args.json, found)


def fast_params(device: torch.device) -> Params:
    """The committed params; on a GPU with presets/gpu.yaml over them."""
    tree = load_params().model_dump(mode="json")
    if device.type == "cuda":
        merge(tree, read_preset("gpu"))
    return parse_params(tree)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.unet", description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="time video-diffusion-pytorch too")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--profile", action="store_true", help="print what each network spends its time on")
    parser.add_argument("--curve", type=Path, metavar="ROOT", help="sampler curve of the model below this folder")
    parser.add_argument("--prompts", type=int, default=96, help="of the curve")
    parser.add_argument("--batch-size", type=int, help="default: 2, on a GPU 16")
    parser.add_argument("--frames", type=int, help="of the comparison with the peer; default: 8, on a GPU 16")
    parser.add_argument("--resolution", type=int, help="px, of the same; default: 32, on a GPU 64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-fast", action="store_true", help="leave out the fast network")
    return parser


def describe_machine(device: torch.device) -> dict[str, Any]:
    return machine_facts(device) | {
        "threads": torch.get_num_threads(),
        "dtype": "fp32 unless a name says otherwise",
        "auto_dtype": str(choose_dtype("auto", device)).removeprefix("torch."),
    }


def compare_with_peer(seed: UnetParams, size: VideoSize, device: torch.device, args: argparse.Namespace) -> Any:
    """One network, several makers: rows by name."""
    bf16 = torch.bfloat16
    makers: dict[str, Callable[[], Contestant]] = {"seed fp32": lambda: our_contestant(seed, size, device)}
    if args.peer:
        makers["peer fp32"] = lambda: peer_contestant(size, device)
    if choose_dtype("auto", device) is bf16:
        makers["seed bf16"] = lambda: our_contestant(seed, size, device, dtype=bf16)
    if device.type == "cuda":
        makers["seed bf16 compiled"] = lambda: our_contestant(seed, size, device, dtype=bf16, compiled=True)
        if args.peer:
            makers["peer amp"] = lambda: peer_contestant(size, device, dtype=bf16)
    return race({name: make() for name, make in makers.items()}, device, args)


def ratios_to_peer(rows: dict[str, dict[str, Any]], device: torch.device) -> dict[str, float]:
    """`ratio_to_peer`: each as its own trainer runs it here, ours by `precision: auto`, the peer's in fp32.

    On a GPU also `seed_ratio_to_peer`: the fastest of either.
    """
    peers, alike = rows["peer fp32"], rows["seed fp32"]
    ours = alike if choose_dtype("auto", device) is torch.float32 else rows["seed bf16"]
    ratios = {
        "ratio_to_peer": peers["wall_s"] / ours["wall_s"],
        "ratio_to_peer_cpu_time": peers["cpu_s"] / ours["cpu_s"],
        "ratio_to_peer_fp32": peers["wall_s"] / alike["wall_s"],
        "ratio_to_peer_fp32_cpu_time": peers["cpu_s"] / alike["cpu_s"],
    }
    if device.type == "cuda":
        best = {who: min(row["wall_s"] for name, row in rows.items() if who in name) for who in ("peer", "seed")}
        ratios["seed_ratio_to_peer"] = best["peer"] / best["seed"]
    print("  ".join(f"{key} {value:.2f}" for key, value in ratios.items()))
    return ratios


def compare_fast(params: Params, seed: UnetParams, device: torch.device, args: argparse.Namespace) -> dict[str, Any]:
    """The fast network at the seed network's parameters, on clips of the train section's size, both as trained here."""
    size = VideoSize(args.batch_size or FAST_BATCH[device.type], params.train.frames, params.train.resolution)
    dtype = choose_dtype("auto", device)
    seeds = our_contestant(seed, size, device, dtype=dtype)
    wide = widen(params.unet, seeds.parameters, size)
    cases = {"seed": seeds, f"fast, dim {wide.dim}": our_contestant(wide, size, device, dtype=dtype)}
    if device.type == "cuda":
        cases["fast compiled"] = our_contestant(wide, size, device, dtype=dtype, compiled=True)
    rows = race(cases, device, args)
    old, fast = rows["seed"], max(rows.values(), key=lambda row: row["clips_per_s"])
    ratio = fast["clips_per_s"] / old["clips_per_s"]
    print(f"ratio_fast_to_seed {ratio:.1f} (by CPU time {old['cpu_s'] / fast['cpu_s']:.1f})")
    return {"fast_against_seed": rows, "ratio_fast_to_seed": ratio, "fast_clips_per_s": fast["clips_per_s"]}


def race(cases: dict[str, Contestant], device: torch.device, args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    timings = alternate({name: case.step for name, case in cases.items()}, rounds=args.rounds, device=device)
    rows = {name: describe_case(case, timings[name], device) for name, case in cases.items()}
    for name, row in rows.items():
        print(f"{name:20} " + "  ".join(f"{key} {value:,.4g}" for key, value in row.items()), flush=True)
        if args.profile:
            print_profile(cases[name], device)
    return rows


def describe_case(case: Contestant, timing: Timing, device: torch.device) -> dict[str, Any]:
    flops = count_flops(case)
    row = {
        **dataclasses.asdict(case.size),
        "parameters_m": case.parameters / 1e6,
        "wall_s": timing.wall_s,
        "cpu_s": timing.cpu_s,
        "clips_per_s": case.size.batch / timing.wall_s,
        "tflops_per_s": flops / timing.wall_s / 1e12,
    }
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        case.step()
        row["memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
        peak = next((peak for chip, peak in PEAK_TFLOPS.items() if chip in torch.cuda.get_device_name(device)), None)
        if peak is not None:
            row["share_of_peak"] = row["tflops_per_s"] / peak
    return row


def print_profile(case: Contestant, device: torch.device) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        case.step()
    column = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(profiler.key_averages().table(sort_by=column, row_limit=15, max_name_column_width=50))


@torch.no_grad()
def bf16_error(seed: UnetParams, device: torch.device) -> float:
    """Distance of the device's bf16 answer from the CPU's fp32 one, over the latter's norm; the same weights."""
    size = VideoSize(2, 8, 32)
    exact = our_contestant(seed, size, torch.device("cpu")).predict()
    rough = our_contestant(seed, size, device, dtype=torch.bfloat16).predict()
    if not rough.isfinite().all():
        raise ValueError("the network's answer in bf16 is not finite")
    return float((rough.float().cpu() - exact).norm() / exact.norm())


if __name__ == "__main__":
    run_stage(main)
