"""A sentence back into its meaning: the grammar of a generated set read the other way.

A template says its clauses of each object (grammar.py), so all clauses that a set can say are tried: a sentence is one
of the set's exactly where `grammar.say` gives it for some template and meaning, and `read_caption` finds which.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.synthetic.grammar import Grammar, ObjectPhrase, Template, place, say


@dataclass(frozen=True)
class Meaning:
    """The objects of a caption in its order, its background where it says one, and whether its form is a new one."""

    phrases: tuple[ObjectPhrase, ...]
    background: str | None
    reworded: bool


class CaptionReader:
    """Reads the captions of one set."""

    def __init__(self, grammar: Grammar, phrases: Sequence[ObjectPhrase], backgrounds: Sequence[str | None]) -> None:
        self.grammar, self.phrases, self.backgrounds = grammar, phrases, backgrounds
        self._clauses: dict[tuple[Template, str | None], dict[str, ObjectPhrase]] = {}

    def read(self, caption: str) -> Meaning | None:
        """The meaning of a caption; None where no template of the set says it."""
        for reworded, kinds in ((False, self.grammar.train), (True, self.grammar.reworded)):
            for template in (*kinds[0], *kinds[1]):
                for background in self.backgrounds:
                    found = self._objects(template, background, caption)
                    if found is not None:
                        return Meaning(found, background, reworded)
        return None

    def _objects(self, template: Template, background: str | None, caption: str) -> tuple[ObjectPhrase, ...] | None:
        if not template.join:
            phrase = self._known(template, background).get(caption)
            return None if phrase is None else (phrase,)
        where, join = place(template, background), f" {template.join} "
        if not (caption.startswith(template.opening) and caption.endswith(where) and join in caption):
            return None
        text = caption[len(template.opening) : len(caption) - len(where)]
        clauses = self._known(template, None)
        for start in range(len(text)):
            last = text[start + len(join) :]
            if text.startswith(join, start) and last in clauses:
                first = _by_commas(text[:start], clauses)
                if first is not None:
                    return tuple(clauses[part] for part in (*first, last))
        return None

    def _known(self, template: Template, background: str | None) -> Mapping[str, ObjectPhrase]:
        """Each clause that a template can say, with its object."""
        key = (template, background)
        if key not in self._clauses:
            alone = replace(template, opening="", join="")
            self._clauses[key] = {say(alone, [phrase], background): phrase for phrase in self.phrases}
        return self._clauses[key]


def _by_commas(text: str, clauses: Container[str]) -> tuple[str, ...] | None:
    """The known clauses that a text is made of, with commas between; None where it is not."""
    if text in clauses:
        return (text,)
    for end in range(len(text)):
        if text.startswith(", ", end) and text[:end] in clauses:
            rest = _by_commas(text[end + 2 :], clauses)
            if rest is not None:
                return (text[:end], *rest)
    return None
