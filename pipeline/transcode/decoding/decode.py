"""One clip's bytes to n square uint8 frames, by PyAV.

Frames are chosen by presentation time: at i·D/n after the first frame, D being the whole clip or its first seconds; a
time after the end shows the last frame. Pixels are scaled as displayed: cropped, rotated, with square pixels, HDR
tone-mapped, alpha laid over a ground. What cannot be shown right is an error with the decoder's words, never a grey or
black frame.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import av
import av.logging
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from pipeline.transcode.decoding.clock import Pictures
from pipeline.transcode.decoding.cropping import Crop, container_crop
from pipeline.transcode.decoding.gops import idle_packets
from pipeline.transcode.decoding.picture_files import is_animated, picture_kind, refuse_cut
from pipeline.transcode.decoding.probe import Footage, decoded, decoder_of, open_container, read_footage
from pipeline.transcode.decoding.selection import Selection
from pipeline.transcode.decoding.spec import ClipError, FrameSpec
from pipeline.transcode.decoding.squares import Squarer
from pipeline.transcode.decoding.webp import WebpAnimation

UNKNOWN, PROGRESSIVE = 0, 1  # libavcodec's AVFieldOrder
STILL_DECODERS = {"png": "png", "jpeg": "mjpeg", "webp": "webp"}


def decode_clip(source: bytes | Path, spec: FrameSpec) -> np.ndarray:
    """uint8 (spec.frames, resolution, resolution, 3). Raises ClipError where the clip cannot be shown right."""
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # else a clip that says what the one before said says nothing
    with av.logging.Capture() as logged:  # what libav says of this clip, and not of the one before
        try:
            return _decode(source, spec)
        except av.error.MemoryError as error:
            raise MemoryError(str(error.strerror)) from None
        except av.error.FFmpegError as error:
            reason, message = "unreadable", str(error.strerror)
        except ClipError as error:
            reason, message = error.reason, str(error)
    words = " ".join(logged[-1][2].split()) if logged and reason in ("damaged", "unreadable") else ""
    raise ClipError(reason, f"{message}: {words}" if words else message)


def _decode(source: bytes | Path, spec: FrameSpec) -> np.ndarray:
    kind = picture_kind(_head(source))
    if kind is None:
        return _decode_moving(source, None, spec)
    data = source if isinstance(source, bytes) else source.read_bytes()
    refuse_cut(data)
    if kind == "gif":
        return _decode_moving(data, "gif", spec)
    if not is_animated(data):
        return _decode_still(data, STILL_DECODERS[kind], spec)
    return _decode_moving(data, "apng", spec) if kind == "png" else _decode_webp(data, spec)


def _head(source: bytes | Path) -> bytes:
    if isinstance(source, bytes):
        return source[:12]
    with source.open("rb") as file:
        return file.read(12)


def _decode_still(data: bytes, decoder: str, spec: FrameSpec) -> np.ndarray:
    """A clip that stands."""
    if spec.span == "last":
        raise ClipError("still", "a single picture, which nothing moves in")
    codec = decoder_of(decoder)
    squarer = Squarer(spec)
    squares = [squarer.square(frame) for packet in (Packet(data), None) for frame in decoded(codec, packet)]
    if not squares:
        raise ClipError("damaged", "no picture could be decoded")
    return _visible(np.stack(squares[:1] * spec.frames), squarer)


def _decode_webp(data: bytes, spec: FrameSpec) -> np.ndarray:
    animation, squarer = WebpAnimation(data), Squarer(spec)
    length = max(1, round(1000 * spec.duration_s)) if spec.span != "whole" else None
    selection = Selection(animation.pictures, length, spec.frames, squarer.square, at_end=spec.span == "last")
    for time, canvas in animation.canvases():
        if selection.wants(time) and selection.show(time, VideoFrame.from_ndarray(canvas, "rgba")):
            break
    return _visible(selection.answer(), squarer)


def _decode_moving(source: bytes | Path, demuxer: str | None, spec: FrameSpec) -> np.ndarray:
    """All that libav sees as a stream of pictures."""
    duration_s, at_end = spec.duration_s if spec.span == "first" else None, spec.span == "last"
    pictures, can_skip = None, True
    while True:
        with open_container(source, demuxer) as container:
            footage = read_footage(source, container, duration_s)
            pictures = pictures or footage.pictures
            can_skip &= not pictures.in_order and footage.codec.field_order in (UNKNOWN, PROGRESSIVE)
            squarer = _squarer(source, footage, spec)
            tick = float(footage.stream.time_base or 1)  # s
            length = round(spec.duration_s / tick) if at_end else footage.length
            selection = Selection(pictures, length, spec.frames, squarer.square, at_end=at_end)
            try:
                for time, frame in _shown(footage, pictures, selection, can_skip=can_skip):
                    if selection.show(time, frame):
                        break
            except _SeenOtherwiseError as seen:
                pictures, can_skip = seen.pictures, False  # by a new decoder: fields stay in one that is flushed
            else:
                return _visible(selection.answer(), squarer)


def _squarer(source: bytes | Path, footage: Footage, spec: FrameSpec) -> Squarer:
    stream, name = footage.stream, footage.stream.container.format.name
    return Squarer(
        spec,
        pixel_aspect=1.0 if name in ("gif", "apng") else float(stream.sample_aspect_ratio or 1) or 1.0,
        crop=_crop(source, stream.index),
        has_alpha=not (name == "avi" and footage.codec.name == "rawvideo"),  # a pixel's fourth byte is no alpha there
    )


def _visible(frames: np.ndarray, squarer: Squarer) -> np.ndarray:
    if not squarer.saw_something:
        raise ClipError("transparent", "all of its frames are fully transparent")
    return frames


def _crop(source: bytes | Path, track: int) -> Crop | None:
    if isinstance(source, bytes):
        return container_crop(source, track)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return container_crop(data, track)


class _SeenOtherwiseError(Exception):
    """The stream is not what its packets looked like: decode it anew for `pictures`, leaving nothing out."""

    def __init__(self, pictures: Pictures) -> None:
        super().__init__()
        self.pictures = pictures


def _shown(
    footage: Footage, pictures: Pictures, selection: Selection, *, can_skip: bool
) -> Iterator[tuple[int, VideoFrame]]:
    """Each picture with its time. `can_skip`: leave out what no other picture refers to and nobody wants."""
    rising = pictures.rising
    time, count = rising[0], 0
    for frame in _frames(footage, pictures, selection, can_skip=can_skip):
        if frame.is_corrupt:  # the decoder guessed, and later pictures build on its guess
            raise ClipError("damaged", f"picture {count} is corrupt")
        if can_skip and frame.interlaced_frame:  # one of its two fields may have been left out
            raise _SeenOtherwiseError(pictures)
        if pictures.in_order:
            time = rising[min(count, len(rising) - 1)]
        elif frame.pts is not None:
            time = frame.pts
        count += 1
        yield time, frame
    if not count:
        raise ClipError("damaged", "no picture could be decoded")
    if pictures.in_order and count != len(rising):
        raise _SeenOtherwiseError(pictures.of_count(count))


def _frames(footage: Footage, pictures: Pictures, selection: Selection, *, can_skip: bool) -> Iterator[VideoFrame]:
    codec, idle = footage.codec, None
    for index, packet in enumerate(footage.packets()):
        if not pictures.in_order:
            if can_skip and idle is None and selection.on_show:
                idle = idle_packets(footage.restarts(), pictures.times, selection.on_show)
            if idle is not None and idle[index]:
                continue
            packet.pts = time = pictures.times[index]  # the frame then has it, on our clock
            skips = can_skip and time is not None and not selection.wants(time)
            codec.skip_frame = "NONREF" if skips else "DEFAULT"
        yield from decoded(codec, packet)
    yield from decoded(codec, None)
