import numpy as np
import pytest

from safegen.evaluation.generation_bench.adherence import Heard, Judged, adherence, rates
from safegen.evaluation.generation_bench.wishes import Wish
from safegen.evaluation.instrument import NAMES
from safegen.generation.compose import compose


def pairs(n: int, *, right: float, seed: int = 0) -> list[Judged]:
    """Sounds of which a share plays what was asked, and the others what another prompt asked."""
    dice = np.random.default_rng(seed)
    plans = [compose(100 + i) for i in range(n)]
    out = []
    for i, plan in enumerate(plans):
        played = plan if dice.random() < right else plans[int(dice.integers(n))]
        wish = Wish(
            prompt="x",
            tempo_bpm=float(plan.tempo_bpm),
            key=plan.key,
            drums=plan.has_drums,
            instrument=plan.instrument,
        )
        heard = Heard(
            tempo_bpm=float(played.tempo_bpm),
            key=played.key,
            drums=played.has_drums,
            instrument=played.instrument,
        )
        out.append(Judged(wish=wish, heard=heard))
        assert i < n
    return out


def test_a_model_that_listens_is_better_than_luck_in_everything() -> None:
    found = rates(pairs(60, right=0.8))

    assert set(found) == {"tempo", "key", "drums", "instrument", "family"}
    assert all(x.is_better_than_chance for x in found.values())
    assert found["key"].rate.low < found["key"].rate.rate < found["key"].rate.high


def test_a_model_that_does_not_listen_is_not() -> None:
    found = rates(pairs(60, right=0.0, seed=3))

    assert not any(x.is_better_than_chance for x in found.values())
    assert all(0.05 < x.p_value <= 1.0 for x in found.values())


def test_always_playing_drums_proves_nothing_however_many_ask_for_them() -> None:
    rows = [
        Judged(
            wish=Wish(prompt="x", tempo_bpm=None, key=None, drums=i % 10 != 0),
            heard=Heard(tempo_bpm=120.0, key="C major", drums=True, instrument="piano"),
        )
        for i in range(50)
    ]
    found = adherence(rows, "drums")

    assert found is not None
    assert found.rate.rate == found.chance == 0.9
    assert found.p_value == 1.0


def test_what_luck_gives_is_what_the_page_says() -> None:
    found = rates(pairs(60, right=0.8))

    assert found["key"].chance == pytest.approx(1 / 24)
    assert found["instrument"].chance == pytest.approx(1 / 20)
    assert found["drums"].chance >= 0.5
    assert 0.05 < found["tempo"].chance < 0.5


def test_an_attribute_nobody_named_does_not_count() -> None:
    heard = Heard(tempo_bpm=120.0, key="C major", drums=True, instrument="flute")
    silent = Wish(prompt="x", tempo_bpm=None, key=None, drums=None)
    named = Wish(prompt="x", tempo_bpm=60.0, key="A minor", drums=True, instrument="trumpet")
    found = rates([Judged(wish=wish, heard=heard) for wish in (silent, named)])

    assert {name: (x.rate.hits, x.rate.n) for name, x in found.items()} == {
        "tempo": (1, 1),
        "key": (0, 1),
        "drums": (1, 1),
        "instrument": (0, 1),
        "family": (1, 1),
    }


def test_every_instrument_has_one_family() -> None:
    from safegen.evaluation.instrument import FAMILIES

    members = [name for names in FAMILIES.values() for name in names]

    assert len(FAMILIES) == 8
    assert sorted(members) == sorted(NAMES)
