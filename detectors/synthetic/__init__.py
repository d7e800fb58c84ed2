"""Is it synthetic, and who made it? Layers of calibrated evidence, and a verdict.

``judging`` puts the layers together: ``entries`` of the generator registry over ``traces``
of the sound, ``comb`` evidence, the ``generic`` model and ``plugins``, each measured by
its ``calibration``. ``shipped`` reads what comes with the package.
"""

from detectors.base import Waveform
from detectors.synthetic.finding import (
    Comb,
    HeadAnswer,
    Peak,
    SynthesisVerdict,
    SyntheticFinding,
)
from detectors.synthetic.judging import Roster, judge
from detectors.synthetic.shipping import shipped

__all__ = [
    "Comb",
    "HeadAnswer",
    "Peak",
    "Roster",
    "SynthesisVerdict",
    "SyntheticFinding",
    "classify",
    "judge",
    "shipped",
]


def classify(waveform: Waveform, sample_rate: int) -> SyntheticFinding:
    """Listen to a whole file with the models that ship.

    Args:
        waveform: Shape (channels, samples), float32 in [-1, 1].
        sample_rate: In Hz.

    Raises:
        DetectorError: If the weights are missing or not the ones pinned here.
    """
    return judge(waveform, sample_rate, roster=shipped())
