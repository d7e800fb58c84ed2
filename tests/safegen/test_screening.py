"""Uploads are judged, logged and reported, whatever they are."""

import csv
import html.parser
import io
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from detectors import constellations
from detectors.base import Interval, Match, WatermarkFinding
from detectors.chromaprint import Pcm
from detectors.constellations import Query
from detectors.decoder_mark import DecoderMarkFinding
from detectors.errors import DetectorError
from detectors.synthetic.finding import SynthesisVerdict, SyntheticFinding
from registry import log as log_rows
from registry import releases
from registry.session import Database
from safegen import watermark
from safegen.audio import Audio, save
from safegen.generation.base import Request
from safegen.generation.systems import load as load_model
from safegen.listening import EarFindings, Ears, Heard, listen, listen_here, listen_in_pool
from safegen.matching import Prints
from safegen.policy import Fault, Verdict, judge_upload, load
from safegen.provenance import record
from safegen.provenance.c2pa import C2paFinding
from safegen.provenance.keys import KeyStore
from safegen.screening import Screening
from safegen.screening_report import html as html_report
from safegen.screening_report import table
from safegen.tables import safe_cell
from tests.safegen.conftest import tones
from tests.safegen.pool_help import deadly_ears
from tests.safegen.screening_help import (
    NOON,
    add_work,
    config_of,
    ears_of,
    open_home,
    quiet_classifier,
    screener_of,
)
from tests.safegen.synthesis_help import HIFIGAN, MARK

STANDARD = load("standard")


@dataclass(frozen=True, kw_only=True)
class Case:
    home: Path
    database: Database
    folder: Path
    ears: Ears
    names: list[str] = field(default_factory=list)

    def upload(self, name: str, audio: Audio) -> Path:
        path = self.folder / name
        save(audio, path)
        return path

    def screen(
        self,
        *paths: Path,
        ears: Ears | None = None,
        policy: str = "standard",
        resume: bool = False,
        picture: bool = False,
    ) -> list[Screening]:
        screener = screener_of(self.home, self.database, policy_name=policy)
        return list(
            screener.screen(
                paths,
                lambda todo: listen_here(todo, ears or self.ears, with_picture=picture),
                resume=resume,
            )
        )


@pytest.fixture
def case(home: Path, tmp_path: Path) -> Iterator[Case]:
    database = open_home(home)
    folder = tmp_path / "uploads"
    folder.mkdir()
    yield Case(home=home, database=database, folder=folder, ears=ears_of(home, database))
    database.close()


def with_classifier(ears: Ears, probability: float, *, abstained: bool = False) -> Ears:
    finding = SyntheticFinding(
        probability=probability,
        abstained=abstained,
        reason="speech" if abstained else "",
        segments=(Interval(start_seconds=0.0, end_seconds=4.0, score=0.9),),
        model_id="test",
        verdict=SynthesisVerdict.INCONCLUSIVE if abstained else SynthesisVerdict.SYNTHETIC_LIKELY,
    )
    return replace(ears, classify=lambda _: finding)


def joined(*parts: Audio) -> Audio:
    return Audio(
        waveform=np.concatenate([part.waveform for part in parts], axis=1),
        sample_rate=parts[0].sample_rate,
    )


def test_an_upload_in_which_nothing_is_found_is_clear(case: Case) -> None:
    found = case.screen(case.upload("own.wav", tones(1)))[0]

    assert found.verdict is Verdict.CLEAR
    assert found.to_json()["reasons"] == []


def test_a_quotation_is_flagged_with_the_seconds_on_both_sides(case: Case) -> None:
    work = add_work(case.database, tones(5, seconds=30), title="Song", holders=("Acme",))
    quoting = joined(tones(1, seconds=10), tones(5, seconds=30).cut(8, 20), tones(2, seconds=5))

    row = case.screen(case.upload("cover.wav", quoting))[0].to_json()

    match = row["matches"][0]
    assert row["verdict"] == "flagged"
    assert row["reasons"][0]["rule"] == "R12"
    assert (match["work_id"], match["title"], match["rights_holder"]) == (work, "Song", "Acme")
    assert match["query_start_seconds"] == pytest.approx(10, abs=2.5)
    assert match["query_end_seconds"] == pytest.approx(22, abs=2.5)
    assert match["reference_start_seconds"] == pytest.approx(8, abs=2.5)
    assert match["license_id"] == ""


def test_a_licensed_quotation_is_told_and_not_held_against_the_upload(case: Case) -> None:
    add_work(case.database, tones(5, seconds=20), title="Song", holders=("A",), uses=("sample",))

    row = case.screen(case.upload("a.wav", tones(5, seconds=20)))[0].to_json()

    assert row["verdict"] == "clear"
    assert row["matches"][0]["license_id"]


def test_a_license_that_has_ended_covers_nothing(case: Case) -> None:
    sound = tones(5, seconds=20)
    add_work(case.database, sound, title="S", holders=("A",), uses=("sample",), until=NOON)

    assert case.screen(case.upload("a.wav", sound))[0].verdict is Verdict.FLAGGED


def test_our_own_watermark_is_flagged_with_its_id(case: Case) -> None:
    key = KeyStore(config_of(case.home).keys).current_watermark_key()
    marked = watermark.embed(tones(3, seconds=12), payload=0xABCDEF, key=key.secret)

    row = case.screen(case.upload("marked.wav", marked))[0].to_json()

    assert row["verdict"] == "flagged"
    assert row["reasons"][0]["rule"] == "R14"
    assert row["watermark"]["payload"] == "0000000000abcdef"


def test_a_sound_of_the_shipped_codec_is_flagged_wherever_it_was_made(case: Case) -> None:
    made = load_model("music-flow").generate(Request(prompt="a piano", seconds=6.0, seed=1))

    row = case.screen(case.upload("made-elsewhere.wav", made.audio))[0].to_json()

    assert row["verdict"] == "flagged"
    assert row["reasons"][0]["rule"] == "R14"
    assert "the shipped safegen codec" in row["reasons"][0]["problem"]
    assert row["decoder_mark"]["detected"]
    assert row["watermark"]["detected"] is False


def test_the_same_marked_file_can_be_screened_twice(case: Case) -> None:
    key = KeyStore(config_of(case.home).keys).current_watermark_key()
    marked = watermark.embed(tones(3, seconds=12), payload=7, key=key.secret)
    path = case.upload("marked.wav", marked)

    assert len(case.screen(path, path)) == 2


@pytest.mark.parametrize(
    ("probability", "policy", "verdict"),
    [
        (0.95, "standard", "flagged"),
        (0.9, "standard", "flagged"),
        (0.7, "standard", "inconclusive"),
        (0.59, "standard", "clear"),
        (0.85, "strict", "flagged"),
        (0.99, "permissive", "clear"),
    ],
)
def test_the_synthetic_score_is_judged_by_the_policy(
    case: Case, probability: float, policy: str, verdict: str
) -> None:
    path = case.upload("a.wav", tones(1))

    found = case.screen(path, ears=with_classifier(case.ears, probability), policy=policy)[0]

    assert found.verdict.value == verdict


@pytest.mark.parametrize("policy", ["strict", "standard", "permissive"])
def test_a_verdict_that_finds_nothing_is_never_held_against_an_upload(policy: str) -> None:
    finding = replace(
        quiet_classifier(tones(1, seconds=1)),
        verdict=SynthesisVerdict.NO_SYNTHESIS_EVIDENCE,
        probability=0.99,
    )

    assert judge_upload(load(policy), silent(synthetic=finding), ()).verdict is Verdict.CLEAR


def test_the_reason_names_the_generator_and_how_sure_it_is() -> None:
    finding = replace(
        quiet_classifier(tones(1, seconds=1)),
        verdict=SynthesisVerdict.KNOWN_GENERATOR,
        generator="hifigan",
        probability=0.99,
        llr=5.2,
        p_value=0.001,
    )

    reason = judge_upload(STANDARD, silent(synthetic=finding), ()).reasons[0]

    assert (reason.rule, reason.verdict) == ("R13", Verdict.FLAGGED)
    assert reason.problem == (
        "sounds like hifigan (known generator): log likelihood ratio 5.2, p = 1.0e-03, "
        "synthetic probability 0.99 at a prior of 0.5, flagged from 0.9"
    )


@pytest.mark.parametrize(("policy", "verdict"), [("strict", "inconclusive"), ("standard", "clear")])
def test_abstaining_is_an_answer(case: Case, policy: str, verdict: str) -> None:
    ears = with_classifier(case.ears, 0.5, abstained=True)

    found = case.screen(case.upload("a.wav", tones(1)), ears=ears, policy=policy)[0]

    assert found.verdict.value == verdict
    assert found.to_json()["synthetic"]["abstained"] is True


@pytest.mark.parametrize("policy", ["strict", "standard", "permissive"])
def test_an_ear_that_breaks_makes_the_file_inconclusive(case: Case, policy: str) -> None:
    def broken(_: Prints) -> tuple[Match, ...]:
        raise DetectorError("no index")

    ears = replace(case.ears, match=broken)
    found = case.screen(case.upload("a.wav", tones(1)), ears=ears, policy=policy)[0]

    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no index" in found.to_json()["reasons"][0]["problem"]


def test_a_probability_that_is_not_a_number_is_inconclusive(case: Case) -> None:
    path = case.upload("a.wav", tones(1))

    found = case.screen(path, ears=with_classifier(case.ears, math.nan))[0]

    assert found.verdict is Verdict.INCONCLUSIVE
    json.dumps(found.to_json(), allow_nan=False)


BAD_FILES = {
    "empty.wav": b"",
    "noise.mp3": bytes(range(256)) * 40,
    "text.flac": b"this is not audio\n" * 50,
    "playlist.mp3": b"#EXTM3U\nfile:///etc/passwd\n",
    "cut.wav": b"RIFF\xff\xff\x00\x00WAVEfmt ",
}


def test_files_that_cannot_be_decoded_are_reported_and_stop_nobody(case: Case) -> None:
    for name, content in BAD_FILES.items():
        (case.folder / name).write_bytes(content)
    good = case.upload("zz.wav", tones(1))

    found = case.screen(*sorted(case.folder.iterdir()), case.folder / "gone.wav")

    verdicts = {Path(each.file).name: each.verdict.value for each in found}
    assert verdicts == dict.fromkeys([*BAD_FILES, "gone.wav"], "undecodable") | {"zz.wav": "clear"}
    assert all(each.to_json()["reasons"][0]["rule"] == "R17" for each in found[:-2])
    assert [each.file for each in found][-2] == str(good)


def test_every_answer_is_in_the_log_byte_for_byte(case: Case) -> None:
    (case.folder / "bad.wav").write_bytes(b"x")
    paths = [case.upload("a.wav", tones(1)), case.folder / "bad.wav"]

    found = case.screen(*paths)

    with case.database.read() as session:
        for each in found:
            row = releases.get_output(session, str(each.body["record_id"]))
            entry = log_rows.entries(session, start=each.position, end=each.position + 1)[0].entry
            assert (row.kind, row.state, row.decision) == (
                "screening",
                "screened",
                each.verdict.value,
            )
            assert entry == row.record
            assert record.parse(entry) == each.body
            assert b"bad.wav" not in entry


def test_the_checks_of_every_rule_are_stored(case: Case) -> None:
    found = case.screen(case.upload("a.wav", tones(1)), ears=with_classifier(case.ears, 0.95))[0]

    with case.database.read() as session:
        checks = releases.get_output(session, str(found.body["record_id"])).checks
    assert {check.name: check.outcome for check in checks} == {
        "upload_match": "pass",
        "upload_synthetic": "fail",
        "upload_watermark": "pass",
        "upload_c2pa": "pass",
        "upload_ears": "pass",
        "upload_decode": "pass",
        "composition": "not_applicable",
    }


def test_resuming_answers_from_the_log_and_hears_only_what_is_new(case: Case) -> None:
    old, new = case.upload("old.wav", tones(1)), case.upload("new.wav", tones(2))
    first = case.screen(old)[0]
    heard: list[Audio] = []

    def counting(audio: Audio) -> SyntheticFinding:
        heard.append(audio)
        return quiet_classifier(audio)

    again = case.screen(old, new, ears=replace(case.ears, classify=counting), resume=True)

    assert [each.is_resumed for each in again] == [True, False]
    assert again[0].body == first.body
    assert len(heard) == 1


def test_resuming_under_another_policy_judges_again(case: Case) -> None:
    path = case.upload("a.wav", tones(1))
    case.screen(path, policy="standard")

    assert not case.screen(path, policy="strict", resume=True)[0].is_resumed


def test_many_matches_still_fit_a_log_entry(case: Case) -> None:
    work = add_work(case.database, tones(5), title="S" * 900, holders=("H" * 400,))
    match = Match(
        work_id=work,
        engine="chromaprint",
        query_start_seconds=0.0,
        query_end_seconds=6.0,
        reference_start_seconds=0.0,
        reference_end_seconds=6.0,
        score=0.9,
        p_value=1e-9,
    )
    ears = replace(case.ears, match=lambda _: (match,) * 5000)

    found = case.screen(case.upload("a.wav", tones(1)), ears=ears)[0]

    assert found.verdict is Verdict.FLAGGED


# Worker processes


@pytest.mark.slow
def test_a_file_that_kills_its_worker_is_undecodable_and_the_others_are_heard(case: Case) -> None:
    sound = case.upload("a.wav", tones(1, seconds=1))
    paths = [case.folder / name for name in ("b.wav", "deadly.wav", "c.wav", "d.wav")]
    for path in paths:
        shutil.copy(sound, path)
    paths.insert(0, sound)
    config = config_of(case.home)

    groups = list(listen_in_pool(paths, deadly_ears, config, jobs=2, with_picture=False))

    heard = [each for group in groups for each in group]
    assert [each.path for each in heard] == paths
    assert [bool(each.problem) for each in heard] == [False, False, True, False, False]


# Reports


class Outside(html.parser.HTMLParser):
    """Collects what a page would run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            is_link = name in ("src", "href") and not (value or "").startswith("data:image/png")
            if name.startswith("on") or is_link:
                self.found.append(f"{tag} {name}={value}")


def nasty(name: str) -> Screening:
    found = Heard(
        path=Path(name),
        sha256="0" * 64,
        size_bytes=1,
        seconds=0.0,
        findings=None,
        problem='<script>alert(1)</script>"><img src=x onerror=alert(1)>',
        picture=b"",
    )
    body = {
        "record_id": "r",
        "policy": {"name": "standard"},
        "sha256": found.sha256,
        "seconds": 0.0,
        "verdict": "undecodable",
        "reasons": [{"rule": "R17", "problem": found.problem}],
        "synthetic": {"probability": None, "abstained": None, "segments": []},
        "watermark": {"detected": None, "payload": None, "p_value": None, "intervals": []},
        "matches": [],
        "c2pa": {"state": "unreadable", "issuer": "", "generator": ""},
    }
    return Screening(file=name, body=body, position=0, is_resumed=False, size_bytes=1, picture=b"")


def test_a_report_shows_every_file_and_loads_nothing_from_outside(case: Case) -> None:
    add_work(case.database, tones(5, seconds=20), title="A <b>Song</b>", holders=("Ac&me",))
    found = case.screen(
        case.upload("quote.wav", tones(5, seconds=20)),
        case.upload("own.wav", tones(1)),
        ears=with_classifier(case.ears, 0.3),
        picture=True,
    )

    page = html_report(found, policy=STANDARD, at=NOON)
    outside = Outside()
    outside.feed(page)

    assert outside.found == []
    assert "script" not in outside.tags
    assert page.count("<article") == 2
    assert page.count("data:image/png;base64,") == 2
    assert page.index("quote.wav") < page.index("own.wav")
    assert "A &lt;b&gt;Song&lt;/b&gt;" in page


def test_a_report_shows_the_classifier_over_the_watermark_on_one_axis(case: Case) -> None:
    finding = replace(
        HIFIGAN,
        segments=(
            Interval(start_seconds=0.0, end_seconds=4.0, score=0.25),
            Interval(start_seconds=4.0, end_seconds=8.0, score=1.0),
        ),
    )
    mark = replace(MARK, intervals=(Interval(start_seconds=4.0, end_seconds=8.0, score=9.0),))
    ears = replace(case.ears, classify=lambda _: finding, detect=lambda _: mark)
    found = case.screen(case.upload("a.wav", tones(1, seconds=8)), ears=ears)

    page = html_report(found, policy=STANDARD, at=NOON)

    assert 'class="origin o-own_generator"' in page
    assert "ours: it carries our watermark" in page
    assert "The classifier alone: sounds like hifigan (known generator)." in page
    assert "Nothing shorter than 4 s is located." in page
    # A quarter of 44 units for the first half; the second half is full, above the mark.
    assert re.search(r'<rect x="0.0" y="\d+\.0" width="500.0" height="11.0"', page)
    assert re.search(r'<rect x="500.0" y="\d+\.0" width="500.0" height="44.0"', page)
    assert re.search(r'<rect x="500.0" y="[\d.]+" width="500.0" height="10" fill="#7c5cff"', page)
    assert "2756 Hz" in page
    assert "stride 256 every 86.13 Hz" in page


def test_a_report_draws_no_timeline_of_sound_the_classifier_does_not_know(case: Case) -> None:
    finding = replace(
        HIFIGAN,
        verdict=SynthesisVerdict.INCONCLUSIVE,
        abstained=True,
        out_of_domain="unlike the music it knows",
    )
    ears = replace(case.ears, classify=lambda _: finding)

    page = html_report(
        case.screen(case.upload("a.wav", tones(1)), ears=ears), policy=STANDARD, at=NOON
    )

    assert "because it has heard nothing like this (unlike the music it knows)" in page
    assert "over time</text>" not in page


def test_a_table_names_the_verdict_and_the_generator(case: Case) -> None:
    ears = replace(case.ears, classify=lambda _: HIFIGAN)
    found = case.screen(case.upload("a.wav", tones(1)), ears=ears)

    rows = list(csv.DictReader(io.StringIO(table(found))))

    assert rows[0]["synthetic_verdict"] == "known_generator"
    assert (rows[0]["generator"], rows[0]["because"]) == ("hifigan", "classifier")
    assert rows[0]["log_likelihood_ratio"] == "5.2"


def test_what_an_uploader_chose_cannot_become_markup() -> None:
    page = html_report(
        [nasty("<svg onload=alert(1)>.wav"), nasty("{{ 7*7 }}.wav")], policy=STANDARD, at=NOON
    )
    outside = Outside()
    outside.feed(page)

    assert outside.found == []
    assert "<script" not in page
    assert "{{ 7*7 }}.wav" in page


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-cmd", "'-cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("  =1", "'  =1"),
        ("plain", "plain"),
        (-1.5, "-1.5"),
        (None, ""),
        (True, "True"),
    ],
)
def test_a_cell_never_starts_a_formula(value: object, cell: str) -> None:
    assert safe_cell(value) == cell


def test_the_table_has_one_line_for_each_file_and_no_formula() -> None:
    names = ['=HYPERLINK("http://x")', "a,b\nc.wav", "@x"]

    rows = list(csv.reader(io.StringIO(table([nasty(name) for name in names]))))

    assert [row[0] for row in rows[1:]] == ["'" + names[0], names[1], "'@x"]


# The judgement alone


def silent(**changes: object) -> EarFindings:
    finding = EarFindings(
        matches=(),
        synthetic=quiet_classifier(tones(1, seconds=1)),
        watermark=WatermarkFinding(
            detected=False, payload=None, p_value=1.0, z=0.0, key_id="", intervals=()
        ),
        decoder_mark=DecoderMarkFinding(
            detected=False, p_value=1.0, score=0.0, speed=1.0, semitones=0.0, intervals=()
        ),
        c2pa=C2paFinding(
            state="absent",
            failures=(),
            record_id="",
            policy_sha256="",
            watermark_payload="",
            issuer="Somebody",
            generator="",
            source_type="",
        ),
        faults=(),
    )
    return replace(finding, **changes)  # type: ignore[arg-type]


IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.mark.parametrize(
    ("state", "source", "verdict"),
    [
        ("valid", "trainedAlgorithmicMedia", Verdict.FLAGGED),
        ("trusted", "compositeWithTrainedAlgorithmicMedia", Verdict.FLAGGED),
        ("valid", "digitalCapture", Verdict.CLEAR),
        ("invalid", "trainedAlgorithmicMedia", Verdict.INCONCLUSIVE),
        ("absent", "", Verdict.CLEAR),
        ("unreadable", "", Verdict.CLEAR),
    ],
)
def test_content_credentials_are_believed_only_when_they_hold(
    state: str, source: str, verdict: Verdict
) -> None:
    base = silent().c2pa
    assert base is not None
    manifest = replace(base, state=state, source_type=IPTC + source if source else "")  # type: ignore[arg-type]

    assert judge_upload(STANDARD, silent(c2pa=manifest), ()).verdict is verdict


@pytest.mark.parametrize("ear", ["synthetic", "watermark", "decoder_mark", "c2pa"])
def test_an_ear_that_says_nothing_at_all_is_not_taken_for_a_no(ear: str) -> None:
    decision = judge_upload(STANDARD, silent(**{ear: None}), ())

    assert decision.verdict is Verdict.INCONCLUSIVE
    assert decision.reasons[0].rule == "R16"


def test_the_worst_finding_wins_and_all_are_told() -> None:
    marked = WatermarkFinding(
        detected=True, payload=1, p_value=1e-9, z=9.0, key_id="k", intervals=()
    )
    fault = Fault(ear="catalog", problem="too short")

    decision = judge_upload(STANDARD, silent(watermark=marked, faults=(fault,)), ())

    assert decision.verdict is Verdict.FLAGGED
    assert [reason.rule for reason in decision.reasons] == ["R14", "R16"]


def test_an_upload_is_heard_once_for_matching_and_for_keeping(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    query_of = constellations.query_of

    def counted(samples: Pcm) -> Query:
        heard.append(len(samples))
        return query_of(samples)

    monkeypatch.setattr(constellations, "query_of", counted)

    case.screen(case.upload("a.wav", tones(5, seconds=8)))

    assert len(heard) == 1


def test_listening_never_raises(tmp_path: Path) -> None:
    def broken(_: object) -> None:
        raise MemoryError

    ears = Ears(
        match=broken,  # type: ignore[arg-type]
        compare_notes=broken,  # type: ignore[arg-type]
        classify=broken,  # type: ignore[arg-type]
        detect=broken,  # type: ignore[arg-type]
        hear_root=broken,  # type: ignore[arg-type]
        read_manifest=broken,  # type: ignore[arg-type]
    )
    path = tmp_path / "a.wav"
    save(tones(1, seconds=1), path)

    heard = listen(path, ears, with_picture=False)

    assert heard.findings is not None
    assert [fault.ear for fault in heard.findings.faults] == [
        "catalog",
        "composition",
        "synthetic",
        "watermark",
        "decoder_mark",
        "c2pa",
    ]
