"""What every gate that is killed would load again, loaded once in the fork server.

One thread from the start: a pool of threads would not survive the fork.
"""

import torch

torch.set_num_threads(1)

from detectors.synthetic import classify  # noqa: E402
from tests.safegen.conftest import TONE_RATE, tones  # noqa: E402

classify(tones(0).waveform, TONE_RATE)
