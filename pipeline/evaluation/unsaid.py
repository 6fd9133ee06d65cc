"""Attributes that a caption leaves out, and clips that show nothing: does a model choose the rest, and draw it?

"a triangle" has some colour and moves somehow. A good model draws one clean clip of it each time, and over many seeds
each value of what is not said about as often as the set's clips that agree with the caption have it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.prompts import PromptSet
from pipeline.evaluation.shares import wilson_share
from pipeline.judge.oracles.reading import ObjectReading, Reading
from pipeline.judge.oracles.world.score import is_single
from pipeline.synthetic.partial_captions import PartialCaption, partial_captions

CLIPS_PER_CAPTION = 16  # seeds of each: enough to see whether it always gives the same


@dataclass(frozen=True)
class UnsaidPrompts:
    """Prompts cut from true clips, with what each says and leaves out."""

    prompts: PromptSet
    cuts: list[PartialCaption]  # one per prompt
    in_play: Mapping[str, Sequence[Any]]  # attribute values of the set


def unsaid_prompts(
    seen: PromptSet, in_play: Mapping[str, Sequence[Any]], count: int, seed: int
) -> UnsaidPrompts | None:
    """`count` prompts, a few captions by many seeds; None where captions of the set leave no way to leave out."""
    single = [row for row, each in enumerate(seen.attributes) if is_single(each)]
    things = [seen.attributes[row]["objects"][0] for row in single]
    distinct = partial_captions(things, in_play, -(-count // CLIPS_PER_CAPTION), seed) if things else []
    if not distinct:
        return None
    cuts = [distinct[place % len(distinct)] for place in range(count)]
    rows = [single[cut.number] for cut in cuts]
    prompts = PromptSet(
        "unsaid",
        [cut.caption for cut in cuts],
        [seen.attributes[row] for row in rows],
        [seen.keys[row] for row in rows],
        seen.real[rows],
        seed,
    )
    return UnsaidPrompts(prompts, cuts, in_play)


def blank_metrics(readings: Sequence[Reading], prefix: str = "") -> dict[str, float]:
    """Shares of the clips that show nothing in any frame (`blank_share`), and in some frames only (`part_blank_share`).

    At least one reading.
    """
    blank = sum(reading.empty == 1.0 for reading in readings)
    part = sum(0.0 < reading.empty < 1.0 for reading in readings)
    return {f"{prefix}blank_share": blank / len(readings), f"{prefix}part_blank_share": part / len(readings)}


def unsaid_wrong(asked: UnsaidPrompts, row: int, reading: Reading) -> tuple[str, ...]:
    """Names of what keeps a clip from being clean: said and not shown, or left out and shown as no value there is."""
    if reading.empty > 0.0:
        return ("blank",)
    if reading.count != 1:
        return ("count",)
    cut, thing = asked.cuts[row], reading.objects[0]
    truth = asked.prompts.attributes[row]["objects"][0]
    wrong = [name for name in cut.said if getattr(thing, name) != truth[name]]
    return (*wrong, *(name for name in cut.unsaid if not _is_value(thing, name, asked.in_play)))


def _is_value(thing: ObjectReading, name: str, in_play: Mapping[str, Sequence[Any]]) -> bool:
    return getattr(thing, name) in in_play[name] or (name == "speed" and _has_no_speed(thing, in_play))


def _has_no_speed(thing: ObjectReading, in_play: Mapping[str, Sequence[Any]]) -> bool:
    return thing.speed == "none" and thing.motion in in_play["motion"]


def unsaid_metrics(
    asked: UnsaidPrompts,
    readings: Sequence[Reading],
    real: Sequence[Mapping[str, Any]],  # true attributes of objects of the set, by which a value's share is known
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Metrics `unsaid.*`, and a table of values: how often each was chosen, over how often real clips have it.

    `clean`: share of clips with one steady object that has all that is said and some value of all that is not. By
    attribute left out: `clear` (share of clips with a value that the oracle can name), `least_ratio` and `most_ratio`
    (a value's share among these over its share in real clips that the caption is true of), and `agreement` (how often
    two seeds of one caption give the same value) beside `agreement_real` (how often two such real clips do).
    """
    clean = wilson_share(sum(not unsaid_wrong(asked, row, each) for row, each in enumerate(readings)), len(readings))
    metrics: dict[str, Any] = {"unsaid.clips": len(readings), "unsaid.clean": clean.value}
    metrics |= {"unsaid.clean_low": clean.low, "unsaid.clean_high": clean.high}
    metrics |= blank_metrics(readings, "unsaid.")
    table: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for cut in asked.cuts for name in cut.unsaid):
        rows, found = _one_attribute(name, asked, readings, real)
        metrics |= {f"unsaid.{name}.{key}": value for key, value in found.items()}
        table += rows
    return metrics, table


def _one_attribute(
    name: str, asked: UnsaidPrompts, readings: Sequence[Reading], real: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    chosen: defaultdict[PartialCaption, Counter[Any]] = defaultdict(Counter)
    clips = 0
    for cut, reading in zip(asked.cuts, readings, strict=True):
        thing = reading.objects[0] if len(reading.objects) == 1 else None
        if name not in cut.unsaid or (name == "speed" and thing and _has_no_speed(thing, asked.in_play)):
            continue
        clips += 1
        if thing is not None and _is_value(thing, name, asked.in_play):
            chosen[cut][getattr(thing, name)] += 1
    shares = {cut: _real_shares(name, cut, asked, real) for cut in chosen}
    rows = _value_rows(name, chosen, shares)
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    pairs = {cut: counts.total() * (counts.total() - 1) for cut, counts in chosen.items()}
    same = sum(n * (n - 1) for counts in chosen.values() for n in counts.values())
    same_real = sum(pairs[cut] * sum(share**2 for share in shares[cut].values()) for cut in chosen)
    return rows, {
        "clips": clips,
        "clear": sum(counts.total() for counts in chosen.values()) / clips if clips else None,
        "least_ratio": min(ratios, default=None),
        "most_ratio": max(ratios, default=None),
        "agreement": same / sum(pairs.values()) if any(pairs.values()) else None,
        "agreement_real": same_real / sum(pairs.values()) if any(pairs.values()) else None,
    }


def _real_shares(
    name: str, cut: PartialCaption, asked: UnsaidPrompts, real: Sequence[Mapping[str, Any]]
) -> dict[Any, float]:
    """Shares of an attribute's values among the real objects that have all that a caption says."""
    truth = asked.prompts.attributes[asked.cuts.index(cut)]["objects"][0]
    alike = [thing for thing in real if all(thing.get(said) == truth[said] for said in cut.said)] or [truth]
    counts = Counter(thing[name] for thing in alike if thing.get(name) is not None)
    return {value: count / counts.total() for value, count in counts.items()}


def _value_rows(
    name: str, chosen: Mapping[PartialCaption, Counter[Any]], shares: Mapping[PartialCaption, Mapping[Any, float]]
) -> list[dict[str, Any]]:
    """A row per value: its share of the clips, and the share it would have if clips were chosen as real ones are."""
    total: Counter[Any] = sum(chosen.values(), Counter())
    real: defaultdict[Any, float] = defaultdict(float)
    for cut, counts in chosen.items():
        for value, share in shares[cut].items():
            real[value] += share * counts.total() / total.total()
    rows = []
    for value in sorted(real.keys() | total.keys(), key=str):
        share = total[value] / total.total()
        ratio = share / real[value] if real[value] > 0.0 else None
        row = {"attribute": name, "value": str(value), "clips": total[value], "share": share}
        rows.append(row | {"real_share": real[value], "ratio": ratio})
    return rows
