"""Clips a second of one core for the generated sets, GIF bytes included: `python -m bench.synthetic [--json FILE]`.

Counted in the process's own CPU time, so a busy machine gives the same answer.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import time
from pathlib import Path

from pipeline.config.data import ShapesParams
from pipeline.config.params import load_params
from pipeline.runtime.files import write_json
from pipeline.synthetic.build import GeneratedSet
from pipeline.synthetic.digits import load_digit_bank
from pipeline.synthetic.moving_digits import digits_set
from pipeline.synthetic.shapes import shapes_set

CLIPS = 600


def clips_per_second(generated: GeneratedSet, clips: int = CLIPS) -> float:
    """CPU seconds of drawing and encoding clips of train, after one round to warm up."""
    for index in range(20):
        generated.row("train", index)
    started = time.process_time()
    for index in range(clips):
        generated.row("train", index)
    return clips / (time.process_time() - started)


def everything(params: ShapesParams) -> ShapesParams:
    """One object, every value of every attribute that a params file can ask for."""
    return params.model_copy(
        update={
            "shapes": ("circle", "square", "triangle", "star"),
            "sizes": ("small", "medium", "large"),
            "motions": (*params.motions, "bounce-vertical", "zigzag-horizontal", "rotate-clockwise", "grow", "still"),
            "backgrounds": ("white", "solid", "dots", "grid", "stripes"),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.synthetic", description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    params = load_params()
    sets: dict[str, GeneratedSet] = {
        "shapes": shapes_set(params.shapes),
        "shapes_richer": shapes_set(everything(params.shapes)),
        "moving_mnist": digits_set(params.moving_mnist, load_digit_bank(params.moving_mnist)),
    }
    figures = {f"{name}_clips_per_s": clips_per_second(one) for name, one in sets.items()}
    for name, value in figures.items():
        print(f"{name}: {value:.0f}, of one core")
    if options.json:
        write_json(options.json, figures)


if __name__ == "__main__":
    main()
