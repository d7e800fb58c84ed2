import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InputError
from safegen.generation import compose as c

SEEDS = st.integers(0, 2**64 - 1)
GOLDEN = ["94346ecee4c41a6d", "384f773be403460c", "31631e7f1da6357f"]


@given(seed=SEEDS)
def test_a_plan_survives_tokens_and_json(seed: int) -> None:
    plan = c.compose(seed)

    assert c.from_tokens(c.to_tokens(plan)) == plan
    assert c.from_json(c.to_json(plan)) == plan


@given(seed=SEEDS)
def test_every_token_may_stand_at_its_position(seed: int) -> None:
    tokens = c.to_tokens(c.compose(seed))

    assert len(tokens) == c.PLAN_TOKENS
    assert all(token in c.legal_tokens(i) for i, token in enumerate(tokens))


def test_a_seed_means_the_same_piece_forever() -> None:
    # Training items are named by seeds: if this changes, the shipped manifest is void.
    digests = [c.digest(c.compose(seed))[:16] for seed in (0, 1_000_000, 2**63)]

    assert digests == GOLDEN


@given(seed=SEEDS, seconds=st.floats(1.0, 20.0), more=st.floats(0.1, 20.0))
def test_a_longer_score_begins_with_the_shorter_one(seed: int, seconds: float, more: float) -> None:
    plan = c.compose(seed)
    short = c.score(plan, seconds=seconds)
    long = c.score(plan, seconds=seconds + more)

    assert long[: len(short)] == short


def test_the_vocabulary_is_wide_enough() -> None:
    plans = [c.compose(seed) for seed in range(3000)]

    assert len({plan.instrument for plan in plans}) == len(c.INSTRUMENTS) >= 16
    assert len({plan.key for plan in plans}) == 24
    assert min(plan.tempo_bpm for plan in plans) == 60
    assert max(plan.tempo_bpm for plan in plans) == 180
    assert 0.35 < sum(plan.has_drums for plan in plans) / len(plans) < 0.65


def test_no_drums_means_no_drum_notes() -> None:
    for seed in range(60):
        plan = c.compose(seed)
        hits = [n for n in c.score(plan, seconds=8.0) if n.track == "drums"]

        assert bool(hits) == plan.has_drums


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"tempo_bpm": 90}', c.to_json(c.compose(1)).replace("minor", "dorian")],
    ids=["empty", "no fields", "a list", "one field", "unknown mode"],
)
def test_what_is_not_a_plan_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        c.from_json(text)


def test_a_token_at_the_wrong_position_is_refused() -> None:
    tokens = list(c.to_tokens(c.compose(5)))
    tokens[0], tokens[1] = tokens[1], tokens[0]

    with pytest.raises(InputError):
        c.from_tokens(tokens)
