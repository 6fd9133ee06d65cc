"""Seeds out of a run's one seed: each use draws from a stream of its own, so no two uses share numbers.

All that is random in a training step follows from (seed, step, position in the batch), so a resumed run repeats an
uninterrupted one, and eight processes repeat one.
"""

from __future__ import annotations

import numpy as np

EPOCH_STREAM = 0  # the order of the clips
STEP_STREAM = 1  # captions, mirroring and a seed for each position of a batch
DRAW_STREAM = 2  # times, dropped captions, codes
NOISE_STREAM = 4  # of validation
GIVEN_STREAM = 5  # noise on given frames


def derive_seed(*parts: int) -> int:
    """A 63-bit seed out of several numbers, one of them the stream."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))
