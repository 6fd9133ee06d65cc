"""Prompts to video files, by any trained model: `python -m pipeline.generate "a red circle moving up"`.

Everything about the model comes out of its folder, which may be a copy with no repository around it. Paths of what was
written go to stdout, one a line; notes to stderr. Each clip is known by (prompt, seed), whatever is made beside it.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from pipeline.config.params import SamplingParams, load_params
from pipeline.data.frames import frames_evenly
from pipeline.model_io.model_card import CARD_FILE, ModelCard, read_card
from pipeline.render.clips import FORMATS, write_clip
from pipeline.runtime.code import ROOT
from pipeline.runtime.device import find_device
from pipeline.sampling.defaults import SAMPLING_FILE
from pipeline.sampling.video_model import VideoModel, load_model
from pipeline.text.vocabulary import words_of

DEFAULT_MODEL = Path("models/unet")
PRETRAINED = Path("models/pretrained")
SLUG_CHARACTERS = 60
INDEX_FILE = "prompts.jsonl"
SAMPLERS = get_args(SamplingParams.model_fields["sampler"].annotation)


@dataclass(frozen=True)
class Request:
    """One clip to make."""

    prompt: str
    seed: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command. Raises ValueError, one line, on what a user can mend."""
    started = time.perf_counter()
    args = build_parser().parse_args(argv)
    prompts = collect_prompts([*args.prompts, *args.text], args.prompts_file)
    folder = args.model or default_model()
    card = read_card(folder)
    for note in unknown_word_notes(card, prompts):
        say(note)
    model = load_model(folder, find_device(args.device))
    sampling = choose_sampling(model, folder, args)
    check_frames(card, args.frames)
    requests = [Request(prompt, args.seed + k) for prompt in prompts for k in range(args.num_samples)]
    for request, frames in sample_all(model, requests, sampling.params, args.negative, args.batch_size):
        kept = frames if args.frames is None else frames_evenly(frames, args.frames)
        path = write_clip(reserve(args.out, request, args.format), kept, args.fps or card.fps, args.format)
        record(args.out, path, request, folder, sampling, args.negative)
        print(path, flush=True)
    say(f"{len(requests)} clip{'s' if len(requests) > 1 else ''} in {time.perf_counter() - started:.1f} s by {folder}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.generate", description="Sample videos for prompts from a trained model."
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="what to draw; quote each prompt")
    parser.add_argument("--text", action="append", default=[], help="one more prompt (may be repeated)")
    parser.add_argument("--prompts-file", type=Path, help="a text file with one prompt a line")
    parser.add_argument(
        "--model", "--model-path", type=Path, help=f"model folder (default: {DEFAULT_MODEL}, else {PRETRAINED}/…)"
    )
    parser.add_argument("--out", "--output-dir", type=Path, default=Path("samples"), help="folder (default: samples)")
    parser.add_argument("--format", choices=FORMATS, default="gif", help="png writes a folder of frames")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="of a prompt's first clip; the next adds one")
    parser.add_argument("--num-samples", type=_at_least(1), default=1, help="clips per prompt")
    parser.add_argument("--batch-size", type=_at_least(1), default=8, help="clips sampled at once; never changes them")
    parser.add_argument("--frames", type=_at_least(1), help="frames to keep, evenly over the clip")
    parser.add_argument("--fps", type=_playback_rate, help="playback rate (default: the model's)")
    parser.add_argument("--steps", type=_at_least(1), help="network evaluations (default: sampling in params.yaml)")
    parser.add_argument("--sampler", choices=SAMPLERS, help="default: sampling in params.yaml")
    parser.add_argument("--guidance", "--cond-scale", type=float, help="guidance scale, 1 for none")
    parser.add_argument("--negative", help="what to steer away from (diffusion models)")
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:1 …")
    return parser


def _at_least(low: int) -> Any:
    def whole_number(text: str) -> int:
        if int(text) < low:
            raise argparse.ArgumentTypeError(f"{text} is below {low}")
        return int(text)

    return whole_number


def _playback_rate(text: str) -> float:
    if not 0.0 < float(text) <= 50.0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and up to 50")
    return float(text)


def collect_prompts(given: Sequence[str], file: Path | None) -> list[str]:
    """The prompts in order, spaces trimmed. Raises ValueError where one is empty or there is none."""
    prompts = list(given)
    if file is not None:
        if not file.is_file():
            raise ValueError(f"{file}: no such prompts file; give a text file with one prompt a line")
        prompts += [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not prompts:
        raise ValueError('no prompt given; say what to draw, for example "a red circle moving up"')
    if not all(prompt.strip() for prompt in prompts):
        raise ValueError("empty prompt; say what to draw, or leave it out")
    return [" ".join(prompt.split()) for prompt in prompts]


def default_model() -> Path:
    """The model trained here, else the first one that came along."""
    candidates = [DEFAULT_MODEL, *sorted(PRETRAINED.glob("*"))]
    for folder in candidates:
        if (folder / CARD_FILE).is_file():
            return folder
    raise ValueError(f"no model in {DEFAULT_MODEL} or {PRETRAINED}; run dvc repro to train one, or name it by --model")


def unknown_word_notes(card: ModelCard, prompts: Sequence[str]) -> list[str]:
    """One note for each prompt with words that no train caption has."""
    known = set(card.vocabulary)
    notes = []
    for prompt in prompts if known else ():
        strange = [word for word in dict.fromkeys(words_of(prompt)) if word not in known]
        if strange:
            close = [match for word in strange for match in difflib.get_close_matches(word, known, 1, 0.75)]
            hint = f"; near: {', '.join(dict.fromkeys(close))}" if close else ""
            notes.append(f'note: "{prompt}": never seen in training: {", ".join(strange)}{hint}')
    return notes


@dataclass(frozen=True)
class SamplingChoice:
    """Sampling params of a run, and where those come from that no flag gave. `params` is None for a GAN."""

    params: SamplingParams | None
    source: str | None  # sampling.json | params.yaml | defaults


def choose_sampling(model: VideoModel, folder: Path, args: argparse.Namespace) -> SamplingChoice:
    """The flags, then the folder's sampling.json, then the repository's params.yaml, then the folder's defaults."""
    asked = {"sampler": args.sampler, "num_inference_steps": args.steps, "guidance_scale": args.guidance}
    changed = {key: value for key, value in asked.items() if value is not None}
    if model.sampling is None:
        if changed or args.negative:
            say("note: a GAN draws in one pass: steps, sampler, guidance and negative do nothing here")
        return SamplingChoice(None, None)
    base, source = model.sampling, "defaults"
    if (folder / SAMPLING_FILE).is_file():
        source = SAMPLING_FILE
    elif (ROOT / "params.yaml").is_file():
        base, source = load_params(ROOT / "params.yaml").sampling, "params.yaml"
    try:
        return SamplingChoice(SamplingParams.model_validate({**base.model_dump(), **changed}), source)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}={first['input']!r}: {first['msg'].lower()}") from None


def check_frames(card: ModelCard, frames: int | None) -> None:
    if frames is not None and frames > card.frames:
        raise ValueError(f"--frames {frames} does not fit: this model makes {card.frames} frames; give at most that")


def sample_all(
    model: VideoModel,
    requests: Sequence[Request],
    sampling: SamplingParams | None,
    negative: str | None,
    batch_size: int,
) -> Iterator[tuple[Request, Any]]:
    """Each request with its frames uint8 (F, H, W, C), batch by batch."""
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        clips = model.sample(
            [request.prompt for request in batch],
            [request.seed for request in batch],
            sampling=sampling,
            negative=[negative] * len(batch) if negative else None,
        )
        yield from zip(batch, clips, strict=True)


def slug(prompt: str) -> str:
    """A file name's part out of a prompt: letters and digits of any script, the rest as hyphens."""
    return re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")[:SLUG_CHARACTERS].strip("-") or "prompt"


def reserve(folder: Path, request: Request, format_: str) -> Path:
    """A new path without its suffix, claimed on disk so that no other run, now or later, gets it."""
    folder.mkdir(parents=True, exist_ok=True)
    counter = 1
    while True:
        name = f"{slug(request.prompt)}-seed{request.seed}" + (f"-{counter}" if counter > 1 else "")
        try:
            if format_ == "png":
                (folder / name).mkdir()
            else:
                (folder / f"{name}.{format_}").touch(exist_ok=False)
            return folder / name
        except FileExistsError:
            counter += 1


def record(
    folder: Path,
    path: Path,
    request: Request,
    model: Path,
    sampling: SamplingChoice,
    negative: str | None,
) -> None:
    """Append how a clip was made to the folder's index, so that it can be made again."""
    entry = {
        "file": path.name,
        "prompt": request.prompt,
        "seed": request.seed,
        "negative": negative,
        "model": str(model),
        "sampling": sampling.params.model_dump(mode="json") if sampling.params else None,
        "sampling_from": sampling.source,
    }
    with (folder / INDEX_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit(130)
