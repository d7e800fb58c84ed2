"""Drift is called when scores move, and not when they do not."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from registry import releases
from registry.releases import NewOutput
from safegen.cli import main
from safegen.drift import LEAST_FILES, alerts, compare
from safegen.errors import InputError
from safegen.listening import listen_here
from safegen.provenance import record
from safegen.served import (
    ABSTAINED,
    DISTANCE,
    DOMAIN,
    LLR,
    REAL_SCORE,
    SCORE,
    VERDICT,
    Period,
    judged_of,
    model_of,
    parse_reference,
    period,
)
from tests.safegen.conftest import tones
from tests.safegen.screening_help import ears_of, open_home, screener_of

SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC)
OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)


def body(
    number: int,
    *,
    probability: float | None = 0.1,
    abstained: bool = False,
    model: str = "heads-1",
    watermark: bool = False,
    **more: object,
) -> dict[str, Any]:
    """A screening's record, as far as drift reads it."""
    return {
        "sha256": f"{number:064x}",
        "verdict": "clear",
        "synthetic": {
            "probability": probability,
            "abstained": abstained,
            "reason": "",
            "model": model,
            "segments": [],
            **more,
        },
        "watermark": {"detected": watermark},
        "c2pa": {"source_type": ""},
    }


def traffic(
    seed: int, *, files: int = 400, shift: float = 0.0, fakes: float = 0.1, abstained: float = 0.05
) -> list[dict[str, Any]]:
    """Uploads: real ones around a log-odds of -3 plus ``shift``, fakes around 3."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(files):
        is_fake = rng.random() < fakes
        llr = rng.normal(3.0 if is_fake else -3.0 + shift, 1.0)
        declines = bool(rng.random() < abstained)
        found.append(
            body(
                seed * 100_000 + number,
                probability=0.5 if declines else round(float(1 / (1 + np.exp(-llr))), 4),
                abstained=declines,
                llr=float(llr),
                distance=float(rng.gamma(9.0) + shift),
                out_of_domain="unlike it" if declines else "",
                verdict="inconclusive"
                if declines
                else ("synthetic_likely" if llr > 0 else "no_synthesis_evidence"),
            )
        )
    return found


def gathered(bodies: Sequence[dict[str, Any]], *, model: str = "heads-1") -> Period:
    return period([judged_of(each) for each in bodies], since=SEPTEMBER, until=OCTOBER, model=model)


def test_the_same_traffic_is_no_drift_in_nearly_all_cases() -> None:
    drifted = [
        compare(gathered(traffic(seed)), gathered(traffic(seed + 50))).has_drifted
        for seed in range(40)
    ]

    assert sum(drifted) <= 1


def test_scores_of_real_files_that_moved_are_an_alert_that_says_what_to_do() -> None:
    found = compare(gathered(traffic(1)), gathered(traffic(2, shift=1.0)))
    said = {each.what: each for each in alerts(found)}

    assert found.has_drifted
    assert {REAL_SCORE, SCORE, LLR, DISTANCE} <= set(said)
    assert "calibrate again" in said[REAL_SCORE].remedy
    assert said[LLR].title == f"The {LLR} has moved up"
    assert "% do now (95 % interval" in said[REAL_SCORE].detail


def test_more_fakes_are_told_from_a_classifier_that_slipped() -> None:
    found = compare(gathered(traffic(1)), gathered(traffic(2, fakes=0.4)))
    said = [each.what for each in alerts(found)]

    assert SCORE in said
    assert f"{VERDICT}: synthetic_likely" in said
    assert REAL_SCORE not in said


def test_abstentions_that_became_frequent_are_an_alert() -> None:
    found = compare(gathered(traffic(1)), gathered(traffic(2, abstained=0.3)))
    said = [each.what for each in alerts(found)]

    assert said == [ABSTAINED, DOMAIN, *[name for name in said if name.startswith(VERDICT)]]


def test_many_files_do_not_make_a_small_change_an_alert() -> None:
    before, now = traffic(1, files=15_000), traffic(2, files=15_000, shift=0.08)
    found = compare(gathered(before), gathered(now))
    (shift,) = [each for each in found.shifts if each.measure == REAL_SCORE]

    assert shift.ks_p_value < 0.01
    assert not found.has_drifted


def test_too_few_files_are_refused_and_a_measure_with_too_few_is_not_judged() -> None:
    few = gathered(traffic(1, files=LEAST_FILES - 1))
    enough = gathered(traffic(1))

    with pytest.raises(InputError, match=f"too few: {LEAST_FILES - 1} files"):
        compare(enough, few)

    found = compare(enough, gathered(traffic(2, abstained=0.9)))
    status = {each.measure: each.status for each in found.shifts}

    assert status[SCORE] == "too few"
    assert status[DISTANCE] == "judged"
    assert found.has_drifted


def test_records_from_before_the_verdicts_are_read() -> None:
    old = [body(number, probability=0.01 * (number % 90)) for number in range(300)]
    found = compare(gathered(old), gathered(old))
    status = {each.measure: each.status for each in found.shifts}

    assert status == {
        REAL_SCORE: "judged",
        SCORE: "judged",
        LLR: "not recorded",
        DISTANCE: "not recorded",
    }
    assert not found.has_drifted


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"synthetic": None, "watermark": 3, "c2pa": []},
        {"synthetic": {"probability": "high", "llr": True, "distance": None, "model": None}},
        body(1, probability=None),
    ],
)
def test_a_record_that_says_nothing_is_no_answer(broken: dict[str, Any]) -> None:
    found = judged_of(broken)

    assert found.probability is None
    assert found.llr is None
    assert not found.is_taken_for_real


def test_marked_files_and_those_of_other_models_are_no_real_scores() -> None:
    bodies = [
        *(body(number) for number in range(10)),
        *(body(number, watermark=True) for number in range(10, 15)),
        *(body(number, model="heads-0") for number in range(20, 23)),
        *(body(number, probability=None, model="") for number in range(30, 32)),
        body(0, probability=0.9),
    ]
    found = gathered(bodies)

    assert model_of(judged_of(each) for each in bodies) == "heads-1"
    assert (found.files, found.answered, found.others) == (17, 15, 3)
    assert found.samples[REAL_SCORE].count == 10
    assert found.samples[SCORE].values.max() == pytest.approx(0.1)


def test_real_sound_that_became_undecided_still_moves_the_scores_of_real_sound() -> None:
    def bodies(seed: int, center: float) -> list[dict[str, Any]]:
        found = []
        for number, llr in enumerate(np.random.default_rng(seed).normal(center, 1.0, 300)):
            declines = llr > -2.0
            found.append(
                body(
                    seed * 1000 + number,
                    probability=0.5 if declines else 0.1,
                    abstained=bool(declines),
                    llr=float(llr),
                    distance=0.5,
                    out_of_domain="",
                    verdict="inconclusive" if declines else "no_synthesis_evidence",
                )
            )
        return found

    found = compare(gathered(bodies(1, -4.0)), gathered(bodies(2, -2.0)))
    (shift,) = [each for each in found.shifts if each.measure == REAL_SCORE]

    assert (shift.before, shift.now) == (300, 300)
    assert shift.has_moved


def test_a_file_that_was_not_measured_has_no_distance_and_no_ratio() -> None:
    found = judged_of(
        body(1, abstained=True, probability=0.5, llr=0.0, distance=0.0, verdict="inconclusive")
    )

    assert found.distance is None
    assert found.in_domain_llr is None
    assert not found.is_taken_for_real


def test_two_models_are_not_compared() -> None:
    with pytest.raises(InputError, match="two models"):
        compare(
            gathered([body(number) for number in range(200)]),
            gathered([body(number, model="new") for number in range(200)], model="new"),
        )


def test_a_saved_reference_gives_the_answer_of_the_files_themselves() -> None:
    before, now = gathered(traffic(1, files=5000)), gathered(traffic(2, shift=0.5))
    again = parse_reference(json.loads(json.dumps(before.to_json())))
    direct, saved = compare(before, now), compare(again, now)

    assert [each.what for each in alerts(direct)] == [each.what for each in alerts(saved)]
    for one, other in zip(direct.shifts, saved.shifts, strict=True):
        assert one.ks == pytest.approx(other.ks, abs=2e-3)
    assert "0000" not in "".join(before.to_json()["tables"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "something"),
        (("since",), "yesterday"),
        (("since",), "2026-09-01T00:00:00"),
        (("samples", SCORE, "values"), [0.2, 0.1]),
        (("samples", SCORE, "values"), [float("nan")]),
        (("samples", SCORE, "count"), 0),
        (("tables", ABSTAINED, "yes"), -1),
        (("tables",), []),
    ],
)
def test_a_reference_that_was_tampered_with_is_refused(
    path: tuple[str, ...], value: object
) -> None:
    whole = gathered(traffic(1)).to_json()
    inner: Any = whole
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value

    with pytest.raises(InputError):
        parse_reference(whole)


def insert(home: Path, bodies: Sequence[dict[str, Any]], at: datetime) -> None:
    """Write screenings into the registry, one an hour."""
    with open_home(home) as database, database.begin() as session:
        for number, each in enumerate(bodies):
            key = int(each["sha256"], 16)
            releases.insert_output(
                session,
                NewOutput(
                    output_id=f"{key:08x}-0000-7000-8000-000000000000",
                    kind="screening",
                    state="screened",
                    decision="clear",
                    created_at=at + timedelta(hours=number),
                    policy_name="standard",
                    policy_sha256="0" * 64,
                    model_id=None,
                    file_name="",
                    path="",
                    sha256=each["sha256"],
                    seconds=1.0,
                    watermark_payload=None,
                    watermark_key_id="",
                    fingerprint=b"",
                    record=record.canonical(each),
                    log_index=key,
                ),
            )


def drift(home: Path, *arguments: str) -> Any:
    return CliRunner().invoke(
        main, ["detectors", "drift", *arguments], env={"SAFEGEN_HOME": str(home)}
    )


def test_the_command_compares_periods_of_the_database(home: Path, tmp_path: Path) -> None:
    insert(home, traffic(1, files=300), SEPTEMBER)
    insert(home, traffic(2, files=300, shift=1.5), OCTOBER)
    saved, report = tmp_path / "september.json", tmp_path / "drift.html"
    first = drift(
        home,
        *("--since", "2026-09-01", "--until", "2026-10-01", "--save-reference", str(saved)),
    )
    later = ["--since", "2026-10-01", "--until", "2026-11-01", "--format", "jsonl"]
    by_dates = drift(home, *later, "--against", "2026-09-01..2026-10-01")
    by_file = drift(home, *later, "--reference", str(saved), "--report", str(report))
    same = drift(
        home,
        "--since",
        "2026-09-07",
        "--until",
        "2026-10-01",
        "--against",
        "2026-09-01..2026-09-07",
    )

    assert first.exit_code == 0, first.output
    assert by_dates.exit_code == by_file.exit_code == 3, by_dates.output
    row = json.loads(by_dates.stdout)
    assert row["verdict"] == "drift"
    assert row["current"]["heard"] == 300
    assert REAL_SCORE in [each["what"] for each in row["alerts"]]
    assert json.loads(by_file.stdout)["measures"] == row["measures"]
    assert "What to do:" in report.read_text(encoding="utf-8")
    assert same.exit_code == 0, same.output
    assert same.stdout.startswith("no drift: 156 files since 2026-09-07 against 144")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--since", "2026-09-01", "--until", "2026-09-02"], "too few: 24 files"),
        (["--since", "2026-10-02", "--until", "2026-10-01"], "is not before"),
        (["--since", "soon"], "neither a day nor a time"),
        (["--against", "2026-09-01"], "is not a period"),
        (
            [
                "--since",
                "2026-09-05",
                "--until",
                "2026-09-14",
                "--against",
                "2026-09-01..2026-09-06",
            ],
            "after the current period began",
        ),
        (["--report", "drift.txt"], "ends in .html"),
        (["--save-reference", "r.json", "--report", "drift.html"], "alone makes none"),
    ],
)
def test_wrong_use_and_too_few_end_with_two(home: Path, arguments: list[str], fault: str) -> None:
    insert(home, traffic(1, files=300), SEPTEMBER)
    result = drift(home, *arguments)

    assert result.exit_code == 2
    assert fault in result.output


def test_a_screening_says_what_drift_reads(home: Path, tmp_path: Path) -> None:
    from safegen.audio import save

    upload = tmp_path / "upload.wav"
    save(tones(1), upload)
    with open_home(home) as database:
        ears = ears_of(home, database)
        (found,) = screener_of(home, database).screen(
            [upload], lambda todo: listen_here(todo, ears, with_picture=False), resume=False
        )

    assert judged_of(found.body).probability == pytest.approx(0.1)
    assert judged_of(found.body).model == "test"
    assert judged_of(found.body).is_taken_for_real
