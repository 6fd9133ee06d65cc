"""A generate command from its checked arguments to clips on disk: the model, its sampling params, notes, batches."""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from tqdm import tqdm

from pipeline.config.models import SamplingParams
from pipeline.data.frames import enlarge, to_rgb
from pipeline.data.gif import decode_gif, frame_delay_cs
from pipeline.generation.clip_files import record, reserve, slug
from pipeline.generation.prompt_list import ListedPrompt
from pipeline.generation.unknown_words import Reader, known_words, unknown_words, word_notes
from pipeline.model_io.model_card import ModelCard
from pipeline.render.clips import write_clip
from pipeline.runtime.device import find_device
from pipeline.sampling.rollout import plan_windows, roll_out
from pipeline.sampling.standing import SamplingChoice, standing_sampling
from pipeline.sampling.video_model import VideoModel, check_given, check_takes_frames, load_model

BATCH_BYTES = 2**28  # of frames held at once: of very long clips fewer are drawn side by side
UNLIKE = 1.6  # of VideoModel.caption_distance; train captions of the default set reach 1.4


@dataclass(frozen=True)
class Request:
    """One clip to make; `weight` is its place between the clips of `--interpolate`, 0 the first and 1 the second."""

    prompt: str
    seed: int
    weight: float | None = None
    named: str = ""  # by a list of prompts

    @property
    def name(self) -> str:
        """The file name that it gets where nobody has it."""
        if self.named:
            return self.named
        between = "" if self.weight is None else f"-between{self.weight:.2f}"
        return f"{slug(self.prompt)}-seed{self.seed}{between}"


def draw(args: argparse.Namespace, listed: Sequence[ListedPrompt], folder: Path) -> int:
    """Draw each prompt by the model in `folder`; paths go to stdout. Returns the number of clips."""
    logging.getLogger("t2v").addHandler(logging.NullHandler())  # what it would say, the notes say
    model = load(folder, args)
    sampling = choose_sampling(folder, model.card, args)
    fps = playback_rate(model.card, args.frames, args.fps)
    prompts = [each.prompt for each in listed]
    check_lengths(model, [*prompts, *([args.negative] if args.negative else [])])
    for note in [*prompt_notes(model, prompts), *option_notes(model, sampling.params, args, fps)]:
        say(note)
    requests = list_requests(args, listed)
    pair = [read_clip(path, model.card) for path in args.interpolate or ()]
    given = given_frames(model.card, args)
    facts = {"negative": args.negative, "model": str(folder), "sampling_from": sampling.source}
    asked = {"given_frames": 0 if given is None else len(given)}  # here, whatever the params say of evaluation
    facts["sampling"] = {**sampling.params.model_dump(mode="json"), **asked} if sampling.params else None
    facts |= {"between": list(map(str, args.interpolate)), "strength": args.strength} if args.interpolate else {}
    facts |= {"first_frame": str(args.first_frame)} if args.first_frame else {}
    facts |= {"continued": str(args.continued)} if args.continued else {}
    for request, frames in sample_all(model, requests, sampling.params, args, pair, given):
        kept = frames if args.frames is None else keep_frames(frames, args.frames)
        place = args.out / request.name  # a list's name may lie in a folder below
        path = write(reserve(place.parent, place.name, args.format), kept, fps, args)
        made = {key: value for key, value in asdict(request).items() if value is not None and key != "named"}
        record(path, {**made, "frames": len(kept), "fps": fps, **facts})
        tqdm.write(str(path), file=sys.stdout)
    return len(requests)


def given_frames(card: ModelCard, args: argparse.Namespace) -> np.ndarray | None:
    """The first frames of every clip, uint8 (K, H, W, C), out of the picture or clip that the command names."""
    path = args.first_frame or args.continued
    if path is None:
        return None
    from pipeline.generation.given_clip import read_first_frame, read_last_frames, standing_fitting

    if args.interpolate:
        raise ValueError("--interpolate draws between two clips: leave out --first-frame and --continue")
    check_takes_frames(card)
    fitting = standing_fitting()
    given = (read_first_frame if args.first_frame else read_last_frames)(path, card, fitting)
    check_given(card, given[None])
    say(fitting.said(path, card))
    if args.continued:
        say(f"note: each clip begins with the last {len(given)} frames of {path}, {len(given) / card.fps:g} s")
    return given


def load(folder: Path, args: argparse.Namespace) -> VideoModel:
    """The model, its network run by the runtime asked for."""
    model = load_model(folder, find_device("cpu" if args.runtime == "onnx" else args.device))
    if args.runtime == "onnx":
        from pipeline.exporting.onnx_network import load_onnx

        if model.card.family != "unet":
            raise ValueError("--runtime onnx runs U-Nets; this is a GAN")
        if args.first_frame or args.continued or (args.frames or 0) > model.card.frames:
            raise ValueError("--runtime onnx draws from text alone: no first frame, no longer clips; take torch")
        model.network = load_onnx(folder, model.card, model.network.conditioning)
    return model


def choose_sampling(folder: Path, card: ModelCard, args: argparse.Namespace) -> SamplingChoice:
    """The standing params with the command's flags."""
    standing = standing_sampling(folder, card)
    if standing.params is None:
        return standing
    try:
        changed = SamplingParams.read({**standing.params.model_dump(), **flags(args)})
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{first['loc'][0]}={first['input']!r}: {first['msg'].lower()}") from None
    return SamplingChoice(changed, standing.source)


def flags(args: argparse.Namespace) -> dict[str, Any]:
    """The sampling params that the command line gives."""
    asked = {"sampler": args.sampler, "num_inference_steps": args.steps, "guidance_scale": args.guidance}
    return {key: value for key, value in asked.items() if value is not None}


def playback_rate(card: ModelCard, frames: int | None, fps: float | None) -> float:
    """The rate asked for, else the one at which the kept frames last as long as the whole clip."""
    if frames is not None and frames > card.frames:
        plan_windows(card, frames)
    return fps or card.fps * min(1.0, (frames or card.frames) / card.frames)


def keep_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of (F, H, W, C), or all of a longer clip, at even distances from the first, as training takes them."""
    from pipeline.model_io.clip_decoding import frame_indices

    return frames[frame_indices(len(frames), count)]


def check_lengths(model: VideoModel, prompts: Sequence[str]) -> None:
    """Raise ValueError, naming the first, where prompts are longer than the encoder takes."""
    if model.encoder is None:
        return
    limit = model.encoder.info.max_tokens
    lengths = [len(ids) for ids in model.encoder.token_ids(prompts)]
    long = [place for place, length in enumerate(lengths) if length > limit]
    if long:
        first = long[0]
        more = f" (and {len(long) - 1} more)" if len(long) > 1 else ""
        raise ValueError(
            f'prompt "{prompts[first][:60]}…" has {lengths[first]} tokens, this model reads {limit}{more}; '
            "shorten it; nothing was drawn"
        )


def prompt_notes(model: VideoModel, prompts: Sequence[str]) -> list[str]:
    """Lines about what the model will not understand in the prompts."""
    vocabulary, encoder = model.card.vocabulary, model.encoder
    if model.card.family == "unet" and encoder is None:
        return ["warning: this model reads no text: the prompt does nothing"]
    distinct = list(dict.fromkeys(prompts))
    notes = word_notes(distinct, vocabulary, None if encoder is None else Reader(encoder, model.read_captions))
    unlike = [line for prompt in distinct if (line := unlike_note(model, prompt)) is not None]
    return notes + unlike + ([known_words(vocabulary)] if unlike and not notes else [])


def unlike_note(model: VideoModel, prompt: str) -> str | None:
    """A line about a prompt in known words that is still far from all train captions, such as a very short one."""
    if not model.card.vocabulary or unknown_words(prompt, model.card.vocabulary):
        return None
    distance = model.caption_distance([prompt])
    if distance is None or distance[0] < UNLIKE:
        return None
    return (
        f'note: "{prompt}" is unlike the train captions (distance {distance[0]:.1f}, theirs 1.0 on average): '
        "what it leaves unsaid may come out blank or mixed; say more"
    )


def option_notes(model: VideoModel, sampling: SamplingParams | None, args: argparse.Namespace, fps: float) -> list[str]:
    """Lines about options that do nothing, or something else than they seem to."""
    notes = []
    if sampling is None:
        if args.interpolate:
            raise ValueError("--interpolate needs a diffusion model; this is a GAN, which draws from noise alone")
        if flags(args) or args.negative:
            notes.append("note: a GAN draws in one pass: steps, sampler, guidance and negative do nothing here")
    else:
        assert model.sampling is not None
        if sampling.num_inference_steps == 1 < model.sampling.num_inference_steps:
            usual = model.sampling.num_inference_steps
            notes.append(f"warning: one step draws the mean of all that fits: a blank or a blur; usual are {usual}")
        if sampling.guidance_scale == 0.0:
            notes.append(f"warning: guidance 0 leaves the prompt out{' and draws the negative' * bool(args.negative)}")
        if sampling.guidance_scale == 1.0 and args.negative:
            notes.append("note: guidance 1 leaves the negative prompt out; give more")
    if args.frames is not None and args.fps is None and args.frames < model.card.frames:
        notes.append(f"note: {args.frames} of {model.card.frames} frames at {fps:g} fps: as long as the whole clip")
    if args.fps is not None and args.format in ("png", "npy"):
        notes.append(f"note: {args.format} holds frames without a rate: --fps does nothing")
    played = 100 / frame_delay_cs(fps)
    if args.format == "gif" and abs(played / fps - 1) > 0.01:
        notes.append(f"note: a GIF's delays are whole 1/100 s: it plays at {played:.3g} fps")
    return notes


def list_requests(args: argparse.Namespace, listed: Sequence[ListedPrompt]) -> list[Request]:
    """`num_samples` clips a prompt: seeds that count up, or places between two clips with one seed.

    A list's clips have its names, where there are several of a prompt with their number.
    """
    count = args.num_samples
    weights: list[float | None] = [None] * count
    if args.interpolate:
        weights = [k / (count - 1) for k in range(count)] if count > 1 else [0.5]
    requests = []
    for each in listed:
        first = args.seed if each.seed is None else each.seed
        for k, weight in enumerate(weights):
            named = f"{each.name}-{k + 1}" if each.name and count > 1 else each.name
            requests.append(Request(each.prompt, first + (k if weight is None else 0), weight, named))
    return requests


def read_clip(path: Path, card: ModelCard) -> np.ndarray:
    """A GIF or NPY file as uint8 (F, H, W, C) of the model's shape. Raises ValueError where it is neither."""
    from pipeline.model_io.clip_decoding import ClipShape, fit_clip

    try:
        if path.suffix.lower() == ".npy":
            frames = np.load(path, allow_pickle=False)
        else:
            frames = decode_gif(path.read_bytes(), card.frames)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: no GIF or NPY clip: {' '.join(str(error).split())}") from None
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(f"{path}: {frames.dtype} {frames.shape}; a clip is uint8 (frames, height, width, channels)")
    if frames.shape == (card.frames, card.resolution, card.resolution, card.channels):
        return frames
    try:
        return fit_clip(to_rgb(frames), ClipShape(card.frames, card.resolution, card.channels))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def sample_all(
    model: VideoModel,
    requests: Sequence[Request],
    sampling: SamplingParams | None,
    args: argparse.Namespace,
    pair: Sequence[np.ndarray],  # of the clips to interpolate; empty: none
    given: np.ndarray | None,  # uint8 (K, H, W, C): first frames of every clip
) -> Iterator[tuple[Request, np.ndarray]]:
    """Each request with its frames uint8 (F, H, W, C), batch by batch; a bar of steps on a terminal."""
    card = model.card
    frames = max(args.frames or 0, card.frames)
    batch_size = min(args.batch_size, max(1, BATCH_BYTES // (frames * card.resolution**2 * card.channels)))
    starts = range(0, len(requests), batch_size)
    steps = sampling.num_inference_steps * plan_windows(card, frames).count if sampling and not pair else 1
    with tqdm(total=len(starts) * steps, unit="step", desc=f"{len(requests)} clips", disable=None, leave=False) as bar:
        for start in starts:
            batch = requests[start : start + batch_size]
            prompts, seeds = [request.prompt for request in batch], [request.seed for request in batch]
            if pair:
                weights = [request.weight for request in batch if request.weight is not None]
                strength = args.strength
                clips = model.interpolate(prompts, seeds, *pair, weights=weights, strength=strength, sampling=sampling)
            else:
                against = [args.negative] * len(batch) if args.negative else None
                tick = lambda *_: bar.update()  # noqa: E731
                clips = np.concatenate(
                    list(
                        roll_out(
                            model,
                            prompts,
                            seeds,
                            frames,
                            given=None if given is None else given[None].repeat(len(batch), axis=0),
                            sampling=sampling,
                            negative=against,
                            callback=tick,
                        )
                    ),
                    axis=1,
                )
            bar.update(1 if pair or sampling is None else 0)
            yield from zip(batch, clips, strict=True)


def write(path: Path, frames: np.ndarray, fps: float, args: argparse.Namespace) -> Path:
    """Write a clip under its reserved name; where that fails, the name is free again."""
    target = path if args.format == "png" else path.with_name(f"{path.name}.{args.format}")
    try:
        return write_clip(path, enlarge(frames, args.scale), fps, args.format)
    except OSError:
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        raise


def say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)
