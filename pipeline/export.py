"""A trained model for other programs: `python -m pipeline.export MODEL --format onnx | hub`.

onnx: the model folder with network.onnx in it, for `generate --runtime onnx` and any program that reads ONNX. hub: the
folder that a model hub takes, with a README. Nothing is uploaded, and the model folder itself is left as it is.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.generation.model_folders import find_model
from pipeline.runtime.stage import run_stage

EXPORTS = Path("exports")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Raises ValueError, one line, on what a user can fix."""
    args = build_parser().parse_args(argv)
    model = find_model(args.folder or args.model)
    out = args.out or EXPORTS / f"{model.name}-{args.format}"
    if args.half and args.format != "hub":
        raise ValueError("--half goes with --format hub")
    for path in export(model, out, args.format, args.metrics, half=args.half):
        print(path)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.export", description="Export a trained model.")
    parser.add_argument("folder", nargs="?", type=Path, metavar="MODEL", help="folder or name (default: models/unet)")
    parser.add_argument("--format", choices=("onnx", "hub"), required=True)
    parser.add_argument("--model", type=Path, help="the same as MODEL")
    parser.add_argument("--out", type=Path, help=f"folder (default: {EXPORTS}/MODEL-FORMAT)")
    parser.add_argument("--metrics", type=Path, help="figures for hub (default: metrics/evaluate/MODEL.json)")
    parser.add_argument("--half", action="store_true", help="hub: weights as float16, half the size")
    return parser


def export(model: Path, out: Path, format_: str, metrics: Path | None = None, *, half: bool = False) -> list[Path]:
    """Fill `out` anew; returns its files."""
    from pipeline.model_io.model_card import CARD_FILE, WEIGHTS_FILE, read_card
    from pipeline.runtime.files import whole_folder
    from pipeline.sampling.defaults import write_sampling
    from pipeline.sampling.standing import standing_sampling

    card = read_card(model)
    if out.exists() and (out.resolve() == model.resolve() or not (out / CARD_FILE).is_file()):
        raise ValueError(f"{out}: is here and no export; name another folder by --out")
    if format_ == "onnx" and card.family != "unet":
        raise ValueError(f"{model}: --format onnx exports U-Nets; this is a {card.family}")
    figures = _figures(model, metrics) if format_ == "hub" else {}
    sampling = standing_sampling(model, card).params
    with whole_folder(out) as partial:
        for name in (CARD_FILE, WEIGHTS_FILE):
            shutil.copyfile(model / name, partial / name)
        if sampling is not None:
            write_sampling(partial, sampling)
        if format_ == "onnx":
            from pipeline.exporting.onnx_network import write_onnx
            from pipeline.sampling.video_model import load_model

            write_onnx(load_model(model).network, card, partial)
        else:
            from pipeline.exporting.hub_folder import halve, write_facts

            write_facts(partial, out.name if half else model.name, card, figures)
            if half:
                halve(partial / WEIGHTS_FILE)
    return sorted(out.iterdir())


def _figures(model: Path, given: Path | None) -> dict[str, Any]:
    """The file named, else what is here; empty: not evaluated. Raises ValueError where the file named is not there."""
    from pipeline.exporting.hub_folder import figures_of

    if given is None:
        return figures_of(model)
    if not given.is_file():
        raise ValueError(f"{given}: no such file; run the evaluate stage (dvc repro), or leave --metrics out")
    figures: dict[str, Any] = json.loads(given.read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    run_stage(main)
