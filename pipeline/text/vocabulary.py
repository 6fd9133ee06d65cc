"""The words of captions: what counts as one, and the distinct ones of a set."""

from __future__ import annotations

from collections.abc import Sequence


def vocabulary_of(captions: Sequence[str]) -> tuple[str, ...]:
    """The distinct words of captions, sorted."""
    return tuple(sorted({word for caption in captions for word in words_of(caption)}))


def words_of(caption: str) -> list[str]:
    """Lower-case words of a caption, punctuation off; hyphens stay inside a word."""
    stripped = (word.strip(".,;:!?\"'()[]") for word in caption.lower().split())
    return [word for word in stripped if word]
