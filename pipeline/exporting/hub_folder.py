"""A model folder as a model hub takes it: a README with the card's facts in front, weights, sampling params.

Nothing is uploaded: `hf upload NAME FOLDER` of huggingface_hub does that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from safetensors import safe_open
from safetensors.torch import save

from pipeline.model_io.model_card import WEIGHTS_FILE, ModelCard
from pipeline.runtime.files import write_bytes, write_json, write_text

README = "README.md"
FIGURES_FILE = "figures.json"
METRICS = Path("metrics/evaluate")
KINDS = {"seen": "combinations of training", "held_out": "held-out combinations", "reworded": "held-out wordings"}
DATA = {  # licence of the weights, and the terms of the data
    "shapes": ("mit", "Moving shapes, drawn by the project from a seed: no terms."),
    "moving_mnist": ("cc-by-4.0", "Handwritten digits (Alpaydin & Kaynak, CC BY 4.0; or MNIST), moved by the project."),
}
REAL_VIDEO = ("other", "Real clips. Ask whose they are before you publish weights; MSR-VTT states no licence.")


def write_facts(folder: Path, name: str, card: ModelCard, figures: Mapping[str, Any]) -> None:
    """Write README.md and figures.json beside whole weights; `figures` are the evaluate stage's, empty: none."""
    licence, terms = DATA.get(card.dataset, REAL_VIDEO)
    data = ModelCardData(
        language="en",
        license=licence,
        pipeline_tag="text-to-video",
        tags=["text-to-video", "diffusion" if card.family == "unet" else "gan", "from-scratch"],
        model_name=name,
        eval_results=_results(card, figures),
    )
    body = _body(name, card, terms, figures, hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest())
    write_text(folder / README, f"---\n{data.to_yaml()}\n---\n\n{body}")
    if figures:
        write_json(folder / FIGURES_FILE, dict(figures))


def halve(path: Path) -> None:
    """Round a safetensors file's matrices to float16; vectors and what a loader reads beside them stay."""
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    halved = {
        name: each.half() if each.ndim > 1 and each.is_floating_point() else each for name, each in tensors.items()
    }
    write_bytes(path, save(halved, facts))


def _results(card: ModelCard, figures: Mapping[str, Any]) -> list[EvalResult] | None:
    results = [
        EvalResult(
            task_type="text-to-video",
            dataset_type=card.dataset,
            dataset_name=f"{card.dataset}, {text}",
            dataset_config=kind,
            metric_type="accuracy",
            metric_name="joint accuracy, read off the pixels",
            metric_value=figures[f"{kind}.joint"],
        )
        for kind, text in KINDS.items()
        if f"{kind}.joint" in figures
    ]
    return results or None


def _body(name: str, card: ModelCard, terms: str, figures: Mapping[str, Any], digest: str) -> str:
    kind = "diffusion U-Net" if card.family == "unet" else "GAN"
    encoder = f"{card.text['name']} ({card.text['revision']})" if card.text else "none: it reads the words"
    words = ", ".join(card.vocabulary[:200]) + (" …" if len(card.vocabulary) > 200 else "")
    parts = [
        f"# {name}\n\nA {kind} that draws {card.frames} frames of {card.resolution} × {card.resolution} px at "
        f"{card.fps:g} frames a second for a sentence, trained from scratch.",
        "## Use\n\n```\npython -m pipeline.generate \"…\" --model FOLDER\n```\n\n```python\nfrom "
        "pipeline.sampling.video_model import load_model\n\nframes = load_model(FOLDER).sample([\"…\"], seeds=[0])  "
        "# uint8 (1, F, H, W, C)\n```",
        f"## Training\n\n- Data: `{card.dataset}`. {terms}\n- Steps: {card.steps}, clips seen: {card.clips_seen}, seed "
        f"{card.seed}\n- Text encoder: {encoder}\n- Params: `model.json`; sampling: `sampling.json`\n- Made by "
        f"`dvc repro` with these params; SHA-256 of the weights as trained (float32): {digest}",
        "## Figures\n\n" + (_table(figures) if figures else "Not evaluated."),
        f"## Limits\n\nIt knows the {len(card.vocabulary)} words of its train captions, and what they say: {words}."
        + _limits(figures),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _limits(figures: Mapping[str, Any]) -> str:
    """Results of evaluate where a prompt leaves attributes open."""
    if "unsaid.clean" not in figures:
        return ""
    return (
        f" Of clips whose prompt leaves something open, {figures['unsaid.clean']:.0%} show one clean thing and "
        f"{figures['unsaid.blank_share']:.0%} nothing at all: say everything."
    )


def figures_of(folder: Path) -> dict[str, Any]:
    """The evaluate stage's figures of a model: those in its folder, else this checkout's; empty: not evaluated."""
    folder = Path(folder)
    for path in (folder / FIGURES_FILE, METRICS / f"{folder.name}.json"):
        if path.is_file():
            figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return figures
    return {}


def figure_lines(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, share) of what counts most: everything right that the caption says, and its control."""
    names = {**KINDS, "caption_shuffle": "control, captions shuffled"}
    return [(text, _share(figures, kind)) for kind, text in names.items() if f"{kind}.joint" in figures]


def _table(figures: Mapping[str, Any]) -> str:
    """Joint accuracy of each kind with its interval, the oracle's own on real clips, and the shuffled control."""
    rows = [f"| {text} | {_share(figures, kind)} |" for kind, text in KINDS.items() if f"{kind}.joint" in figures]
    rows += [f"| the oracle on real clips | {figures['oracle_on_real.joint']:.1%} |"] * (
        "oracle_on_real.joint" in figures
    )
    rows += [f"| control: captions shuffled | {_share(figures, 'caption_shuffle')} |"] * (
        "caption_shuffle.joint" in figures
    )
    if "frechet.ratio" in figures:
        rows.append(f"| Fréchet distance over that of train against test | {figures['frechet.ratio']:.2f} |")
    clips = figures.get("seen.clips", "?")
    head = f"| everything right that the caption says, {clips} prompts a row | share (95 % interval) |\n|---|---|\n"
    return head + "\n".join(rows)


def _share(figures: Mapping[str, Any], kind: str) -> str:
    low, high = figures[f"{kind}.joint_low"], figures[f"{kind}.joint_high"]
    return f"{figures[f'{kind}.joint']:.1%} ({100 * low:.1f}–{100 * high:.1f})"
