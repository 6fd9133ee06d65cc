"""A sentence back into its meaning: the grammar of a generated set read the other way.

A template says its clauses of each object (grammar.py), so the clauses that it can say of the things a sentence names
are tried: a sentence is one of the set's exactly where `grammar.say` gives it for some template and meaning.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from pipeline.synthetic.grammar import Grammar, ObjectPhrase, Template, place, say
from pipeline.synthetic.words import DIGITS

Thing = tuple[str, str]  # noun and adjective


@dataclass(frozen=True)
class Meaning:
    """The objects of a caption in its order, its background where it says one, and whether its form is a new one."""

    phrases: tuple[ObjectPhrase, ...]
    background: str | None
    reworded: bool


class CaptionReader:
    """Reads the captions of one set."""

    def __init__(self, grammar: Grammar, phrases: Sequence[ObjectPhrase], backgrounds: Sequence[str | None]) -> None:
        self.grammar, self.backgrounds = grammar, backgrounds
        self._phrases: dict[Thing, list[ObjectPhrase]] = {}
        for phrase in phrases:
            self._phrases.setdefault((phrase.noun, phrase.adjective), []).append(phrase)
        self._clauses: dict[tuple[Template, Thing], dict[str, ObjectPhrase]] = {}

    def read(self, caption: str) -> Meaning | None:
        """The meaning of a caption; None where no template of the set says it."""
        things = [thing for thing in self._phrases if _names(caption, thing)]
        for reworded, kinds in ((False, self.grammar.train), (True, self.grammar.reworded)):
            for template in (*kinds[0], *kinds[1]):
                for background in self.backgrounds:
                    found = self._objects(template, background, caption, things)
                    if found and say(template, found, background) == caption:
                        return Meaning(found, background, reworded)
        return None

    def _objects(
        self, template: Template, background: str | None, caption: str, things: Sequence[Thing]
    ) -> tuple[ObjectPhrase, ...]:
        """The objects that a template may have said the caption of; none where it has not."""
        where, join = place(template, background), f" {template.join} "
        if where not in caption or not caption.startswith(template.opening):
            return ()
        text = (
            caption.removeprefix(template.opening).replace(where, "", 1) if where else caption[len(template.opening) :]
        )
        clauses: ChainMap[str, ObjectPhrase] = ChainMap(*(self._known(template, thing) for thing in things))
        if not template.join:
            return (clauses[text],) if text in clauses else ()
        for start in range(len(text)):
            last = text[start + len(join) :]
            if text.startswith(join, start) and last in clauses:
                first = _by_commas(text[:start], clauses)
                if first:
                    return tuple(clauses[part] for part in (*first, last))
        return ()

    def _known(self, template: Template, thing: Thing) -> dict[str, ObjectPhrase]:
        """Each clause that a template can say of a thing, without a background, with its meaning."""
        key = (template, thing)
        if key not in self._clauses:
            alone = replace(template, opening="", join="")
            self._clauses[key] = {say(alone, [phrase], None): phrase for phrase in self._phrases[thing]}
        return self._clauses[key]


def _names(caption: str, thing: Thing) -> bool:
    noun, adjective = thing
    if noun == "digit":
        return adjective in caption or DIGITS[int(adjective)] in caption
    return noun in caption and adjective in caption


def _by_commas(text: str, clauses: Container[str]) -> tuple[str, ...]:
    """The known clauses that a text is made of, with commas between; none where it is not."""
    if text in clauses:
        return (text,)
    for end in range(len(text)):
        if text.startswith(", ", end) and text[:end] in clauses:
            rest = _by_commas(text[end + 2 :], clauses)
            if rest:
                return (text[:end], *rest)
    return ()
