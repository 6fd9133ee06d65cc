"""Marks of anybody's clips: `python -m pipeline.mark FOLDER` judges x.gif, x.mp4 … by a list of prompts.

From any model: what `evaluate` measures of our own, by the same oracle, readers and controls. The list is JSONL with a
name and a prompt a line (python -m pipeline.prompts writes ours). Out come metrics.json with the keys of
metrics/evaluate/<model>.json, clips.jsonl with a verdict for each prompt, and index.html.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.start import run_program


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Raises ValueError, one line, on what a user can fix."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.mark", description="Judge clips by their prompts.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the clips: x.gif, x.mp4, x.webp …")
    parser.add_argument("--prompts", type=Path, help="JSONL: name and prompt (default: the JSONL file in FOLDER)")
    parser.add_argument("--label", help="what the page calls the clips (default: FOLDER's name)")
    parser.add_argument("--out", type=Path, help="folder to write (default: marks/<FOLDER's name>)")
    args = parser.parse_args(argv)
    from pipeline.marking.session import mark_folder

    label = args.label or args.folder.resolve().name
    out = args.out or Path("marks") / args.folder.resolve().name
    for line in mark_folder(args.folder, args.prompts, label=label, out=out):
        print(line, file=sys.stderr)
    for name in ("index.html", "metrics.json", "clips.jsonl"):
        print(out / name)


if __name__ == "__main__":
    run_program(main)
