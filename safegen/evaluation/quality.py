"""How much does a change to a sound hurt? PESQ, ViSQOL and the signal-to-change ratio.

PESQ hears wide-band speech at 16 kHz, ViSQOL anything at 48 kHz; both give a mean opinion
score that a listening test may well disagree with.

``visqol-python`` asks for libsvm, which comes as C++ source, only to evaluate one table of
support vectors. It is installed without it, and the table is evaluated here.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from safegen.audio import Audio, resample
from safegen.errors import SafegenError

PESQ_RATE: Final = 16_000
_VISQOL_RATE: Final = 48_000


def snr_db(clean: Audio, changed: Audio) -> float:
    """Measure how far the change lies below the sound; 240 dB at most."""
    signal = float(np.sum(clean.waveform.astype(np.float64) ** 2))
    change = float(np.sum((changed.waveform.astype(np.float64) - clean.waveform) ** 2))
    return 10 * math.log10(max(signal, 1e-12) / max(change, 1e-12 * max(signal, 1e-12), 1e-24))


def pesq_wideband(clean: Audio, changed: Audio) -> float:
    """Score changed speech against clean, ITU-T P.862.2, in [1.04, 4.64].

    Raises:
        SafegenError: If the package pesq is not installed, or finds no speech.
    """
    try:
        from pesq import PesqError, pesq
    except ImportError as error:
        raise SafegenError(
            "the package pesq is not installed", remedy="Install it with `pip install pesq`."
        ) from error
    one, other = (resample(each, PESQ_RATE).mono() for each in (clean, changed))
    try:
        return float(pesq(PESQ_RATE, one, other, "wb"))
    except PesqError as error:
        raise SafegenError(
            f"PESQ cannot score these {clean.seconds:.1f} s: {error}",
            remedy="Give at least a quarter of a second of speech.",
        ) from error


def visqol(clean: Audio, changed: Audio) -> float:
    """Score a changed sound against the clean one by ViSQOL 3.3.3's audio mode, in [1, 4.74].

    The audio mode is used for speech, too: the package's speech mode without TensorFlow Lite
    is known to flatter by a point or two.

    Raises:
        SafegenError: If the package visqol-python is not installed.

    Cost: about 7 s of one core for ten seconds of sound.
    """
    try:
        from visqol.audio_utils import AudioSignal
    except ImportError as error:
        raise SafegenError(
            "the package visqol-python is not installed",
            remedy="Install it with `pip install --no-deps visqol-python`.",
        ) from error
    one, other = (
        AudioSignal(resample(each, _VISQOL_RATE).mono().astype(np.float64), _VISQOL_RATE)
        for each in (clean, changed)
    )
    return float(_visqol_manager().run_from_signals(one, other).moslqo)


@lru_cache(maxsize=1)
def _visqol_manager() -> Any:
    """Put the package's parts together as its own audio mode does, with our reader of the table."""
    import visqol
    from visqol import gammatone, patch_creator
    from visqol import visqol_manager as parts

    table = Path(str(visqol.__file__)).parent / "model" / "libsvm_nu_svr_model.txt"
    manager: Any = parts.VisqolManager()
    manager.patch_creator = patch_creator.ImagePatchCreator(parts.PATCH_SIZE_AUDIO)
    manager.spect_builder = gammatone.GammatoneSpectrogramBuilder(
        parts.NUM_BANDS_AUDIO, parts.MINIMUM_FREQ, speech_mode=False
    )
    manager.quality_mapper = SupportVectors.read(table)
    manager.is_initialized = True
    return manager


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportVectors:
    """A nu-SVR with a radial kernel, as libsvm writes it.

    Attributes:
        vectors: Shape (vectors, features).
        weights: Shape (vectors,).
        gamma: Of the kernel.
        rho: What is subtracted.
    """

    vectors: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    gamma: float
    rho: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read libsvm's text format.

        Raises:
            SafegenError: If it is another kind of table.
        """
        head, _, body = path.read_text("ascii").partition("\nSV\n")
        facts = dict(line.split(" ", 1) for line in head.splitlines())
        if (facts.get("svm_type"), facts.get("kernel_type")) != ("nu_svr", "rbf"):
            raise SafegenError(
                f"{path.name} holds {facts.get('svm_type')} with {facts.get('kernel_type')}, "
                "expected nu_svr with rbf",
                remedy="Install the version of visqol-python that constraints.txt names.",
            )
        rows = [line.split() for line in body.splitlines() if line.strip()]
        return cls(
            vectors=np.array([[float(cell.partition(":")[2]) for cell in row[1:]] for row in rows]),
            weights=np.array([float(row[0]) for row in rows]),
            gamma=float(facts["gamma"]),
            rho=float(facts["rho"]),
        )

    def predict_quality(
        self,
        fvnsim: npt.NDArray[np.float64],
        fvnsim10: npt.NDArray[np.float64] | None = None,
        fstdnsim: npt.NDArray[np.float64] | None = None,
        fvdegenergy: npt.NDArray[np.float64] | None = None,
    ) -> float:
        """Map the similarity of each band to an opinion, called by the package by these names."""
        del fvnsim10, fstdnsim, fvdegenergy
        squares = np.sum((self.vectors - np.asarray(fvnsim)[None]) ** 2, axis=1)
        score = float(self.weights @ np.exp(-self.gamma * squares)) - self.rho
        return min(max(score, 1.0), 5.0)
