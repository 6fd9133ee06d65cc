"""presets/gpu.yaml as a CPU can try it: the whole recipe at a narrow width, through its first 30 steps."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median

import pytest
import yaml

from pipeline.config.params import load_params, parse_params
from pipeline.data.shards import write_set, write_shard
from pipeline.preset import merge, read_preset
from pipeline.synthetic.shapes import shapes_set
from stages.train import main
from tests.training_toys import write_toy_table

ROOT = Path(__file__).parents[1]
STEPS = 30
COUNTS = {"train": 128, "val": 2}


def write_preset(root: Path) -> None:
    """params.yaml with the preset at a width for two cores, and clips of its own kind: 64 px, up to two objects."""
    tree = load_params(ROOT / "tests/params.yaml").model_dump(mode="json")
    merge(tree, read_preset("gpu", ROOT / "presets"))
    tree["unet"] |= {"dim": 16, "attn_heads": 2, "attn_dim_head": 8, "cond_dim": 64, "blocks_per_level": 1}
    tree["train"] |= {"steps": STEPS, "warmup_steps": STEPS, "batch_size": 2, "compile": False}
    tree["train"] |= {"val_every": STEPS // 2, "sample_every": STEPS, "checkpoint_every": STEPS, "num_sample_rows": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    params = parse_params(tree)
    drawn, folder = shapes_set(params.shapes), root / "data/shards/shapes"
    rows = [drawn.row(split, index) for split, count in COUNTS.items() for index in range(count)]
    write_shard(folder / "shard-00000.parquet", rows)
    write_set(folder, {"set": "shapes", "counts": COUNTS, "resolution": 64, "frames": 16, "fps": 10.0})
    write_toy_table(
        root / "data/embeddings/shapes.parquet", sorted({caption for row in rows for caption in row.captions})
    )


@pytest.mark.slow
def test_the_gpu_presets_first_steps_learn_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_preset(tmp_path)
    main()
    with (tmp_path / "plots/train/loss.csv").open(encoding="utf-8") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    first, last = median(losses[:3]), median(losses[-10:])  # steps 4 to 10 come to a fifth of the first
    assert len(losses) == STEPS
    assert last < 0.1 * first, (first, last)
    trained = json.loads((tmp_path / "metrics/train.json").read_text(encoding="utf-8"))
    assert trained["steps"] == STEPS
