"""H.264 coded by fields (PAFF), as camcorders and broadcasters do: no free encoder writes it, so it is written here.

Each field is an intra picture of I_PCM macroblocks, its samples uncoded (ITU-T H.264, 7.3). Only the first frame is
one that others may refer to, so that a decoder may be told to leave out any other field.
"""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
from einops import rearrange

REFERENCE, DISPOSABLE = 0x60, 0x00  # nal_ref_idc 3 and 0


class Bits:
    """A bit string under construction."""

    def __init__(self) -> None:
        self.text = ""

    def u(self, value: int, width: int) -> Bits:
        """Fixed width."""
        self.text += f"{value:0{width}b}"
        return self

    def ue(self, *values: int) -> Bits:
        """Exp-Golomb codes."""
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code
        return self

    def align(self) -> bytes:
        """The whole bytes so far, filled up with zeros."""
        self.text += "0" * (-len(self.text) % 8)
        return int(self.text or "0", 2).to_bytes(len(self.text) // 8)

    def end(self) -> bytes:
        """With the stop bit."""
        self.text += "1"
        return self.align()


def nal(header: int, payload: bytes) -> bytes:
    """A NAL unit in byte-stream form, with emulation prevention."""
    safe, zeros = bytearray(), 0
    for byte in payload:
        if zeros >= 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([header]) + bytes(safe)


def field_coded_ts(luma: np.ndarray, fps: int, *, whole: int = 0) -> bytes:
    """A transport stream of grey frames, uint8 (F, H, W), H a multiple of 32 and W of 16: a packet for each field.

    The first `whole` frames are coded as frames, in one packet each.
    """
    n_frames, height, width = luma.shape
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        stream = container.add_mux_stream("h264", rate=fps, width=width, height=height)
        stream.time_base = Fraction(1, 90000)
        for frame in range(n_frames):
            for bottom in (None,) if frame < whole else (0, 1):
                packet = av.Packet(_picture(luma, frame, bottom))
                packet.stream, packet.time_base = stream, Fraction(1, 90000)
                packet.pts = packet.dts = 90000 * (2 * frame + (bottom or 0)) // (2 * fps)
                packet.is_keyframe = frame == 0
                container.mux(packet)
    return file.getvalue()


def _picture(luma: np.ndarray, frame: int, bottom: int | None) -> bytes:
    """An access unit: the top field (0), the bottom one (1) or the frame (None), the first with its parameters."""
    is_first = frame == 0 and not bottom
    header = (REFERENCE if frame == 0 else DISPOSABLE) | (5 if is_first else 1)
    head = Bits().ue(0, 7, 0).u(min(frame, 1), 4)  # an I slice; its frame_num
    head.u(0, 1) if bottom is None else head.u(2 + bottom, 2)  # field_pic_flag, bottom_field_flag
    if is_first:
        head.ue(0)  # idr_pic_id
    head.u((2 * frame + (bottom or 0)) % 256, 8)  # pic_order_cnt_lsb
    if frame == 0:
        head.u(0, 2 if is_first else 1)  # marking of reference pictures: as usual
    head.ue(0, 1)  # slice_qp_delta; no deblocking
    lines = luma[frame] if bottom is None else luma[frame, bottom::2]
    payload = bytearray()
    for block in rearrange(lines, "(y h) (x w) -> (y x) (h w)", h=16, w=16):
        payload += head.ue(25).align() + block.tobytes() + bytes([128]) * 128  # I_PCM: luma, then grey chroma
        head = Bits()
    return (_parameter_sets(luma) if is_first else b"") + nal(header, bytes(payload) + Bits().end())


def _parameter_sets(luma: np.ndarray) -> bytes:
    _, height, width = luma.shape
    sequence = Bits().u(77, 8).u(0, 8).u(30, 8).ue(0, 0, 0, 4, 1).u(0, 1).ue(width // 16 - 1, height // 32 - 1)
    sequence.u(0, 1).u(0, 1).u(1, 1).u(0, 2)  # not frames only; no MBAFF; direct_8x8_inference; no cropping, no VUI
    picture = Bits().ue(0, 0).u(0, 2).ue(0, 0, 0).u(0, 3).ue(0, 0, 0).u(1, 1).u(0, 2)
    return nal(0x67, sequence.end()) + nal(0x68, picture.end())
