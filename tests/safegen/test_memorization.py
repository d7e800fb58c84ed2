"""The wiring: manifests, plans as bars, and a copy that is found among training items."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from detectors import chromaprint
from detectors.memorization import Calibration
from safegen.errors import IntegrityError
from safegen.generation import compose
from safegen.generation.base import Generation, ModelFacts
from safegen.generation.cards import CARDS, checked_path
from safegen.generation.cards import card as card_of
from safegen.generation.compose import Plan, to_json, to_tokens
from safegen.generation.procedural import render
from safegen.memorization import Items, bars, examine, for_model, parse
from safegen.training.memory import Recorded, calibrate_on

LEARNED = range(100, 180)
UNSEEN = range(5_000, 5_024)
SIZE = 1024


def tokens(seeds: range) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.array([to_tokens(compose.compose(seed)) for seed in seeds], dtype=np.uint8)


def piece(plan: Plan, *, codes: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Generation:
    return Generation(
        audio=render(plan, seconds=10.0),
        plan_json=to_json(plan),
        plan_tokens=np.array(to_tokens(plan), dtype=np.int64),
        codes=codes,
    )


def recorded(seeds: range) -> Recorded:
    """Record pieces as the recipe does, with the procedural renderer and made-up codes."""
    prints = [
        chromaprint.fingerprint(audio.waveform, audio.sample_rate)
        for audio in (render(compose.compose(seed), seconds=10.0) for seed in seeds)
    ]
    dice = np.random.default_rng(seeds.start)
    codes = dice.integers(0, SIZE, (len(seeds), 250)).astype(np.int16)
    return Recorded(codes=codes, fingerprints=np.stack(prints))


def packed(items: Recorded, scales: dict[str, Calibration]) -> bytes:
    """Write a manifest with the layout that ``safegen.training.manifests`` documents."""
    calibration = {kind: asdict(scale) for kind, scale in scales.items()}
    return save(
        {
            "seeds": np.array(LEARNED, dtype=np.int64),
            "plans": tokens(LEARNED),
            "codes": items.codes.astype(np.uint16),
            "fingerprints": items.fingerprints,
        },
        metadata={"manifest": json.dumps({"calibration": calibration})},
    )


@pytest.fixture(scope="module")
def items() -> Items:
    """Training items of a model that learned 80 scores and heard the first 20."""
    heard = recorded(LEARNED[:20])
    scales = calibrate_on(
        plans=tokens(LEARNED),
        items=heard,
        unseen_plans=tokens(UNSEEN),
        unseen=recorded(UNSEEN),
        codebook=SIZE,
    )
    return parse(packed(heard, scales))


def test_a_training_item_is_flagged_by_score_and_fingerprint(items: Items) -> None:
    copied = piece(compose.compose(LEARNED[7]), codes=np.zeros((0, 0), dtype=np.int64))

    finding = examine(copied, items)

    assert finding.flag
    assert finding.nearest_item == f"seed:{LEARNED[7]}"
    assert finding.plan_agreement == pytest.approx(1.0)
    assert finding.fingerprint_agreement == pytest.approx(1.0, abs=0.01)
    assert finding.token_agreement is None


def test_an_item_whose_score_alone_was_read_is_flagged_by_its_score(items: Items) -> None:
    copied = piece(compose.compose(LEARNED[60]), codes=np.zeros((0, 0), dtype=np.int64))

    finding = examine(copied, items)

    assert finding.flag
    assert (finding.nearest_item, finding.rung) == (f"seed:{LEARNED[60]}", "plan")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_story_is_flagged_by_the_score_of_any_chapter(items: Items, place: int) -> None:
    plans = [compose.compose(seed) for seed in UNSEEN[:3]]
    told = piece(plans[0], codes=np.zeros((0, 0), dtype=np.int64))
    plans[place] = compose.compose(LEARNED[60])
    chapters = [token for plan in plans for token in compose.to_tokens(plan)]

    finding = examine(replace(told, plan_tokens=np.array(chapters, dtype=np.int64)), items)

    assert finding.flag
    assert (finding.nearest_item, finding.rung) == (f"seed:{LEARNED[60]}", "plan")


def test_a_copy_in_another_key_and_tempo_is_still_a_copy(items: Items) -> None:
    original = compose.compose(LEARNED[30])
    moved = replace(original, root=(original.root + 5) % 12, tempo_bpm=61, drums="none")

    finding = examine(piece(moved, codes=np.zeros((0, 0), dtype=np.int64)), items)

    assert finding.flag
    assert finding.nearest_item == f"seed:{LEARNED[30]}"
    assert finding.plan_agreement == pytest.approx(1.0)


def test_the_same_attributes_with_other_notes_are_no_copy(items: Items) -> None:
    # Two slow piano pieces in A minor must not accuse each other.
    header = compose.compose(LEARNED[3])
    other = compose.compose(UNSEEN[5])
    mixed = replace(header, chords=other.chords, melody=other.melody)

    finding = examine(piece(mixed, codes=np.zeros((0, 0), dtype=np.int64)), items)

    assert finding.plan_agreement is not None
    assert finding.plan_agreement < 0.9
    assert finding.rung != "plan" or not finding.flag


def test_pieces_nobody_learned_from_are_not_flagged(items: Items) -> None:
    dice = np.random.default_rng(9)
    findings = [
        examine(piece(compose.compose(seed), codes=dice.integers(0, SIZE, (4, 250))), items)
        for seed in range(9_000, 9_006)
    ]

    assert not any(finding.flag for finding in findings)
    assert all(finding.token_agreement is not None for finding in findings)


def test_foreign_sound_is_compared_by_fingerprint_alone(items: Items) -> None:
    foreign = Generation(
        audio=render(compose.compose(LEARNED[2]), seconds=10.0),
        plan_json="",
        plan_tokens=np.zeros(0, dtype=np.int64),
        codes=np.zeros((0, 0), dtype=np.int64),
    )

    finding = examine(foreign, items)

    assert finding.flag
    assert (finding.rung, finding.nearest_item) == ("fingerprint", f"seed:{LEARNED[2]}")
    assert finding.plan_agreement is None


def test_bars_do_not_change_with_key_tempo_or_octave() -> None:
    plan = compose.compose(3)
    higher = tuple(
        degree + 7 if compose.FIRST_DEGREE <= degree < compose.FIRST_DEGREE + 8 else degree
        for degree in plan.melody
    )
    moved = replace(plan, root=(plan.root + 3) % 12, tempo_bpm=180, melody=higher)

    rows = bars(np.array([to_tokens(plan), to_tokens(moved)]))

    assert rows.shape == (2, 5, 9)
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("sha256", ["", "0" * 64])
def test_a_model_without_a_known_manifest_has_no_items(sha256: str) -> None:
    facts = ModelFacts(
        name="their-model", version="1", license="unknown", training_manifest_sha256=sha256
    )

    assert for_model(facts) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"not a manifest", save({"seeds": np.zeros(3, dtype=np.int64)})],
    ids=["empty", "text", "without items"],
)
def test_a_file_that_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a training manifest"):
        parse(data)


@pytest.mark.parametrize("name", ["sfx-ar", "sfx-masked"])
def test_a_shipped_manifest_of_scenes_names_the_copied_scene(name: str) -> None:
    shipped = for_model(card_of(name).facts)
    codes = load_file(checked_path(card_of(name).file("manifest")))["codes"][123:124]

    assert shipped is not None
    finding = examine(piece(compose.compose(1), codes=codes.astype(np.int64)), shipped)
    assert finding.flag
    assert (finding.rung, finding.nearest_item) == ("tokens", "seed:3000123")


@pytest.mark.parametrize(
    "card", [c for c in CARDS if c.training_manifest_sha256 and not c.name.startswith("sfx")]
)
def test_a_shipped_manifest_names_the_copied_item(card: object) -> None:
    facts = ModelFacts(
        name=card.name,  # type: ignore[attr-defined]
        version="1",
        license="",
        training_manifest_sha256=card.training_manifest_sha256,  # type: ignore[attr-defined]
    )
    plan = compose.compose(1_000_123)
    shipped = for_model(facts)

    assert shipped is not None
    finding = examine(piece(plan, codes=np.zeros((0, 0), dtype=np.int64)), shipped)
    assert finding.flag
    assert (finding.rung, finding.nearest_item) == ("plan", "seed:1000123")
