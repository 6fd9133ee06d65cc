"""The prompts that models are judged by: `python -m pipeline.prompts` lists those of the set that params name.

A line of JSONL each: id, kind (seen, held_out, reworded …), seed, prompt, and what the prompt says (attributes). They
are the ones of the stage evaluate, in its order, with the seeds of its clips: `generate --prompts-file` draws them,
`python -m pipeline.mark` judges anybody's clips of them.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime.start import run_program


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Raises ValueError, one line, on what a user can fix."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.prompts", description="List the prompts of a set.")
    parser.add_argument("--out", type=Path, help="file (default: prompts/<set>.jsonl)")
    parser.add_argument("--count", type=int, help="prompts of each kind (default: evaluate.prompts)")
    parser.add_argument("--seed", type=int, help="of each kind's first clip (default: evaluate.seed)")
    args = parser.parse_args(argv)
    from pipeline.config.params import load_params
    from pipeline.generation.prompt_list import write_prompt_list
    from pipeline.marking.known_set import KnownSet

    params = load_params()
    count = params.evaluate.prompts if args.count is None else args.count
    seed = params.evaluate.seed if args.seed is None else args.seed
    if count < 1 or seed < 0:
        raise ValueError(f"--count {count}, --seed {seed}: give at least 1 prompt and a seed of 0 or more")
    listed = KnownSet(params, Path("data")).listed(count, seed)
    path = args.out or Path(f"prompts/{params.dataset}.jsonl")
    write_prompt_list(path, listed)
    kinds = Counter(each.kind for each in listed)
    print(f"{path}: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")


if __name__ == "__main__":
    run_program(main)
