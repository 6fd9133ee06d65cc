"""Prompts to video files, by any trained model: `python -m pipeline.generate "a red circle moves up"`.

Everything about the model comes out of its folder, which may be a copy with no repository around it. Paths of what was
written go to stdout, one a line; notes to stderr. Each clip is known by (prompt, seed), whatever is made beside it.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.generation.model_folders import DEFAULT_MODEL, PRETRAINED, find_model
from pipeline.generation.prompt_list import collect_listed
from pipeline.render.formats import FORMATS
from pipeline.runtime.start import run_program
from pipeline.sampling.names import SAMPLER_NAMES

SEED_MAX = 2**32 - 1  # torch's generator on the CPU tells 32 bits apart
FPS_RANGE = (0.01, 50.0)  # a GIF's delay is 2/100 s to 655 s


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Raises ValueError, one line, on what a user can fix."""
    started = time.perf_counter()
    args = build_parser().parse_args(argv)
    prompts = collect_listed([*args.prompts, *args.text], args.prompts_file)
    largest = max(args.seed if each.seed is None else each.seed for each in prompts)
    if largest + args.num_samples - 1 > SEED_MAX:
        raise ValueError(f"seed {largest} with --num-samples {args.num_samples}: seeds end at {SEED_MAX}")
    folder = find_model(args.model)
    from pipeline.generation.draw import draw  # torch: seconds that --help and a mistyped option need not wait

    clips = draw(args, prompts, folder)
    seconds = time.perf_counter() - started
    print(f"{clips} clip{'s' if clips > 1 else ''} in {seconds:.1f} s by {folder}", file=sys.stderr)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.generate", description="Sample videos for prompts from a trained model."
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what to draw; quote each prompt")
    parser.add_argument("--text", action="append", default=[], help="one more prompt (may be repeated)")
    parser.add_argument(
        "--prompts-file", type=Path, help="text, one prompt a line, or a list as JSONL: see pipeline.prompts"
    )
    parser.add_argument(
        "--model", "--model-path", type=Path, help=f"folder or name (default: {DEFAULT_MODEL}, else {PRETRAINED}/…)"
    )
    parser.add_argument("--out", "--output-dir", type=Path, default=Path("samples"), help="folder (default: samples)")
    parser.add_argument("--format", choices=FORMATS, default="gif", help="png writes a folder of frames")
    parser.add_argument("--scale", type=_whole(1, 64), default=1, help="each pixel as a square of so many, for looking")
    parser.add_argument(
        "--seed",
        type=_whole(0, SEED_MAX),
        default=0,
        help="of a prompt's first clip; the next adds one; a list has its own",
    )
    parser.add_argument("--num-samples", type=_whole(1), default=1, help="clips per prompt")
    parser.add_argument("--batch-size", type=_whole(1), default=8, help="clips sampled at once; never changes them")
    parser.add_argument(
        "--frames", type=_whole(1), help="fewer: evenly over the clip, which lasts as long; more: it goes on"
    )
    parser.add_argument("--fps", type=_real(*FPS_RANGE), help="playback rate (default: the model's)")
    sampling = parser.add_argument_group(
        "sampling of diffusion models", "default: the folder's sampling.json, else params.yaml, else the model's own"
    )
    sampling.add_argument("--steps", type=_whole(1), help="denoising steps")
    sampling.add_argument("--sampler", choices=SAMPLER_NAMES)
    sampling.add_argument("--guidance", "--cond-scale", type=_real(0.0), help="guidance scale, 1 for none")
    sampling.add_argument("--negative", help="what to steer away from")
    sampling.add_argument(
        "--interpolate",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="draw clips between two GIF or NPY clips under each prompt: the middle, or --num-samples from A to B",
    )
    given = sampling.add_mutually_exclusive_group()
    given.add_argument("--first-frame", type=Path, metavar="PICTURE", help="what each clip begins with")
    given.add_argument("--continue", dest="continued", type=Path, metavar="CLIP", help="each clip begins as it ends")
    sampling.add_argument("--strength", type=_real(0.01, 0.99), default=0.6, help="share of --interpolate drawn anew")
    parser.add_argument("--runtime", choices=("torch", "onnx"), default="torch", help="onnx: see pipeline.export")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:1 …")
    return parser


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if int(text) < low or (high is not None and int(text) > high):
            raise argparse.ArgumentTypeError(f"{text} is not {_range(low, high)}")
        return int(text)

    return whole_number


def _real(low: float, high: float | None = None) -> Callable[[str], float]:
    def number(text: str) -> float:
        if not math.isfinite(float(text)) or float(text) < low or (high is not None and float(text) > high):
            raise argparse.ArgumentTypeError(f"{text} is not {_range(low, high)}")
        return float(text)

    return number


def _range(low: float, high: float | None) -> str:
    return f"{low:g} or more" if high is None else f"from {low:.12g} to {high:.12g}"


if __name__ == "__main__":
    run_program(main)
