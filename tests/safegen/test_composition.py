"""A hint that a sound plays the notes of a work: found in the catalog's index, never a verdict."""

import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from detectors import composition
from detectors.base import Match
from detectors.composition import BINS, CompositionMatch, NotComparableError
from registry import catalog, releases
from registry.catalog import NewFingerprint, NewRight, NewWork
from registry.index_source import Engine
from registry.reindexing import inspect, rebuild
from registry.schema import open_database
from registry.session import Database
from safegen.audio import Audio, save
from safegen.errors import InputError
from safegen.gate import Gate
from safegen.generation.base import ModelFacts
from safegen.generation.compose import Plan, compose
from safegen.generation.procedural import render
from safegen.handover import refuse_fingerprint
from safegen.listening import EarFindings, Heard, listen_here
from safegen.matching import ENGINES, INDEXES, CatalogMatcher, catalog_fingerprints
from safegen.policy import (
    COMPOSITION,
    SHIPPED,
    Action,
    CheckResult,
    Outcome,
    Verdict,
    compositions_not_compared,
    decide_early,
    judge_compositions,
    judge_upload,
    load,
    parse,
    text_of,
)
from tests.safegen.screening_help import NOON, add_work, ears_of, open_home, screener_of

SECONDS = 40.0
FOREIGN = ModelFacts(name="Test 1", version="unknown", license="unknown")


@pytest.fixture
def database(tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    shutil.copy(sqlite_template, tmp_path / "safegen.db")
    with open_database(f"sqlite:///{tmp_path / 'safegen.db'}") as database:
        yield database


@cache
def piece(seed: int) -> Audio:
    """Play a composed piece on sine waves; 17 and 23 share neither chords nor tempo."""
    return render(compose(seed), seconds=SECONDS)


@cache
def cover(seed: int) -> Audio:
    """Play it a third higher, a twentieth faster, on other instruments."""
    plan: Plan = compose(seed)
    arranged = replace(
        plan,
        instrument="flute" if plan.instrument != "flute" else "cello",
        comp="strings" if plan.comp != "strings" else "guitar",
        root=(plan.root + 4) % 12,
        tempo_bpm=round(plan.tempo_bpm * 1.05),
    )
    return render(arranged, seconds=SECONDS).cut(5.0, 25.0)


def test_the_notes_of_a_work_are_found_in_another_recording_which_no_engine_takes_for_it(
    database: Database,
) -> None:
    works = [
        add_work(database, piece(seed), title=f"Piece {seed}", holders=("A",)) for seed in (17, 23)
    ]
    matcher = CatalogMatcher(database)

    found = matcher.compositions(cover(23))

    assert found[0].work_id == works[1]
    assert found[0].p_value < 1e-3
    assert found[0].semitones == 4
    assert found[0].speed == pytest.approx(1.05, abs=0.03)
    assert matcher.match(cover(23)) == ()


def test_works_from_before_there_was_chroma_are_not_compared_and_found_when_they_have_it(
    database: Database,
) -> None:
    whole = NewWork(
        title="Piece",
        rights=(NewRight(rights_holder="A", share_percent=100.0),),
        licenses=(),
        fingerprints=catalog_fingerprints(piece(17)),
        seconds=SECONDS,
        content_sha256="0" * 64,
        source_name="piece.wav",
    )
    older = tuple(each for each in whole.fingerprints if each.engine in ENGINES)
    with database.begin() as session:
        work = catalog.add_work(session, replace(whole, fingerprints=older), at=NOON).work_id
    matcher = CatalogMatcher(database)
    with pytest.raises(NotComparableError, match="no work has notes"):
        matcher.compositions(cover(17))

    with database.begin() as session:
        catalog.add_work(session, whole, at=NOON)

    assert [found.work_id for found in matcher.compositions(cover(17))] == [work]


def test_the_index_on_disk_is_searched_and_forgets_removed_works(
    database: Database, tmp_path: Path
) -> None:
    works = [
        add_work(database, piece(seed), title=f"Piece {seed}", holders=("A",)) for seed in (17, 23)
    ]
    folder = tmp_path / "index"
    engine: Engine = INDEXES[composition.ENGINE]
    rebuild(database, engine, folder / composition.ENGINE)
    with database.read() as session:
        state = inspect(session, engine, folder / composition.ENGINE)
    matcher = CatalogMatcher(database, index_folder=folder)
    with_both = matcher.compositions(cover(23))
    with database.begin() as session:
        catalog.remove_work(session, works[1], at=NOON)

    assert state is not None
    assert (state.works, state.is_usable, state.behind) == (2, True, 0)
    assert state.size_bytes < 8_000
    assert with_both[0].work_id == works[1]
    assert works[1] not in {found.work_id for found in matcher.compositions(cover(23))}
    assert matcher.index(composition.ENGINE).work_count == 1


def test_chroma_takes_no_part_in_finding_recordings() -> None:
    assert set(INDEXES) - set(ENGINES) == {composition.ENGINE}


def test_a_short_sound_gets_no_answer(database: Database) -> None:
    with pytest.raises(NotComparableError, match="limit 15 s"):
        CatalogMatcher(database).compositions(piece(17).cut(0.0, 12.0))


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (0, "0 bytes of chroma"),
        (BINS * 80 + 1, "961 bytes of chroma"),
        (BINS * 20, "20 cells do not cover 40 s, which have 81"),
        (BINS * 200, "200 cells do not cover 40 s"),
        (BINS * (composition.MOST_CELLS + 1), "bytes of chroma, not 12"),
    ],
)
def test_chroma_that_no_recording_of_this_length_has_is_refused(size: int, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        refuse_fingerprint(
            NewFingerprint(engine=composition.ENGINE, items=bytes(size)), seconds=SECONDS
        )


@pytest.mark.parametrize("seconds", [2.8, 3.7, 40.0, 61.3])
def test_chroma_of_a_whole_recording_is_taken(seconds: float) -> None:
    prints = catalog_fingerprints(piece(17).cut(0.0, min(seconds, SECONDS)))
    (notes,) = [each for each in prints if each.engine == composition.ENGINE]

    refuse_fingerprint(notes, seconds=min(seconds, SECONDS))


# R18


def hint(work_id: str, *, p_value: float = 1e-5) -> CompositionMatch:
    return CompositionMatch(
        work_id=work_id,
        query_start_seconds=0.0,
        query_end_seconds=20.0,
        work_start_seconds=3.0,
        work_end_seconds=23.0,
        semitones=2,
        speed=1.0,
        agreement=0.8,
        score=15.0,
        p_value=p_value,
    )


def judged(*hints: CompositionMatch, **apart: frozenset[str]) -> CheckResult:
    nothing: frozenset[str] = frozenset()
    return judge_compositions(
        load("strict"),
        hints,
        licensed=apart.get("licensed", nothing),
        quoted=apart.get("quoted", nothing),
    )


def test_a_hint_counts_unless_unlikely_licensed_or_found_as_a_recording() -> None:
    assert judged(hint("a")).outcome is Outcome.FAIL
    assert judged(hint("a", p_value=0.002)).outcome is Outcome.PASS
    assert judged(hint("a", p_value=math.nan)).outcome is Outcome.PASS
    assert judged(hint("a"), licensed=frozenset("a")).outcome is Outcome.PASS
    assert judged(hint("a"), quoted=frozenset("a")).outcome is Outcome.PASS
    assert judged(hint("a"), hint("b"), licensed=frozenset("a")).evidence == {"works": ["b"]}


@pytest.mark.parametrize(
    ("policy", "action"),
    [("strict", Action.QUARANTINE), ("standard", Action.LABEL), ("permissive", Action.RELEASE)],
)
@pytest.mark.parametrize("outcome", [Outcome.FAIL, Outcome.ERROR, Outcome.TIMEOUT])
def test_a_hint_and_a_search_that_broke_weigh_the_same_and_never_block(
    policy: str, action: Action, outcome: Outcome
) -> None:
    decision = decide_early(load(policy), [CheckResult(name=COMPOSITION, outcome=outcome)])

    assert decision.action is action


@pytest.mark.parametrize("policy", SHIPPED)
def test_what_cannot_be_compared_has_no_consequence(policy: str) -> None:
    result = compositions_not_compared("too short")

    assert decide_early(load(policy), [result]).reasons == ()


def test_no_policy_can_block_on_a_hint() -> None:
    text = text_of("strict").replace("on_match: quarantine", "on_match: block")

    with pytest.raises(InputError, match="a hint never blocks"):
        parse(text, source="mine")


@pytest.mark.parametrize(("policy", "state"), [("strict", "quarantined"), ("standard", "released")])
def test_the_gate_gives_the_hint_to_a_person_and_keeps_it_in_the_record(
    home: Path, tmp_path: Path, policy: str, state: str
) -> None:
    gate = Gate.open(home, policy_name=policy)
    try:
        work = add_work(gate.database, piece(23), title="Piece 23", holders=("A",))
        sound = cover(23)
        release = gate.submit(sound, FOREIGN, out=tmp_path / "out")
        with gate.database.read() as session:
            row = releases.get_output(session, release.item.record_id)
        body = json.loads(row.record)
    finally:
        gate.close()

    assert row.state == state
    assert "R18" in {reason["rule"] for reason in body["decision"]["reasons"]}
    (told,) = body["compositions"]
    assert (told["work_id"], told["title"], told["status"]) == (work, "Piece 23", "unlicensed")
    assert release.to_json()["compositions"] == [told]
    (check,) = [each for each in row.checks if each.name == COMPOSITION]
    assert check.outcome == "fail"
    assert row.matches == ()


def test_the_gate_passes_over_compositions_under_a_license_and_in_short_sounds(
    home: Path, tmp_path: Path
) -> None:
    gate = Gate.open(home)
    try:
        add_work(gate.database, piece(23), title="Piece 23", holders=("A",), uses=("sample",))
        licensed = gate.submit(cover(23), FOREIGN, out=tmp_path / "out")
        short = gate.submit(cover(23).cut(0.0, 10.0), FOREIGN, out=tmp_path / "out")
    finally:
        gate.close()

    outcomes = [
        next(check for check in each.judgement.checks if check.name == COMPOSITION)
        for each in (licensed, short)
    ]
    assert [each.outcome for each in outcomes] == [Outcome.PASS, Outcome.NOT_APPLICABLE]
    assert licensed.to_json()["compositions"][0]["status"] == "licensed"
    assert all("R18" not in str(each.to_json()["reasons"]) for each in (licensed, short))


def test_an_upload_that_plays_a_work_is_inconclusive_at_most(home: Path, tmp_path: Path) -> None:
    database = open_home(home)
    work = add_work(database, piece(23), title="Piece 23", holders=("A",))
    path = tmp_path / "cover.wav"
    save(cover(23), path)
    ears = ears_of(home, database)
    screener = screener_of(home, database)

    def listener(paths: Iterable[Path]) -> Iterator[tuple[Heard, ...]]:
        return listen_here(paths, ears, with_picture=False)

    (found,) = screener.screen([path], listener, resume=False)
    with database.read() as session:
        row = releases.get_output(session, str(found.body["record_id"]))
    database.close()

    assert found.verdict is Verdict.INCONCLUSIVE
    assert [reason["rule"] for reason in found.to_json()["reasons"]] == ["R18"]
    assert [each["work_id"] for each in found.to_json()["compositions"]] == [work]
    assert {each.name: each.outcome for each in row.checks}[COMPOSITION] == "fail"


def test_an_upload_whose_recording_was_found_needs_no_hint() -> None:
    match = Match(
        work_id="a",
        engine="landmarks",
        query_start_seconds=0.0,
        query_end_seconds=20.0,
        reference_start_seconds=0.0,
        reference_end_seconds=20.0,
        score=0.9,
        p_value=1e-9,
    )
    findings = EarFindings(
        matches=(match,),
        synthetic=None,
        watermark=None,
        decoder_mark=None,
        c2pa=None,
        faults=(),
        compositions=(hint("a"), hint("b")),
    )

    reasons = judge_upload(load("standard"), findings, frozenset()).reasons

    assert [r.rule for r in reasons if r.rule != "R16"] == ["R12", "R18"]
    assert "work b" in next(r.problem for r in reasons if r.rule == "R18")
