"""One video file to n square uint8 frames, by PyAV.

Frames are chosen by presentation time: at i·D/n after the first frame, D being the whole clip or its first seconds; a
time after the end shows the last frame. Pixels are scaled as displayed: rotated, with square pixels, HDR tone-mapped.
What cannot be shown right is an error with the decoder's words, never a grey or black frame.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from pipeline.transcode.hdr import tone_map

# Playlists and scripts that open other files or addresses are not among them.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,ogg,asf,mxf,gif,h264,hevc,ivf,m4v"
)
MAX_ASPECT = 50
HDR_CURVES = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT  # same on each CPU


class ClipError(ValueError):
    """A clip that cannot be used. `reason` is one of a few words, the message the decoder's own."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class FrameSpec:
    """Which frames of a clip, and how they become squares."""

    frames: int
    resolution: int  # px, height and width
    span: Literal["whole", "first"]
    duration_s: float  # used by span: first
    fit: Literal["crop", "pad", "stretch"]


@dataclass(frozen=True)
class _Timing:
    """In ticks of the stream's time base."""

    wanted: list[int]  # one for each frame of the answer, rising
    shown: frozenset[int]  # times of the frames that are shown then; empty where packets carry none


def decode_clip(source: bytes | Path, spec: FrameSpec) -> np.ndarray:
    """uint8 (spec.frames, resolution, resolution, 3). Raises ClipError: unreadable, no video, damaged or truncated."""
    av.logging.set_level(av.logging.ERROR)
    av.logging.get_last_error()
    try:
        with _open(source) as container:
            stream = _video_stream(container)
            timing = _timing(container, stream, spec)
        with _open(source) as container:
            return _frames(container, _video_stream(container), timing, spec)
    except av.error.MemoryError as error:
        raise MemoryError(_words(error)) from None
    except av.error.FFmpegError as error:
        raise ClipError("unreadable", _words(error)) from None


def _words(error: av.error.FFmpegError) -> str:
    logged = str(error.log[-1]).strip() if error.log else ""
    return f"{error.strerror}{f': {logged}' if logged else ''}"


def _open(source: bytes | Path) -> InputContainer:
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    container = av.open(file, metadata_errors="replace", options={"format_whitelist": DEMUXERS})
    assert isinstance(container, InputContainer)
    return container


def _video_stream(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or av.stream.Disposition.attached_pic in stream.disposition:
        kinds = ", ".join(sorted({other.type for other in container.streams})) or "none"
        raise ClipError("no video", f"no video stream in it (streams: {kinds})")
    if stream.codec_context is None:
        raise ClipError("unreadable", "no decoder for its video codec")
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    return stream


def _timing(container: InputContainer, stream: VideoStream, spec: FrameSpec) -> _Timing:
    """Times of all frames that matter, from the packets alone: containers' own durations are often wrong."""
    assert stream.time_base is not None
    asked = max(1, round(spec.duration_s / stream.time_base)) if spec.span == "first" else None
    packets = _packets(container, stream, asked)
    if not packets:
        raise ClipError("truncated", f"its header is there, but not one frame{_last_words()}")
    if asked is None and len(packets) < 0.9 * stream.frames:
        raise ClipError("truncated", f"{len(packets)} of {stream.frames} frames are there")
    times = sorted(p.pts for p in packets if p.pts is not None)
    known = len(times) == len(packets)
    if not known:
        times = sorted(p.dts for p in packets if p.dts is not None)
    if not times:
        raise ClipError("unreadable", "its packets carry no times")
    step = (times[-1] - times[0]) // (len(times) - 1) if len(times) > 1 else 1
    length = asked or times[-1] - times[0] + max(1, packets[-1].duration or step)
    wanted = [times[0] + index * length // spec.frames for index in range(spec.frames)]
    shown = np.searchsorted(times, wanted, side="right") - 1
    return _Timing(wanted, frozenset(times[i] for i in shown) if known else frozenset())


def _packets(container: InputContainer, stream: VideoStream, length: int | None) -> list[Packet]:
    """Those that give a frame; where `length` ticks are asked for, none that is decoded after them."""
    packets: list[Packet] = []
    end: int | None = None
    for packet in container.demux(stream):
        if not packet.size or packet.is_discard:
            continue
        packets.append(packet)
        if end is None and length is not None and packet.pts is not None:
            end = packet.pts + length
        if end is not None and packet.dts is not None and packet.dts > end:
            break
    return packets


def _frames(container: InputContainer, stream: VideoStream, timing: _Timing, spec: FrameSpec) -> np.ndarray:
    """Hold each frame until the next one's time; past the end, hold the last."""
    squarer = _Squarer(spec, stream)
    taken: list[np.ndarray] = []
    current: VideoFrame | None = None
    for frame in _decoded(container, stream, timing):
        if frame.is_corrupt:  # the decoder guessed, and later frames build on its guess
            raise ClipError("damaged", f"a frame at {frame.time or 0.0:.2f} s is corrupt{_last_words()}")
        if frame.pts is not None and current is not None:
            due = sum(time < frame.pts for time in timing.wanted[len(taken) :])
            taken += [squarer.square(current)] * due if due else []
        current = frame
        if len(taken) == spec.frames:
            break
    if current is None:
        raise ClipError("damaged", f"no frame could be decoded{_last_words()}")
    if len(taken) < spec.frames:
        taken += [squarer.square(current)] * (spec.frames - len(taken))
    return np.stack(taken)


def _decoded(container: InputContainer, stream: VideoStream, timing: _Timing) -> Iterator[VideoFrame]:
    """Frames in order of time. Of those that no other frame refers to, only the wanted ones are decoded."""
    codec = stream.codec_context
    for packet in container.demux(stream):
        if timing.shown:
            skip = packet.pts is not None and packet.pts not in timing.shown
            codec.skip_frame = "NONREF" if skip else "DEFAULT"
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            raise ClipError("damaged", _words(error)) from None


def _last_words() -> str:
    _, last = av.logging.get_last_error()
    return f": {last[2].strip()}" if last else ""


class _Squarer:
    """Frames as displayed, fitted into a square."""

    def __init__(self, spec: FrameSpec, stream: VideoStream) -> None:
        self.spec = spec
        self.pixel_aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self.reformatter = VideoReformatter()

    def square(self, frame: VideoFrame) -> np.ndarray:
        """uint8 (resolution, resolution, 3)."""
        width, height = self._scaled(frame)
        pixels = self._scale(frame, width, height)
        return np.ascontiguousarray(_upright(self._fit(pixels), frame))

    def _scaled(self, frame: VideoFrame) -> tuple[int, int]:
        """Width and height in px, before cropping or padding."""
        side = self.spec.resolution
        aspect = frame.width * self.pixel_aspect / frame.height
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            raise ClipError("unreadable", f"{frame.width}x{frame.height} px is no picture (more than {MAX_ASPECT}:1)")
        if self.spec.fit == "stretch":
            return side, side
        wide = (aspect >= 1) == (self.spec.fit == "crop")
        return (max(1, round(side * aspect)), side) if wide else (side, max(1, round(side / aspect)))

    def _scale(self, frame: VideoFrame, width: int, height: int) -> np.ndarray:
        shrinks = width <= frame.width and height <= frame.height
        how = (Interpolation.AREA if shrinks else Interpolation.BICUBIC) | EXACT
        is_hdr = frame.color_trc in HDR_CURVES
        scaled = self.reformatter.reformat(
            frame, width, height, "rgb48le" if is_hdr else "rgb24", interpolation=how, dst_color_range="JPEG", threads=1
        )
        pixels = scaled.to_ndarray()
        return tone_map(pixels, is_pq=frame.color_trc == ColorTrc.SMPTE2084) if is_hdr else pixels

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        side = self.spec.resolution
        height, width, _ = pixels.shape
        if self.spec.fit == "pad":
            square = np.zeros((side, side, 3), np.uint8)
            top, left = (side - height) // 2, (side - width) // 2
            square[top : top + height, left : left + width] = pixels
            return square
        top, left = (height - side) // 2, (width - side) // 2
        return pixels[top : top + side, left : left + side]


def _upright(square: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn and mirror by the display matrix: x' = a x + c y, y' = b x + d y (libavutil/display.h)."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return square
    a, b, _, c, d, *_ = struct.unpack("9i", memoryview(matrix))  # type: ignore[arg-type]
    if abs(b) > abs(a):
        square, flip_x, flip_y = square.swapaxes(0, 1), c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return square[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
