"""The files to look at after a run, and its main figures. `make repro` ends with this."""

from __future__ import annotations

from pipeline.runtime.start import start_program

start_program(__name__)

import json
from pathlib import Path

KEYS = ("seen.joint", "held_out.joint", "reworded.joint", "caption_shuffle.joint", "oracle_on_real.joint")


def summary(root: Path = Path()) -> str:
    """A few lines: the report, the samples, the metrics and the headline numbers of each model."""
    lines = [
        f"report   {root / 'reports/index.html'} (open it in a browser)",
        f"samples  {root / 'plots/evaluate/unet/samples'}/*.gif, {root / 'reports/reel.mp4'}",
        f"metrics  {root / 'metrics'}/ (dvc metrics show; dvc metrics diff)",
    ]
    for path in sorted((root / "metrics/evaluate").glob("*.json")):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        numbers = ", ".join(f"{key} {metrics[key]:.3f}" for key in KEYS if key in metrics)
        lines.append(f"{path.stem:<8} {numbers}" if numbers else f"{path.stem:<8} see {path}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary())
