"""Groups of pictures of H.264: what follows the last picture that is wanted of a group need not be decoded.

Decoding begins anew at an IDR picture (ITU-T H.264, 7.4.1.2.4): no picture after it refers to one before it. Other key
pictures do not count: pictures shown before them may come after them and refer further back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from av.packet import Packet

SLICE, IDR = 1, 5  # NAL unit types (table 7-1)


def idle_packets(
    restarts: Sequence[int],  # places of IDR pictures, rising
    times: Sequence[int | None],  # of all packets in file order; None: hidden
    wanted: Collection[int],
) -> np.ndarray:
    """bool (n,): packets after the last wanted one of their group, which ends at the next restart or with the file."""
    idle = np.zeros(len(times), bool)
    bounds = [0, *(place for place in restarts if place > 0), len(times)]
    for first, end in pairwise(bounds):
        places = [place for place in range(first, end) if times[place] in wanted]
        idle[(places[-1] + 1 if places else first) : end] = True
    return idle


def nal_length_size(extradata: bytes) -> int:
    """Bytes before each NAL unit that say how long it is (ISO 14496-15, avcC); 0: start codes stand between them."""
    return (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0


def begins_anew(packet: Packet, length_size: int) -> bool:
    """Whether the first slice of a packet is of an IDR picture."""
    data = bytes(packet)
    for place in _nal_units(data, length_size):
        kind = data[place] & 31
        if kind in (SLICE, IDR):
            return kind == IDR
    return False


def _nal_units(data: bytes, length_size: int) -> list[int]:
    """Places at which NAL units begin."""
    places, place = [], 0
    while length_size and place + length_size < len(data):
        places.append(place + length_size)
        place += length_size + int.from_bytes(data[place : place + length_size], "big")
    while not length_size and (place := data.find(b"\0\0\1", place)) >= 0 and place + 3 < len(data):
        place += 3
        places.append(place)
    return places
