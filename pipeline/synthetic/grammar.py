"""Captions: a meaning (who does what, how fast, before what) said in many sentences.

A template is one sentence form together with its choice of words, so (template, meaning) is one caption. Some templates
never occur in train; each of their words does, for the same meaning, but the sentence does not (`reworded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.data import SyntheticParams
from pipeline.synthetic.words import BACKGROUNDS, BEFORE_BACKGROUND, DIGITS, SIZES, SPEEDS, does, with_article


@dataclass(frozen=True)
class Template:
    """A sentence form. `clause` is said of each object, `join` stands between the last two of several."""

    id: str
    clause: str
    verb: int  # which entry of words.VERBS, WAYS and PHRASES, SPEEDS and BEFORE_BACKGROUND
    way: int
    speed: int
    before: int
    opening: str = ""
    join: str = ""


@dataclass(frozen=True)
class ObjectPhrase:
    """One object of a meaning. None: not said."""

    noun: str  # "circle", "digit"
    adjective: str  # "red"; of a digit its name, "3" or "three" by template
    motion: str
    size: str | None = None
    speed: str | None = None
    colour_to: str = ""


# {a} a red circle · {the} · {one} · {that} a circle that is red · {called} a circle coloured red
# {noun} circle · {is} red · {v} moves left · {g} moving left · {bg} on a striped background
# {adv} slowly, after the verb · {pre} slowly, before it, if it is one word · {post} after it, if it is not
_SINGLE = (
    "{a} {v}{adv}{bg}",
    "{the} {v}{adv}{bg}",
    "{a} is {g}{adv}{bg}",
    "{the} is {g}{adv}{bg}",
    "{a} {g}{adv}{bg}",
    "{one} {v}{adv}{bg}",
    "{a} {pre}{v}{post}{bg}",
    "a video of {a} {g}{adv}{bg}",
    "there is {a} {g}{adv}{bg}",
    "{that} {v}{adv}{bg}",
    "{the} is {pre}{g}{post}{bg}",
    "{g}{adv}{bg}, {a}",
    "in this video {a} {v}{adv}{bg}",
    "the video shows {a} {g}{adv}{bg}",
    "{called} is {g}{adv}{bg}",
    "a clip of {one} {g}{adv}{bg}",
    "the {noun} is {is} and {v}{adv}{bg}",
    "we see {a} that {v}{adv}{bg}",
    "{a} can be seen {g}{adv}{bg}",
    "a short animation of {a} {pre}{g}{post}{bg}",
    "here {the} {v}{adv}{bg}",
    "there is {a} that is {g}{adv}{bg}",
    "an animation in which {a} {v}{adv}{bg}",
    "this is {a} and it {v}{adv}{bg}",
    "{one} is {pre}{g}{post}{bg}",
    "{a}, {g}{adv}{bg}",
    "this video shows {the}, which is {g}{adv}{bg}",
    "a video of {that} and {v}{adv}{bg}",
)
_SINGLE_REWORDED = (
    "in this clip {the} is {pre}{g}{post}{bg}",
    "the animation shows {a} that {v}{adv}{bg}",
    "here is {one}, {g}{adv}{bg}",
    "in this video there is {a} and it {v}{adv}{bg}",
    "{the} can be seen here, {g}{adv}{bg}",
    "a video in which {the} {pre}{v}{post}{bg}",
    "a short clip that shows {a} {g}{adv}{bg}",
    "{the} we see here is {g}{adv}{bg}",
)
_SEVERAL = (  # opening, clause, join
    ("", "{a} {v}{adv}", "and"),
    ("", "{a} {v}{adv}", "while"),
    ("", "{the} is {g}{adv}", "and"),
    ("", "{a} {g}{adv}", "and"),
    ("there is ", "{a} {g}{adv}", "and"),
    ("a video of ", "{a} {g}{adv}", "and"),
    ("a video of ", "{a} that {v}{adv}", "and"),
    ("the video shows ", "{a} {g}{adv}", "and"),
    ("in this video ", "{a} {v}{adv}", "while"),
    ("we see ", "{a} {g}{adv}", "and"),
    ("", "{one} {pre}{v}{post}", "and"),
    ("an animation in which ", "{the} is {g}{adv}", "and"),
    ("a clip of ", "{one} that {v}{adv}", "and"),
    ("here ", "{a} is {pre}{g}{post}", "while"),
    ("", "{that} {v}{adv}", "and"),
    ("", "{called} is {g}{adv}", "while"),
)
_SEVERAL_REWORDED = (
    ("in this clip ", "{the} is {g}{adv}", "while"),
    ("the animation shows ", "{a} that {v}{adv}", "and"),
    ("here we see ", "{one} {g}{adv}", "and"),
    ("a video in which ", "{the} {pre}{v}{post}", "while"),
    ("this is a clip of ", "{a} that is {g}{adv}", "and"),
    ("in this video there is ", "{one} {g}{adv}", "and"),
    ("this animation shows ", "{a} {g}{adv}", "and"),
    ("a clip in which ", "{a} {v}{adv}", "while"),
)


@dataclass(frozen=True)
class Grammar:
    """The templates in play: `train` for every split but reworded; [0] for one object, [1] for several."""

    train: tuple[tuple[Template, ...], tuple[Template, ...]]
    reworded: tuple[tuple[Template, ...], tuple[Template, ...]]

    def ids(self) -> dict[str, list[str]]:
        """Template ids by split."""
        return {
            "train": [template.id for kind in self.train for template in kind],
            "reworded": [template.id for kind in self.reworded for template in kind],
        }


def build_grammar(params: SyntheticParams, objects: Sequence[int]) -> Grammar:
    """Hold out the first `held_out_templates` of those that can be; the others join train."""
    k = params.held_out_templates
    one = _templates("one", [("", clause, "") for clause in _SINGLE], 0)
    one_new = _templates("one-new", [("", clause, "") for clause in _SINGLE_REWORDED], 1)
    many, many_new = _templates("many", _SEVERAL, 0), _templates("many-new", _SEVERAL_REWORDED, 1)
    train = (one + one_new[k:] if 1 in objects else (), many + many_new[k:] if max(objects) > 1 else ())
    return Grammar(train, (one_new[:k] if 1 in objects else (), many_new[:k] if max(objects) > 1 else ()))


def _templates(name: str, forms: Sequence[tuple[str, str, str]], shift: int) -> tuple[Template, ...]:
    """Sentence forms with their choice of words; `shift` gives another choice."""
    return tuple(
        Template(f"{name}-{n:02d}", clause, n + shift, n // 2 + 2 * shift, n + shift, n + shift, opening, join)
        for n, (opening, clause, join) in enumerate(forms)
    )


def choose(grammar: Grammar, split: str, several: bool, count: int, rng: np.random.Generator) -> list[Template]:
    """`count` different templates for a clip, or as many as its split has."""
    templates = (grammar.reworded if split == "reworded" else grammar.train)[several]
    return [templates[i] for i in rng.choice(len(templates), min(count, len(templates)), replace=False)]


def say(template: Template, objects: Sequence[ObjectPhrase], background: str | None) -> str:
    """The caption of a template for a meaning."""
    where = place(template, background)
    clauses = [template.clause.format_map(_slots(template, item, where)) for item in objects]
    if not template.join:
        return clauses[0]
    text = f" {template.join} ".join([", ".join(clauses[:-1]), clauses[-1]])
    return template.opening + text + where


def place(template: Template, background: str | None) -> str:
    """The words for a background, " on a striped background"; none for None."""
    if background is None:
        return ""
    return f" {BEFORE_BACKGROUND[template.before % len(BEFORE_BACKGROUND)]} {BACKGROUNDS[background]} background"


def _slots(template: Template, item: ObjectPhrase, where: str) -> dict[str, str]:
    finite, participle = does(item.motion, template.verb, template.way, item.adjective, item.colour_to)
    before, after = _adverbs(template, item.speed, finite)
    return {
        **(_digit(template, item) if item.noun == "digit" else _shape(item)),
        "v": finite,
        "g": participle,
        "adv": f" {after}" if after else "",
        "pre": f"{before} " if before else "",
        "post": "" if before or not after else f" {after}",
        "bg": where,
    }


def _adverbs(template: Template, speed: str | None, finite: str) -> tuple[str, str]:
    """The words for a speed before the verb (one word, or none), and after it: never "vertically quickly"."""
    if speed is None:
        return "", ""
    words = SPEEDS[speed]
    after = words[template.speed % len(words)]
    before = after if " " not in after else ""
    if before and finite.endswith("ly"):
        after = words[(template.speed + 1) % len(words)]
    return before, after


def _shape(item: ObjectPhrase) -> dict[str, str]:
    size = f"{SIZES[item.size]} " if item.size else ""
    noun, whole = f"{size}{item.noun}", f"{size}{item.adjective} {item.noun}"
    return {
        "a": with_article(whole),
        "the": f"the {whole}",
        "one": f"one {whole}",
        "that": f"{with_article(noun)} that is {item.adjective}",
        "called": f"{with_article(noun)} coloured {item.adjective}",
        "noun": noun,
        "is": item.adjective,
    }


def _digit(template: Template, item: ObjectPhrase) -> dict[str, str]:
    name = item.adjective if (template.verb + template.way) % 2 else DIGITS[int(item.adjective)]
    return {
        "a": f"a handwritten {name}" if template.speed % 2 else f"a white {name}",
        "the": f"the digit {name}" if template.speed % 2 else f"the number {name}",
        "one": f"one handwritten {name}",
        "that": f"a digit that is {with_article(name)}",
        "called": f"the white digit {name}",
        "noun": "digit",
        "is": with_article(name),
    }
