"""Decoded frames to square RGB pixels as displayed: cropped, laid over a ground, HDR tone-mapped, scaled, upright."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc, Interpolation, VideoReformatter

from pipeline.transcode.decoding.cropping import Crop
from pipeline.transcode.decoding.hdr import tone_map
from pipeline.transcode.decoding.spec import ClipError, FrameSpec

MAX_ASPECT = 50
UNKNOWN_SIDE_DATA = range(len(SideDataType), 48)
HDR_CURVES = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT  # same on each CPU
FULL = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INP | EXACT  # for pixels that are not scaled: as libwebp does


class Squarer:
    """Frames of one clip as displayed, fitted into a square."""

    def __init__(
        self, spec: FrameSpec, *, pixel_aspect: float = 1.0, crop: Crop | None = None, has_alpha: bool = True
    ) -> None:
        self.spec, self.pixel_aspect, self.crop = spec, pixel_aspect, crop
        self.has_alpha = has_alpha  # False: what looks like alpha is not
        self.flattener, self.scaler = VideoReformatter(), VideoReformatter()
        self.saw_something = False  # a pixel that is not fully transparent

    def square(self, frame: VideoFrame) -> np.ndarray:
        """uint8 (resolution, resolution, 3)."""
        flat = self._flat(frame)
        width, height = self._scaled(flat)
        pixels = self._scale(flat, width, height)
        return np.ascontiguousarray(_upright(self._fit(pixels), frame))

    def _flat(self, frame: VideoFrame) -> VideoFrame:
        """The frame itself, or where it is cropped or has alpha, what is to be seen of it as RGB."""
        has_alpha = self.has_alpha and _has_alpha(frame)
        self.saw_something |= not has_alpha
        if self.crop is None and not has_alpha:
            return frame
        is_hdr = frame.color_trc in HDR_CURVES
        depth = "rgba64le" if is_hdr else "rgba"
        flat = self.flattener.reformat(frame, format=depth, interpolation=FULL, dst_color_range="JPEG", threads=1)
        rgba = flat.to_ndarray()
        if self.crop is not None:
            rgba = self._cropped(rgba)
        rgb, alpha = rgba[..., :3], rgba[..., 3:]
        if is_hdr:
            rgb, alpha = tone_map(rgb, is_pq=frame.color_trc == ColorTrc.SMPTE2084), np.right_shift(alpha, 8)
        if has_alpha:
            self.saw_something |= bool(alpha.any())
            rgb = lay_over(rgb, alpha, self.spec.background)
        return VideoFrame.from_ndarray(np.ascontiguousarray(rgb, np.uint8), "rgb24")

    def _cropped(self, pixels: np.ndarray) -> np.ndarray:
        assert self.crop is not None
        height, width, _ = pixels.shape
        crop = self.crop
        kept = pixels[max(0, crop.top) : height - max(0, crop.bottom), max(0, crop.left) : width - max(0, crop.right)]
        if not kept.size:
            raise ClipError("unreadable", f"its container crops {width}x{height} px to nothing")
        return kept

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
        scaled = self.scaler.reformat(
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


def lay_over(rgb: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """uint8 (…, 3) seen through uint8 alpha (…, 1) on a ground of one colour."""
    ground = np.asarray(background, np.uint32)
    part = alpha.astype(np.uint32)
    return ((rgb * part + ground * (255 - part) + 127) // 255).astype(np.uint8)


def _has_alpha(frame: VideoFrame) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def _upright(square: np.ndarray, frame: VideoFrame) -> np.ndarray:
    """Turn and mirror by the display matrix: x' = a x + c y, y' = b x + d y (libavutil/display.h)."""
    try:
        side_data = frame.side_data
    except ValueError:  # it has some that PyAV 18 does not know, such as Exif
        side_data = _without_unknown(frame).side_data
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return square
    a, b, _, c, d, *_ = struct.unpack("9i", memoryview(matrix))  # type: ignore[arg-type]
    if abs(b) > abs(a):
        square, flip_x, flip_y = square.swapaxes(0, 1), c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return square[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def _without_unknown(frame: VideoFrame) -> VideoFrame:
    """The frame without the side data that is newer than PyAV's list of it."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    deletions = [graph.add("sidedata", mode="delete", type=str(type_)) for type_ in UNKNOWN_SIDE_DATA]
    graph.link_nodes(source, *deletions, graph.add("buffersink")).configure()
    graph.push(frame)
    known = graph.pull()
    assert isinstance(known, VideoFrame)
    return known
