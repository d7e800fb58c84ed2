"""A head for a generator: fitted, measured, written, read."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.errors import DetectorError
from detectors.synthetic import comb, entries, reference, shipped, traces
from detectors.synthetic.judging import grouped
from detectors.synthetic.reference import Windows
from safegen.errors import InputError
from safegen.training.heads import Facts, eer, fit, learn_reference, template
from safegen.training.measured import Table

DICE = np.random.default_rng(3)
SPACING = 22_050 / 256
FACTS = Facts(
    name="toy",
    family="vocoder",
    own=False,
    sample_rate=22_050,
    spacings_hz=(SPACING,),
    min_seconds=4.0,
    card="for tests",
)


def outputs(count: int, *, lines_db: float = 1.5, sources: int = 12) -> Table:
    """Real windows with the lines of a decoder on top: a generator that copies."""
    real = shipped().reference
    rows = np.flatnonzero(~real.calibrate & real.speech)[:count]
    taken = real.windows.rows(rows)
    lifted = taken.residual.copy()
    lifted[:, comb._bins(SPACING)] += lines_db
    n = len(rows)
    return Table(
        windows=replace(taken, residual=lifted),
        generator=np.full(n, "toy"),
        source=np.array([f"s{i % sources}" for i in range(n)]),
        role=np.full(n, "train"),
        kind=np.full(n, "speech"),
        name=np.array([f"n{i}" for i in range(n)]),
        treatment=np.array(["clean", "mp3-64k"])[np.arange(n) % 2],
    )


def test_a_fitted_head_tells_outputs_it_has_not_heard() -> None:
    entry = fit(FACTS, outputs(120), shipped().reference)

    assert entry.figures["speech eer"] < 0.1
    assert entry.made == ("speech",)
    assert entry.codecs == ("mp3-64k",)
    assert entry.reference == shipped().reference.digest
    strongest = np.argsort(-entry.coefficients[: traces.LAST_BIN - traces.FIRST_BIN])[:40]
    assert np.isin(strongest, comb._bins(SPACING)).mean() > 0.8


def test_a_template_needs_no_fitting() -> None:
    entry = template(FACTS, outputs(60), shipped().reference)

    assert entry.figures["speech eer"] < 0.1
    bins = comb._bins(SPACING)
    assert (entry.coefficients[bins] > 0).all()
    assert not entry.coefficients[traces.LAST_BIN - traces.FIRST_BIN :].any()


def test_a_template_without_a_comb_is_refused() -> None:
    with pytest.raises(InputError, match="spacing"):
        template(replace(FACTS, spacings_hz=()), outputs(60), shipped().reference)


def test_too_few_outputs_are_refused() -> None:
    with pytest.raises(InputError, match="at least 6"):
        fit(FACTS, outputs(5), shipped().reference)


def test_files_of_a_few_voices_are_told_apart_by_name() -> None:
    assert fit(FACTS, outputs(60, sources=2), shipped().reference).made == ("speech",)


def test_rivals_are_what_a_head_is_not() -> None:
    rivals = outputs(120, lines_db=3.0).windows
    mine = outputs(120)
    alone = fit(FACTS, mine, shipped().reference)
    told = fit(FACTS, mine, shipped().reference, rivals=rivals)
    vectors = shipped().reference.vectors(rivals)

    assert told.scores(vectors).mean() < alone.scores(vectors).mean() - 1.0


def test_an_entry_survives_its_file_and_gives_the_same_bytes_again() -> None:
    entry = fit(FACTS, outputs(120), shipped().reference)
    data = entries.to_bytes(entry)
    again = entries.parse(data)
    vectors = shipped().reference.vectors(outputs(10).windows)

    assert np.allclose(again.scores(vectors), entry.scores(vectors), atol=1e-3)
    assert again.speech.at(4.0).llr(1.0) == pytest.approx(entry.speech.at(4.0).llr(1.0))
    assert entries.to_bytes(again) == data
    assert again.digest


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": "../evil"}, "the name"),
        ({"family": "unheard-of"}, "family"),
        ({"coefficients": np.full(3, np.nan)}, "finite"),
        ({"intercept": float("nan")}, "not finite"),
        ({"min_seconds": 5.0}, "least length"),
        ({"spacings_hz": (1e-7,)}, "spacing"),
        ({"made": ("smells",)}, "neither speech nor music"),
    ],
)
def test_an_impossible_entry_is_refused(change: dict[str, object], problem: str) -> None:
    entry = replace(fit(FACTS, outputs(60), shipped().reference), **change)  # type: ignore[arg-type]

    with pytest.raises(DetectorError, match=problem):
        entries.parse(entries.to_bytes(entry))


@pytest.mark.parametrize("data", [b"", b"\x08" + bytes(40), b"x" * 2_000_000])
def test_bytes_that_are_no_entry_are_refused(data: bytes) -> None:
    with pytest.raises(DetectorError, match="entry"):
        entries.parse(data)


def toy_table(n: int = 120) -> Table:
    """Numbers of "speech" and "music" that differ in their domain alone."""
    speech = np.arange(n) % 2 == 0
    domain = DICE.standard_normal((n, traces.DOMAIN_SIZE)).astype(np.float32)
    domain[:, 0] += np.where(speech, 3.0, -3.0)
    shape = len(traces.texture_names()) + len(traces.pulse_names())
    residual = traces.LAST_BIN - traces.FIRST_BIN
    return Table(
        windows=Windows(
            residual=DICE.standard_normal((n, residual)).astype(np.float32),
            shape=DICE.standard_normal((n, shape)).astype(np.float32),
            domain=domain,
        ),
        generator=np.full(n, ""),
        source=np.array([f"s{i % 10}" for i in range(n)]),
        role=np.where(np.arange(n) % 3 == 0, "calibrate", "train"),
        kind=np.where(speech, "speech", "music"),
        name=np.array([f"n{i}" for i in range(n)]),
        treatment=np.full(n, "clean"),
    )


def test_a_reference_knows_speech_from_music_and_what_is_unlike_both() -> None:
    table = toy_table()
    made = learn_reference(table, card={})
    odds = made.speech_log_odds(table.windows.domain)

    assert ((odds > 0) == (table.kind == "speech")).mean() > 0.95
    assert np.median(made.distance(table.windows.domain)) < 1.0
    assert made.distance(table.windows.domain + 20.0).min() > 1.0


def test_a_reference_survives_its_file() -> None:
    made = learn_reference(toy_table(), card={"a": 1})
    data = reference.to_bytes(made)
    again = reference.parse(data)

    assert np.abs(again.windows.residual - np.clip(made.windows.residual, -2, 3)).max() < 0.011
    assert (again.source == made.source).all()
    assert (again.calibrate == made.calibrate).all()
    assert again.card == '{"a": 1}'
    assert reference.to_bytes(again) == data


def test_windows_of_one_source_make_longer_sounds() -> None:
    source = np.array(["a", "a", "b", "a", "b", "a", "c"])

    assert [g.tolist() for g in grouped(source, 2)] == [[0, 1], [3, 5], [2, 4]]


def test_the_equal_error_rate_of_known_scores() -> None:
    assert eer([1.0, 2.0], [-1.0, 0.0]) == 0.0
    assert eer(np.arange(100.0), np.arange(100.0)) == pytest.approx(0.5, abs=0.02)
    assert eer(np.arange(10.0) + 5, np.arange(10.0)) == pytest.approx(0.25, abs=0.06)
