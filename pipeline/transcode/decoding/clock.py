"""The times of a stream's pictures, on one clock that neither jumps nor wraps, from its packets alone.

Containers' own lengths are often wrong, and AVI, ASF and raw streams hold no times of presentation at all: what libav
makes up for them names the wrong picture as soon as B frames change the order. Such a stream's pictures are taken in
the order in which they leave the decoder. Units are ticks of the stream's time base.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise

import numpy as np
from av.packet import Packet

JOIN_BACK_S = Fraction(1, 10)  # a decoding time that falls back by more begins another recording, as in ffmpeg
JOIN_AHEAD_S = 10  # … or a key picture's that leaps ahead by more, where recordings can be put together byte by byte
ROUNDINGS = ((0.5, 0.5), (0.0, 1.0))  # to the nearest tick, or down


@dataclass(frozen=True)
class Pictures:
    """When each picture is shown."""

    times: tuple[int | None, ...]  # of the packets in file order; None: hidden
    end: int  # when the last picture has been shown
    in_order: bool  # `times` belong to the pictures in their order, not to the packets
    per_tick: int = 1  # what times and end are counted in

    @property
    def rising(self) -> list[int]:
        """The times of all pictures that are shown."""
        return sorted(time for time in self.times if time is not None)

    def of_count(self, count: int) -> Pictures:
        """The same length in `count` pictures, for a decoder that gives more or fewer than it takes packets."""
        rising = self.rising
        return replace(self, times=tuple(rising[index * len(rising) // count] for index in range(count)))

    def steadied(self) -> Pictures:
        """The exact times of a steady rate where these are such times rounded: at 15 fps a GIF says 7, 13, 20, 27."""
        rising = self.rising
        number = np.arange(1, len(rising) + 1)
        since = np.array([*rising[1:], self.end]) - rising[0]
        if not any(((since - below) / number).max() <= ((since + above) / number).min() for below, above in ROUNDINGS):
            return self
        exact = {time: index * int(since[-1]) for index, time in enumerate(rising)}
        times = tuple(None if time is None else exact[time] for time in self.times)
        return Pictures(times, len(rising) * int(since[-1]), self.in_order, len(rising))


@dataclass(frozen=True)
class Stamp:
    """One packet's times."""

    shown: int | None  # None: not said
    decoded: int  # where not said, when the one before has been
    is_said: bool
    duration: int
    is_hidden: bool  # by an edit list: decoded for the pictures after it


class Clock:
    """Takes packets in file order; `pictures` then says when each is shown."""

    def __init__(self, time_base: Fraction, *, may_be_joined: bool) -> None:
        self.may_be_joined = may_be_joined  # MPEG transport and program streams, Ogg
        self._back, self._ahead = int(JOIN_BACK_S / time_base), int(JOIN_AHEAD_S / time_base)
        self._offset = 0  # from the container's times to ours
        self._due = 0  # decoding time of the next packet where nothing jumps
        self._due_is_said = False
        self._stamps: list[Stamp] = []

    def add(self, packet: Packet) -> Stamp:
        now = self._due if packet.dts is None else packet.dts + self._offset
        leaps = self.may_be_joined and packet.is_keyframe and now > self._due + self._ahead
        if self._due_is_said and (leaps or now < self._due - self._back):
            self._offset += self._due - now
            now = self._due
        shown = None if packet.pts is None else packet.pts + self._offset
        stamp = Stamp(shown, now, packet.dts is not None, packet.duration or 0, packet.is_discard)
        self._stamps.append(stamp)
        self._due, self._due_is_said = now + stamp.duration, stamp.is_said
        return stamp

    def pictures(self, *, reorders: bool, says_when: bool, stated_end: int | None) -> Pictures | None:
        """None where none is shown.

        `reorders`: pictures may leave the decoder in another order than they go in. `says_when`: the container knows
        when each is shown, not only when it is decoded. `stated_end`: when the last has been shown, by the header.
        """
        shown = [stamp for stamp in self._stamps if not stamp.is_hidden]
        if not shown:
            return None
        known = [stamp.shown for stamp in shown if stamp.shown is not None]
        is_made_up = not says_when or all(before <= after for before, after in pairwise(known))
        in_order = len(known) < len(shown) or (reorders and is_made_up)
        times = _decoding_times(shown) if in_order else known
        last, duration = max(zip(times, (stamp.duration for stamp in shown), strict=True))
        if stated_end is None or stated_end <= last:
            stated_end = last + max(1, duration or (last - min(times)) // max(1, len(times) - 1))
        waiting = iter(times)
        return Pictures(
            tuple(None if stamp.is_hidden else next(waiting) for stamp in self._stamps), stated_end, in_order
        )


def _decoding_times(stamps: list[Stamp]) -> list[int]:
    """As said; where one says nothing, each follows the one before without a gap."""
    if all(stamp.is_said for stamp in stamps):
        return [stamp.decoded for stamp in stamps]
    return list(accumulate((max(1, stamp.duration) for stamp in stamps[:-1]), initial=stamps[0].decoded))
