"""The picture stream of a clip: opened, chosen among others, read once for its times, refused where its end is missing.

A download that stopped leaves a header that promises more than is there. Containers that promise nothing (MPEG
streams, Ogg, raw streams) are taken as they are.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.codec.context import CodecContext
from av.codec.context import Flags as CodecFlags
from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.transcode.decoding.clock import Clock, Pictures
from pipeline.transcode.decoding.gops import begins_anew, nal_length_size
from pipeline.transcode.decoding.spec import ClipError

# Playlists and scripts that open other files or addresses are not among them.
VIDEO = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,live_flv,ogg,asf,mxf,h264,hevc,ivf,m4v"
ANIMATIONS = "gif,apng"
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own give no alpha
HEVC_ALPHA = b"\x4e\x01\xa5"  # the SEI message "alpha channel information"
NO_TIMES_OF_SHOWING = ("avi", "asf", "h264", "hevc", "m4v", "mpegvideo")  # only times of decoding, or none
FRAMES_ARE_TICKS = ("avi", "ivf")
WHOLE = 0.9  # of what the header promises
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # then sizes and an id in 24 bytes, then file size


@dataclass(frozen=True)
class Footage:
    """A picture stream, its packets and the times of their pictures."""

    source: bytes | Path
    stream: VideoStream
    codec: VideoCodecContext
    pictures: Pictures
    length: int | None  # ticks asked for; None: all
    n_packets: int
    held: list[Packet] | None  # None: too large to hold, read anew

    def restarts(self) -> list[int]:
        """Places of the packets at which decoding can begin anew: of H.264 in memory; elsewhere none are known."""
        if self.codec.name != "h264" or self.held is None:
            return []
        size = nal_length_size(self.codec.extradata or b"")
        return [place for place, packet in enumerate(self.held) if packet.is_keyframe and begins_anew(packet, size)]

    def packets(self) -> Iterator[Packet]:
        """Those that matter, in file order."""
        if self.held is not None:
            yield from self.held
            return
        with open_container(self.source) as container:
            yield from islice(_packets(container, picture_stream(container)), self.n_packets)


def open_container(source: bytes | Path, format_: str | None = None) -> InputContainer:
    """libav's container of a clip; `format_` names a demuxer where the first bytes have told which."""
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    demuxers = {"format_whitelist": f"{VIDEO},{ANIMATIONS}"}
    container = av.open(file, format=format_, metadata_errors="replace", options=demuxers)
    assert isinstance(container, InputContainer)
    return container


def read_footage(source: bytes | Path, container: InputContainer, duration_s: float | None) -> Footage:
    """Packets of the whole clip, or of its first `duration_s` seconds. Raises ClipError: no video, truncated."""
    stream = picture_stream(container)
    codec = _decoder(stream)
    assert stream.time_base is not None
    length = None if duration_s is None else max(1, round(duration_s / stream.time_base))
    clock = Clock(stream.time_base, may_be_joined=FormatFlags.ts_discont in FormatFlags(container.format.flags))
    held: list[Packet] | None = [] if isinstance(source, bytes) else None
    n_packets, end = 0, None
    for packet in _packets(container, stream):
        stamp = clock.add(packet)
        n_packets += 1
        if held is not None:
            held.append(packet)
        if length is not None and not stamp.is_hidden:
            end = end or (stamp.decoded if stamp.shown is None else stamp.shown) + length
            if stamp.decoded > end:
                break
    name = container.format.name
    pictures = clock.pictures(
        reorders=codec.has_b_frames,
        says_when=name not in NO_TIMES_OF_SHOWING,
        stated_end=stream.duration if name == "avi" and length is None else None,  # its null frames hold the last one
    )
    if pictures is None:
        raise ClipError("truncated", "its header is there, but not one frame")
    there = pictures.end - min(pictures.rising)
    if length is None or there < WHOLE * length:
        _refuse_missing_bytes(source)
        _refuse_missing_time(source, container, stream, pictures, length)
    if name not in FRAMES_ARE_TICKS:
        pictures = pictures.steadied()
    return Footage(source, stream, codec, pictures, length, n_packets, held)


def picture_stream(container: InputContainer) -> VideoStream:
    """The stream that players show: libav's best, never an attached cover picture. Raises ClipError: no video."""
    best = container.streams.best("video")
    moving = [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]
    stream = best if best in moving else next(iter(moving), None)
    if not isinstance(stream, VideoStream):
        kinds = ", ".join(sorted({other.type for other in container.streams})) or "none"
        raise ClipError("no video", f"no video stream in it (streams: {kinds})")
    if stream.codec_context is None:
        raise ClipError("unreadable", "no decoder for its video codec")
    has_parts = any(Disposition.default not in other.disposition for other in moving)
    if has_parts and container.metadata.get("major_brand") in ("avif", "avis"):
        raise ClipError("unreadable", "AVIF with transparency, which cannot be read: convert it to PNG or WebP")
    return stream


def _decoder(stream: VideoStream) -> VideoCodecContext:
    codec = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and codec.name in ALPHA_DECODERS:
        return decoder_of(ALPHA_DECODERS[codec.name])
    if codec.name == "hevc" and HEVC_ALPHA in (codec.extradata or b""):
        raise ClipError("unreadable", "HEVC with an alpha layer, which cannot be read: convert it to ProRes 4444")
    codec.flags |= CodecFlags.unaligned  # the stream's own cropping to the pixel, not to what is fast to copy
    return _set_up(codec)


def decoder_of(name: str) -> VideoCodecContext:
    """libav's decoder of this name."""
    codec = CodecContext.create(name, "r")
    assert isinstance(codec, VideoCodecContext)
    return _set_up(codec)


def _set_up(codec: VideoCodecContext) -> VideoCodecContext:
    """On one thread, for the parallelism is the decoder processes'; PNG's checksums are heeded."""
    codec.thread_type, codec.thread_count = "NONE", 1
    if codec.name in ("png", "apng"):
        codec.options = {"err_detect": "crccheck+explode"}
    return codec


def decoded(codec: VideoCodecContext, packet: Packet | None) -> list[VideoFrame]:
    """The frames that a packet completes, or for None those that are left. Raises ClipError: damaged."""
    try:
        return codec.decode(packet)
    except av.error.InvalidDataError as error:
        raise ClipError("damaged", str(error.strerror)) from None


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Those of pictures: an empty one would end the decoder, and joined Ogg files repeat Theora's headers."""
    is_theora = stream.codec_context.name == "theora"
    for packet in container.demux(stream):
        if packet.size and not (is_theora and memoryview(packet)[0] & 0x80):
            yield packet


def _refuse_missing_bytes(source: bytes | Path) -> None:
    """AVI and ASF say how many bytes they have. (An AVI's frames prove nothing: its null frames are left out.)"""
    if isinstance(source, bytes):
        head, size = source[:4096], len(source)
    else:
        with source.open("rb") as file:
            head, size = file.read(4096), source.stat().st_size
    stated = 0
    if head[:4] == b"RIFF":
        stated = 8 + int.from_bytes(head[4:8], "little")
    elif ASF_PROPERTIES in head:
        place = head.index(ASF_PROPERTIES) + 40
        stated = int.from_bytes(head[place : place + 8], "little")
    if size < WHOLE * stated:
        raise ClipError("truncated", f"{size} of {stated} bytes are there")


def _refuse_missing_time(
    source: bytes | Path, container: InputContainer, stream: VideoStream, pictures: Pictures, length: int | None
) -> None:
    """The header's length against the pictures'; where that is the length of all streams, against the longest."""
    tick = stream.time_base
    assert tick is not None
    start, end = min(pictures.rising) * tick, pictures.end * tick
    own, common = _stated_end(container, stream, start), _common_end(container)
    stated = own or common or end
    needed = WHOLE * ((stated if length is None else min(stated, start + length * tick)) - start)
    if end - start < needed and (own or _last_end(source) - start < needed):
        there, whole = float(end - start), float(stated - start)
        raise ClipError("truncated", f"{there:.2f} of {whole:.2f} s are there")


def _stated_end(container: InputContainer, stream: VideoStream, start: Fraction) -> Fraction | None:
    """When this stream ends, in s, by the header."""
    kind = container.format.name.partition(",")[0]
    if kind in ("mov", "mxf", "ivf") and stream.duration and stream.time_base:
        return start + stream.duration * stream.time_base
    if kind == "matroska" and re.fullmatch(r"\d+:\d+:\d+(\.\d+)?", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    return None


def _common_end(container: InputContainer) -> Fraction | None:
    """When the longest stream ends, in s, by the header."""
    if container.duration is None or not container.format.name.startswith(("matroska", "flv")):
        return None
    return Fraction(container.duration, av.time_base)


def _last_end(source: bytes | Path) -> Fraction:
    """When the longest stream ends, in s, by its packets."""
    with open_container(source) as container:
        ends = [
            (packet.pts + (packet.duration or 0)) * packet.time_base
            for packet in container.demux()
            if packet.size and packet.pts is not None
        ]
    return max(ends, default=Fraction(0))
