"""Meters give the known score for the same sound, and less for a worse one."""

from pathlib import Path

import numpy as np
import pytest

from safegen.audio import Audio, load
from safegen.errors import SafegenError
from safegen.evaluation.attacks import ATTACKS
from safegen.evaluation.quality import SupportVectors, pesq_wideband, snr_db, visqol

ASSETS = Path(__file__).parents[2] / "assets"


def test_noise_of_30_db_is_measured_as_30_db() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 1)

    assert snr_db(sound, ATTACKS["noise-30db"](sound)) == pytest.approx(30.0, abs=0.05)


def test_no_change_and_silence_have_finite_ratios() -> None:
    silence = Audio(waveform=np.zeros((1, 100), np.float32), sample_rate=16_000)
    sound = load(ASSETS / "guitar.ogg").cut(0, 1)

    assert snr_db(sound, sound) > 100
    assert np.isfinite(snr_db(silence, silence))


def test_visqol_knows_the_same_sound_and_hears_noise() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 3)

    # 4.732 is what the original program gives to identical files.
    assert visqol(sound, sound) == pytest.approx(4.732, abs=0.001)
    assert visqol(sound, ATTACKS["noise-20db"](sound)) < 4.2


def test_pesq_says_what_is_too_short_for_it() -> None:
    short = Audio(waveform=np.full((1, 1_000), 0.1, np.float32), sample_rate=16_000)

    with pytest.raises(SafegenError, match=r"PESQ cannot score these 0\.1 s"):
        pesq_wideband(short, short)


def test_pesq_gives_its_highest_score_to_the_same_sound() -> None:
    sound = load(ASSETS / "guitar.ogg").cut(0, 3)

    assert pesq_wideband(sound, sound) == pytest.approx(4.64, abs=0.01)
    assert pesq_wideband(sound, ATTACKS["noise-20db"](sound)) < 4.0


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("svm_type c_svc\nkernel_type rbf\ngamma 1\nrho 0\nSV\n1 1:0.5\n")

    with pytest.raises(SafegenError, match="c_svc with rbf"):
        SupportVectors.read(path)


def test_a_table_is_evaluated_as_libsvm_does_it(tmp_path: Path) -> None:
    from sklearn.svm import NuSVR

    random = np.random.default_rng(1)
    points, values = random.random((40, 3)), random.random(40)
    fitted = NuSVR(gamma=0.5).fit(points, values)
    lines = [
        "svm_type nu_svr",
        "kernel_type rbf",
        "gamma 0.5",
        f"rho {-fitted.intercept_[0]}",
        "SV",
    ]
    for weight, vector in zip(fitted.dual_coef_[0], fitted.support_vectors_, strict=True):
        lines.append(f"{weight} " + " ".join(f"{i}:{x}" for i, x in enumerate(vector, 1)))
    (tmp_path / "table.txt").write_text("\n".join(lines) + "\n")
    query = np.array([0.2, 0.4, 0.9])

    ours = SupportVectors.read(tmp_path / "table.txt").predict_quality(query)

    assert ours == pytest.approx(max(1.0, float(fitted.predict(query[None])[0])), abs=1e-9)
