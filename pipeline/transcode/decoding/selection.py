"""Choosing an answer's frames among the pictures that pass by: each is held until the next one's time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from av.video.frame import VideoFrame

from pipeline.transcode.decoding.clock import Pictures
from pipeline.transcode.decoding.spec import ClipError


class Selection:
    """`n_frames` frames, evenly over `length` ticks from the first picture on, or to the end of the last one.

    `at_end`: over the last `length` ticks instead. Raises ClipError where the clip has not as many.
    """

    def __init__(
        self,
        pictures: Pictures,
        length: int | None,
        n_frames: int,
        square: Callable[[VideoFrame], np.ndarray],
        *,
        at_end: bool = False,
    ) -> None:
        self.pictures, self.length, self.n_frames, self.square = pictures, length, n_frames, square
        self.at_end = at_end
        self._wanted: list[int] = []  # a time for each frame of the answer, known from the first picture on
        self._on_show: frozenset[int] = frozenset()  # times of the pictures that are shown then
        self._taken: list[np.ndarray] = []
        self._current: VideoFrame | None = None

    def wants(self, time: int) -> bool:
        """Whether the picture of this time may be in the answer."""
        return not self._wanted or time in self._on_show

    @property
    def on_show(self) -> frozenset[int]:
        """Times of the pictures that the answer shows; empty before the first picture has passed."""
        return self._on_show

    def show(self, time: int, picture: VideoFrame) -> bool:
        """Take the next picture, in order of time; True when the answer is complete."""
        if self._current is None:
            length = self.length * self.pictures.per_tick if self.length else self.pictures.end - time
            start = self.pictures.end - length if self.at_end else time
            if start < time:
                raise ClipError("short", "it ends sooner than its last frames would begin")
            self._wanted = [start + index * length // self.n_frames for index in range(self.n_frames)]
            rising = self.pictures.rising
            places = np.searchsorted(rising, self._wanted, side="right") - 1
            self._on_show = frozenset(rising[max(0, place)] for place in places)
        else:
            self._hold(sum(wanted < time for wanted in self._wanted[len(self._taken) :]))
        self._current = picture
        return len(self._taken) == self.n_frames

    def answer(self) -> np.ndarray:
        """uint8 (n_frames, resolution, resolution, 3); past the end the last picture is held."""
        self._hold(self.n_frames - len(self._taken))
        return np.stack(self._taken)

    def _hold(self, n_frames: int) -> None:
        if n_frames:
            assert self._current is not None
            self._taken += [self.square(self._current)] * n_frames
