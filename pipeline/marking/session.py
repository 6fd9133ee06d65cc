"""One command's way: a folder of clips and a list of prompts to metrics, verdicts and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.params import load_params
from pipeline.evaluation.evaluate import headline, rounded
from pipeline.judge.judge import CARD_FILE, Judge, load_judge
from pipeline.marking.asked import find_list, read_asked
from pipeline.marking.clip_folder import decode_clips, list_clips
from pipeline.marking.known_set import KnownSet
from pipeline.marking.marks import NO_CLIP, Marks, mark
from pipeline.marking.page import Trouble, write_marks_page
from pipeline.runtime.device import find_device
from pipeline.runtime.files import write_json, write_text


def mark_folder(
    folder: Path,
    listing: Path | None,  # None: the folder's own
    *,
    label: str,
    out: Path,
    params_path: Path = Path("params.yaml"),
    data: Path = Path("data"),
    models: Path = Path("models"),
) -> list[str]:
    """Mark the clips into `out`; what was left out and the main figures, in lines. Raises ValueError, one line."""
    archive = list_clips(folder)
    listing = find_list(folder, listing)
    params = load_params(params_path)
    known = KnownSet(params, data)
    judge, notes = judge_of(known, models / "judge")
    if judge is None and known.name != "shapes":
        why = "".join(f" ({note.removeprefix('note: ')})" for note in notes)
        raise ValueError(f"clips of {known.name} are read by the networks in models/judge: run dvc repro judge{why}")
    asked = read_asked(listing, known, known.in_play if judge is None else judge.card.in_play)
    names = {one.name for one in asked.prompts} | asked.refused.keys()
    found = decode_clips(
        archive,
        names,
        frames=known.frames,
        resolution=known.resolution,
        fps=known.fps,
        transcode=params.transcode,
    )
    marks = mark(asked.prompts, found.frames, found.damaged, known, judge, params.evaluate)
    marks.metrics |= {"refused": len(asked.refused), "without_prompt": len(found.unasked)}
    troubles = list_troubles(marks, asked.refused, found.unasked)
    write_json(out / "metrics.json", rounded(marks.metrics))
    write_text(out / "clips.jsonl", verdict_lines(marks, asked.refused, found.unasked))
    write_marks_page(out / "index.html", marks, label=label, fps=known.fps, troubles=troubles, listing=listing.name)
    said = [f"note: {each.about} ({len(each.named)}): {'; '.join(each.lines)}" for each in troubles if each.named]
    return [*notes, *said, f"{label}: {len(marks.clips)} prompts of {known.name}: {headline(marks.metrics)}"]


def judge_of(known: KnownSet, folder: Path) -> tuple[Judge | None, list[str]]:
    """The set's judge where there is one, and a line where the one there is another set's."""
    if not (folder / CARD_FILE).is_file():
        return None, []
    judge = load_judge(folder, find_device())
    if judge.card.dataset != known.name or (known.is_drawn and judge.card.in_play != known.in_play):
        other = "other params" if judge.card.dataset == known.name else f"the set {judge.card.dataset}"
        return None, [f"note: {folder} was trained on {other}, not on {known.name} as params say: it is left out"]
    return judge, []


def list_troubles(marks: Marks, refused: dict[str, str], unasked: Sequence[str]) -> list[Trouble]:
    """By cause, what could not be marked."""
    gone = {clip.asked.name: clip.problem for clip in marks.clips if clip.problem}
    missing = {name: "" for name, why in gone.items() if why == NO_CLIP}
    return [
        Trouble("prompts without a clip, counted as wrong", missing),
        Trouble("clips that cannot be read, counted as wrong", {k: v for k, v in gone.items() if k not in missing}),
        Trouble("prompts left out", refused),
        Trouble("clips without a prompt, left out", dict.fromkeys(unasked, "")),
    ]


def verdict_lines(marks: Marks, refused: dict[str, str], unasked: Sequence[str]) -> str:
    """A line of JSON for each prompt, then for each that was left out, then for each clip without one."""
    facts = [clip.facts() for clip in marks.clips]
    facts += [{"name": name, "right": None, "problem": why} for name, why in refused.items()]
    facts += [{"name": name, "right": None, "problem": "no prompt"} for name in unasked]
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in facts)
