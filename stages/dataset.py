"""Stage dataset: the name of the set that models are trained and judged on, checked before a stage reads it.

DVC puts the name into the paths of those stages, and of one that is no set it would say no more than that a folder is
missing, after it has deleted what they made before.
"""

from __future__ import annotations

from pipeline.runtime.start import start_stage

start_stage(__name__)

from pathlib import Path

from pipeline.config.params import load_params
from pipeline.runtime.files import write_json
from pipeline.runtime.stage import run_stage


def main(*, params_path: Path = Path("params.yaml"), out: Path = Path("data/dataset.json")) -> None:
    write_json(out, {"dataset": load_params(params_path).dataset})


if __name__ == "__main__":
    run_stage(main)
