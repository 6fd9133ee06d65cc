"""The README's table and picture anew from the default run's metrics and samples: `python -m bench.readme`.

`python -m bench.readme HEAD seed1 seed2` first gathers the metrics of three or more runs of different seeds into
metrics/seeds.json: commits or experiments, the committed run first. A test asks that the committed table is the one
that the committed metrics give.
"""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.compare import open_files
from pipeline.data.frames import enlarge
from pipeline.data.samples import Sample, read_samples
from pipeline.render.clips import contact_sheet, write_image
from pipeline.report.files import Files
from pipeline.report.gather import TRAIN_STAGE
from pipeline.report.sections.given import long_strip
from pipeline.runtime.code import ROOT
from pipeline.runtime.files import write_json
from pipeline.runtime.stage import run_stage

log = logging.getLogger("t2v")

MODELS = {"unet": "U-Net", "gan": "GAN, the baseline"}
KINDS = ("seen", "held_out", "reworded")
KEYS = (*(f"{kind}.{what}" for kind in KINDS for what in ("joint", "speed_error")), "caption_shuffle.joint")
SEEDS = Path("metrics/seeds.json")
TITLE = "| | seen | new combination | new wording | other captions |\n"
TABLE = re.compile(re.escape(TITLE) + r"(\|.*\n)+")
SHOWN = {"seen": 7, "held_out": 3, "reworded": 3}  # rows of the picture
CELL = 64  # px of a frame


def main() -> None:
    if names := sys.argv[1:]:
        write_json(ROOT / SEEDS, gather({name: open_files(ROOT, name) for name in names}))
    readme, seeds = ROOT / "README.md", json.loads((ROOT / SEEDS).read_text(encoding="utf-8"))
    readme.write_text(TABLE.sub(lambda _: table(seeds), readme.read_text(encoding="utf-8")), encoding="utf-8")
    log.info("README.md: the table of %d runs", len(seeds["unet"]["seen.joint"]))
    for name, write, model in (("samples.png", write_picture, "unet"), ("rollout.png", write_long_clip, "frames")):
        samples = ROOT / f"evaluations/{model}/samples.parquet"
        if samples.is_file():
            write(ROOT / "docs" / name, samples)
        else:
            log.info("docs/%s stays as it is: no %s here (dvc repro makes it)", name, samples.relative_to(ROOT))


def write_picture(path: Path, samples: Path) -> None:
    """Write the README's picture."""
    write_image(path, picture(read_samples(samples)))


def write_long_clip(path: Path, samples: Path) -> None:
    """Write the first long clip as a still, where stage frames left one (by the preset frames)."""
    long = [sample for sample in read_samples(samples) if sample.kind == "rollout"]
    if long:
        write_image(path, long_strip(long[0].frames()))


def gather(runs: Mapping[str, Files]) -> dict[str, dict[str, list[float]]]:
    """By model and metric, a value a run.

    Raises ValueError, one line, on fewer than three runs, on two of one seed, and on one of another set.
    """
    if len(runs) < 3:
        raise ValueError(f"{len(runs)} runs ({', '.join(runs)}): a range needs three or more, such as HEAD seed1 seed2")
    found: dict[str, dict[str, list[float]]] = {model: {key: [] for key in KEYS} for model in MODELS}
    for model, values in found.items():
        stage = TRAIN_STAGE[model]
        seeds = {name: _metrics(name, files, stage)["seed"] for name, files in runs.items()}
        if len(set(seeds.values())) < len(seeds):
            told = ", ".join(f"{name} {seed}" for name, seed in seeds.items())
            raise ValueError(f"two runs of one {stage}.seed ({told}); run one anew: dvc exp run -S {stage}.seed=…")
        for name, files in runs.items():
            metrics = _metrics(name, files, f"evaluate/{model}")
            if metrics["dataset"] != "shapes":
                raise ValueError(f"{name}: of {metrics['dataset']}, and the README shows the shapes set")
            for key in KEYS:
                values[key].append(metrics[key])
    return found


def _metrics(run: str, files: Files, name: str) -> dict[str, Any]:
    data = files.read(f"metrics/{name}.json")
    if data is None:
        raise ValueError(f"{run}: no metrics/{name}.json in it; run dvc exp run there to its end")
    return json.loads(data)


def table(seeds: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """In Markdown: mean and range over the seeds."""
    rows = []
    for model, name in MODELS.items():
        values = seeds[model]
        joint = [_range([100 * value for value in values[f"{kind}.joint"]], 1, " %") for kind in KINDS]
        rows.append(
            [f"**{name}**, all right", *joint, _range([100 * v for v in values["caption_shuffle.joint"]], 1, " %")]
        )
        rows.append(["speed error", *(_range(values[f"{kind}.speed_error"], 3) for kind in KINDS), ""])
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return f"{TITLE}|---|---|---|---|---|\n" + "\n".join(lines) + "\n"


def _range(values: Sequence[float], digits: int, unit: str = "") -> str:
    mean, low, high = (f"{value:.{digits}f}" for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean}{unit}" if low == high else f"{mean}{unit} ({low}–{high})"


def picture(samples: Iterable[Sample]) -> np.ndarray:
    """The first samples of each kind, a prompt a row, marked by the oracle: uint8 (H, W, 3)."""
    left = Counter(SHOWN)
    shown: list[Sample] = []
    for sample in samples:
        if sample.is_first_take and left[sample.kind] > 0:
            left[sample.kind] -= 1
            shown.append(sample)
    verdicts = ["right" if sample.scores is not None and sample.scores.right else "wrong" for sample in shown]
    captions = [[f"{word} [{each.kind}]  {each.caption}"] for word, each in zip(verdicts, shown, strict=True)]
    clips = [sample.frames() for sample in shown]
    return contact_sheet([enlarge(clip, max(1, CELL // clip.shape[1])) for clip in clips], captions=captions)


if __name__ == "__main__":
    run_stage(main)
