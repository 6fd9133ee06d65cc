"""Prompts as people give them: words on a command line, or a text file from any editor. Imports nothing heavy."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

COMMENT = "#"
MARKS = (  # byte order marks; UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def collect_prompts(given: Sequence[str], file: Path | None) -> list[str]:
    """The given prompts, then the file's, spaces trimmed. Raises ValueError where one is empty or there is none."""
    if not all(prompt.strip() for prompt in given):
        raise ValueError("empty prompt; say what to draw, or leave it out")
    prompts = [*given, *(read_prompts_file(file) if file is not None else [])]
    if not prompts:
        raise ValueError('no prompt given; say what to draw, for example "a red circle moves up"')
    return [" ".join(prompt.split()) for prompt in prompts]


def read_prompts_file(path: Path) -> list[str]:
    """One prompt a line; blank lines and lines that begin with # are left out. Raises ValueError, one line."""
    if not path.is_file():
        raise ValueError(f"{path}: no such prompts file; give a text file with one prompt a line")
    lines = (line.strip() for line in read_text(path).splitlines())
    prompts = [line for line in lines if line and not line.startswith(COMMENT)]
    if not prompts:
        raise ValueError(f"{path}: no prompt in this file; write one a line (lines that begin with # are comments)")
    return prompts


def read_text(path: Path) -> str:
    """UTF-8 with or without its mark, UTF-16 or UTF-32 with theirs. Raises ValueError, one line, on what is no text."""
    data = path.read_bytes()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}: line {line} is not {encoding.upper()}; save the file as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path}: holds zero bytes, so it is no UTF-8 text; save the file as UTF-8")
    return text
