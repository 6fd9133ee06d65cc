"""A page on this machine to type prompts into: `make play`, or `python -m pipeline.play [MODEL …]`."""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.generation.model_folders import find_model, models_here
from pipeline.runtime.start import run_program


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command until it is interrupted. Raises ValueError, one line, on what a user can mend."""
    args = build_parser().parse_args(argv)
    folders = {path.name: path for path in map(find_model, args.models)} or models_here() or {"": find_model(None)}
    try:
        from pipeline.playing.page import build_page, launch
    except ImportError as error:
        if error.name != "gradio":
            raise
        raise ValueError("the page needs gradio: make play, or pip install -r requirements-play.txt") from None
    from pipeline.playing.drawing import Drawing

    page = build_page(Drawing(folders, args.device))
    address = launch(page, args.port, wait=False)
    print(f"{address} (Ctrl+C ends it)", flush=True)
    page.block_thread()


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.play", description="A page to type prompts into.")
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="folders or names (default: all here)")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1 (default: the first free one from 7860 on)")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:1 …")
    return parser


if __name__ == "__main__":
    run_program(main)
