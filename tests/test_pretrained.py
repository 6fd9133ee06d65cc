"""The weights that come along with the code: they load, draw what their card says, and fit into a repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard as HubCard

from pipeline.generation.model_folders import CARD_FILE
from pipeline.judge.oracles.shapes import read_shapes
from pipeline.model_io.model_card import WEIGHTS_FILE
from pipeline.sampling.video_model import load_model
from pipeline.synthetic.words import SPEEDS, WAYS

PRETRAINED = Path(__file__).resolve().parent.parent / "models/pretrained"
LARGEST_BYTES = 16e6


@pytest.mark.parametrize("folder", sorted(path.parent for path in PRETRAINED.glob(f"*/{CARD_FILE}")), ids=str)
def test_a_card_says_what_the_figures_say(folder: Path) -> None:
    assert (folder / WEIGHTS_FILE).stat().st_size <= LARGEST_BYTES
    card, figures = HubCard.load(folder / "README.md"), json.loads((folder / "figures.json").read_text())
    told = {each.dataset_config: each.metric_value for each in card.data.eval_results}
    assert told == {kind: figures[f"{kind}.joint"] for kind in ("seen", "held_out", "reworded")}
    for heading in ("## Use", "## Training", "## Figures", "## Limits"):
        assert heading in card.text


@pytest.mark.slow
def test_the_shapes_model_draws_what_it_is_told() -> None:
    asked = [
        (colour, shape, list(WAYS)[(3 * place + number) % len(WAYS)], ("slow", "fast")[(place + number) % 2])
        for place, shape in enumerate(("circle", "square", "triangle"))
        for number, colour in enumerate(("red", "green", "blue", "yellow"))
    ]  # each colour of each shape, each way, either speed
    assert len({motion for _, _, motion, _ in asked}) == len(WAYS) == 8
    prompts = [
        f"a {colour} {shape} moves {WAYS[motion][0]} {SPEEDS[speed][0]}" for colour, shape, motion, speed in asked
    ]
    clips = load_model(PRETRAINED / "shapes").sample(prompts, range(len(prompts)))
    readings = [read_shapes(clip) for clip in clips]
    drawn = [
        [(thing.colour, thing.shape, thing.motion, thing.speed) for thing in reading.objects] for reading in readings
    ]
    right = sum(things == [wanted] for things, wanted in zip(drawn, asked, strict=True))
    assert right >= len(asked) - 1, list(zip(prompts, drawn, strict=True))
