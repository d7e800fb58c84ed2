import dataclasses

import numpy as np
import pytest
import torch

from safegen.generation import compose
from safegen.generation.rolls import roll
from safegen.generation.transcriber import (
    FRAME_TARGETS,
    PHASES,
    PITCH_CLASSES,
    STRIDE,
    Heard,
    bar_phase,
    frame_targets,
    sharpened,
    tempo_of,
    transcribe,
)
from tests.safegen.generation.staged_models import TRANSCRIBER, staged_transcriber


@pytest.mark.parametrize("frames", [1, 75, 76])
def test_only_values_of_an_attribute_may_stand_at_its_place(frames: int) -> None:
    heard = staged_transcriber()(torch.zeros(2, frames, TRANSCRIBER.latent))

    assert heard.header.shape == (2, compose.HEADER_TOKENS, compose.VOCABULARY)
    for place in range(compose.HEADER_TOKENS):
        legal = torch.isfinite(heard.header[0, place]).nonzero().flatten().tolist()
        assert legal == list(compose.legal_tokens(place))


def test_a_reading_begins_a_valid_plan_and_is_the_same_for_the_same_dice() -> None:
    z = torch.randn(80, TRANSCRIBER.latent, generator=torch.Generator().manual_seed(0))
    first, second = (
        transcribe(staged_transcriber(), z, torch.Generator().manual_seed(1), temperature=1.0)
        for _ in range(2)
    )

    assert all(token in compose.legal_tokens(i) for i, token in enumerate(first.header))
    assert first.header == second.header
    assert 0 <= first.bar_phase < 1
    assert first.pitch_classes.shape == (80 / STRIDE, PITCH_CLASSES)


@pytest.mark.parametrize("start", [0, 10, 33, 57])
def test_the_phase_of_the_bar_is_found_wherever_an_excerpt_starts(start: int) -> None:
    plan = dataclasses.replace(compose.compose(3), tempo_bpm=97)
    rows = torch.from_numpy(frame_targets(plan, frames=300)[start : start + 100 : STRIDE])

    found = bar_phase(rows, tempo_bpm=97)

    assert found == pytest.approx(start / 25 * 97 / 60 / 4 % 1, abs=1e-4)


def test_phases_decide_between_tempi_that_the_attributes_leave_open() -> None:
    plan = dataclasses.replace(compose.compose(3), tempo_bpm=131)
    place = compose.header_names().index("tempo_bpm")
    frames = torch.from_numpy(frame_targets(plan, frames=200)[::STRIDE])[None]
    header = torch.zeros(1, compose.HEADER_TOKENS, compose.VOCABULARY)
    heard = Heard(features=torch.zeros(1, 4), header=header, frames=frames)

    header = sharpened(heard).header
    best = int(header[0, place].argmax())

    assert best == compose.to_tokens(plan)[place]
    assert tempo_of((0,) * place + (best,)) == 131
    assert not heard.header.any()


def test_targets_are_the_phases_of_the_roll_and_the_notes_of_the_score() -> None:
    plan = compose.compose(8)
    rows = frame_targets(plan, frames=120)
    phases = roll(plan, frames=120)[:, -26 - PHASES : -26]
    sounding = rows[:, PHASES : PHASES + PITCH_CLASSES]
    scale = {(plan.root + step) % 12 for step in compose.SCALES[plan.mode]}
    if plan.mode == "minor":
        scale.add((plan.root + 11) % 12)

    assert rows.shape == (120, FRAME_TARGETS)
    np.testing.assert_array_equal(rows[:, :PHASES], phases)
    assert set(np.flatnonzero(sounding.any(axis=0)).tolist()) <= scale
    assert sounding[0].sum() >= 3
