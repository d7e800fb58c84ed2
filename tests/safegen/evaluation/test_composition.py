"""The benchmark of compositions: covers and strangers are counted as what they are."""

import pytest

from detectors.chromaprint import pcm
from detectors.composition import chroma_of, to_blob
from safegen.audio import Audio
from safegen.evaluation.composition import Held, Query, covers_of, report
from safegen.generation.compose import compose
from tests.safegen.test_composition import cover, piece


def query(row: str, name: str, audio: Audio) -> Query:
    return Query(row=row, name=name, samples=pcm(audio.waveform, audio.sample_rate))


def held(**works: Audio) -> Held:
    blobs = [to_blob(chroma_of(pcm(w.waveform, w.sample_rate))) for w in works.values()]
    return Held(names=list(works), blobs=blobs)


@pytest.fixture(scope="module")
def counted() -> dict[str, object]:
    catalogs = [held(own=piece(23)), held(other=piece(17))]
    strange = query("stranger", "own", piece(23).cut(0.0, 20.0))
    silent = Audio(waveform=0 * piece(23).waveform, sample_rate=piece(23).sample_rate)
    queries = [strange, query("pitch+2", "own", silent.cut(0.0, 20.0))]
    return report(catalogs, {"own": 0, "other": 1}, queries, [query("played", "own", cover(23))])


def test_a_cover_is_counted_as_found(counted: dict[str, object]) -> None:
    found = counted["found"]

    assert isinstance(found, dict)
    assert found["played"]["rank_1"]["hits"] == found["played"]["reviewed"]["hits"] == 1
    assert found["played"]["others_reviewed"]["hits"] == 0


def test_what_cannot_be_heard_is_counted_as_missed(counted: dict[str, object]) -> None:
    found = counted["found"]

    assert isinstance(found, dict)
    assert (found["pitch+2"]["rank_1"]["hits"], found["pitch+2"]["rank_1"]["n"]) == (0, 1)
    assert counted["not_comparable"] == 1


def test_a_stranger_is_asked_for_in_the_catalog_that_it_is_not_in(
    counted: dict[str, object],
) -> None:
    rate = counted["false_reviews"]

    assert isinstance(rate, dict)
    assert (rate["hits"], rate["n"]) == (0, 1)


def test_each_cover_is_further_from_the_piece_than_the_one_before() -> None:
    plan = compose(23)
    (_, same), (_, arranged), (_, moved) = covers_of(plan, 23)

    assert same == plan
    assert arranged.instrument != plan.instrument
    assert arranged.comp != plan.comp
    assert arranged.root == plan.root
    assert moved.root != plan.root
    assert 0.8 <= moved.tempo_bpm / plan.tempo_bpm <= 1.25
