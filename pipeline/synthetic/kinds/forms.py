"""Sentence forms of the kinds of scene: which words a caption takes, and which forms never occur in train.

Every word of a held-out form occurs in train for the same meaning; the sentence does not. A form with its number fixes
each choice of words, so (form, meaning) is one caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from pipeline.synthetic.words import BACKGROUNDS, BEFORE_BACKGROUND, with_article

# {a} a red circle · {the} the red circle · {v} bounces off the left wall · {g} bouncing off the left wall
ONE = (
    "{a} {v}{bg}",
    "{a} is {g}{bg}",
    "there is {a} {g}{bg}",
    "a video of {a} {g}{bg}",
    "we see {a} {g}{bg}",
    "{a} {g}{bg}",
    "the video shows {a} {g}{bg}",
    "in this video {a} {v}{bg}",
    "{the} {v}{bg}",
    "{the} is {g}{bg}",
    "a clip of {a} that {v}{bg}",
    "{a} can be seen {g}{bg}",
    "an animation in which {a} {v}{bg}",
    "here {the} is {g}{bg}",
    "{a}, {g}{bg}",
    "a short animation of {a} {g}{bg}",
)
ONE_NEW = (
    "here we see {a} {g}{bg}",
    "in this clip {a} {v}{bg}",
    "the animation shows {a} {g}{bg}",
    "in this video there is {a} {g}{bg}",
    "a video in which {the} {v}{bg}",
    "here is {a} {g}{bg}",
    "a short clip of {a} {g}{bg}",
    "we see {a} that {v}{bg}",
)

NOUNS = {"a", "the", "b", "the_b"}  # slots with the same words in any form


@dataclass(frozen=True)
class Form:
    """A sentence form; `word` and `way` are its entries in lists of synonyms."""

    id: str
    text: str
    word: int
    way: int

    def say(self, slots: Mapping[str, str], background: str | None) -> str:
        """The caption. None: the background is not said."""
        where = ""
        if background is not None:
            before = BEFORE_BACKGROUND[self.word % len(BEFORE_BACKGROUND)]
            where = f" {before} {BACKGROUNDS[background]} background"
        return self.text.format_map({**slots, "bg": where})


@dataclass(frozen=True)
class Forms:
    """The forms in play: `train` for every split but reworded."""

    train: tuple[Form, ...]
    reworded: tuple[Form, ...]


def build_forms(kind: str, texts: Sequence[str], new: Sequence[str], held_out: int) -> Forms:
    """Hold out the first `held_out` of the new forms; the others join train.

    A new form takes its words from one of train that says the same.
    """
    known = tuple(Form(f"{kind}-{n:02d}", text, n, n // 2) for n, text in enumerate(texts))
    fresh = []
    for n, text in enumerate(new):
        lenders = [form for form in known if _slots(text) <= _slots(form.text)]
        lender = lenders[n % len(lenders)]
        fresh.append(Form(f"{kind}-new-{n:02d}", text, lender.word, lender.way))
    return Forms((*known, *fresh[held_out:]), tuple(fresh[:held_out]))


def _slots(text: str) -> set[str]:
    """Slots whose words depend on the form."""
    return {name for _, name, _, _ in Formatter().parse(text) if name} - NOUNS


def name_thing(shape: str, colour: str) -> dict[str, str]:
    """Slots of a thing: {a} and {the}."""
    return {"a": with_article(f"{colour} {shape}"), "the": f"the {colour} {shape}"}
