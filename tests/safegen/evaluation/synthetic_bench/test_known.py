import numpy as np
import pytest

from detectors.synthetic.finding import SynthesisVerdict as V
from detectors.synthetic.judging import Roster
from safegen.evaluation.synthetic_bench import known, unknown
from safegen.evaluation.synthetic_bench.heard import Piece, judged, with_kept_scores, without
from tests.safegen.evaluation.synthetic_bench.rosters import judgement, piece, roster


@pytest.fixture(scope="module")
def three() -> Roster:
    return with_kept_scores(roster())


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [
        piece(generator, source=f"{generator} {number // 5}", seed=1000 * place + number)
        for place, generator in enumerate(("", "first", "second", "third"), start=1)
        for number in range(20)
    ]


def test_a_generator_is_found_by_its_own_head_and_named(three: Roster, pieces: list[Piece]) -> None:
    found = known.cells(list(judged(pieces, seconds=4.0, roster=three)), three)

    assert [cell.generator for cell in found] == ["first", "second", "third"]
    for cell in found:
        assert cell.eer == pytest.approx(0.0, abs=0.05)
        assert cell.named.rate > 0.9
        assert cell.falsely_named is not None
        assert cell.falsely_named.rate <= 0.1


def test_short_clips_of_one_source_make_longer_sounds(three: Roster, pieces: list[Piece]) -> None:
    longer = list(judged(pieces, seconds=20.0, roster=three))

    assert len(longer) == 16
    for each in longer:
        assert len(each.pieces) == 5
        assert len({p.clip.source for p in each.pieces}) == 1
        assert len(each.finding.segments) == 5


def test_sounds_of_one_treatment_are_not_joined_with_those_of_another(three: Roster) -> None:
    both = [piece(treatment=name, seed=i) for i, name in enumerate(("clean", "mp3-64k") * 2)]

    longer = list(judged(both, seconds=8.0, roster=three))

    assert [{p.treatment for p in j.pieces} for j in longer] == [{"clean"}, {"mp3-64k"}]


def test_a_sibling_of_the_family_is_wrong_but_family_right(three: Roster) -> None:
    said = [
        judgement(V.KNOWN_GENERATOR, generator="first", named="first"),
        judgement(V.KNOWN_GENERATOR, generator="first", named="second"),
        judgement(V.KNOWN_GENERATOR, generator="second", named="third"),
        judgement(V.INCONCLUSIVE, generator="third"),
    ]

    (found,) = known.confusions(said, three)

    assert found.right is not None
    assert (found.right.hits, found.right.n) == (1, 3)
    assert found.in_family is not None
    assert found.in_family.hits == 2
    assert (found.right_of_all.hits, found.right_of_all.n) == (1, 4)
    assert found.as_json()["matrix"] == {
        "first": {"first": 1, "second": 1},
        "second": {"third": 1},
        "third": {"inconclusive": 1},
    }


def test_a_generator_that_is_left_out_is_never_named(three: Roster, pieces: list[Piece]) -> None:
    rows = list(unknown.rows(pieces, roster=three, cards={}, seconds=4.0))

    assert [(r.generator, r.left_out) for r in rows] == [
        ("first", "generator"),
        ("first", "family"),
        ("second", "generator"),
        ("second", "family"),
        ("third", "generator"),
    ]
    for row in rows:
        assert all(j.finding.generator != row.generator for j in row.answers.synthetic)
    siblings = [j.finding.generator for j in rows[1].answers.synthetic]
    assert "second" not in siblings


def test_a_row_is_unseen_only_if_no_generic_model_has_learned_from_it(
    three: Roster, pieces: list[Piece]
) -> None:
    cards = {"generic": '{"generators": ["first"]}'}

    rows = list(unknown.rows(pieces, roster=three, cards=cards, seconds=4.0))

    assert {r.generator for r in rows if not r.is_unseen} == {"first"}
    pooled = unknown.together(rows, unseen=True)
    assert pooled is not None
    assert len(pooled.answers.synthetic) == 40


def test_an_abstention_says_nothing_and_costs_a_bit() -> None:
    answers = unknown.Answers(
        synthetic=(judgement(V.INCONCLUSIVE, llr=3.0), judgement(V.SYNTHETIC_LIKELY, llr=20.0)),
        real=(judgement(V.INCONCLUSIVE), judgement(V.NO_SYNTHESIS_EVIDENCE, llr=-20.0)),
    )
    row = unknown.summary(
        answers, kind="speech", generator="x", left_out="generator", learned_from=()
    )

    assert row is not None
    figures = row.as_json()
    assert figures["cllr"] == pytest.approx(0.5, abs=1e-4)
    assert figures["cllr_of_answered"] == pytest.approx(0.0, abs=1e-4)
    assert row.answering.rate == pytest.approx(0.5)
    assert row.auc == pytest.approx(1.0)


def test_leaving_a_family_out_keeps_the_others(three: Roster) -> None:
    left = without(three, generator="first", family="vocoder")

    assert [entry.name for entry in left.entries] == ["third"]
    assert np.isfinite(left.p_known(0.0, speech=True, seconds=4.0))
