import dataclasses
import math

import numpy as np
import pytest

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import Chapter, Request, Span
from safegen.generation.cards import INPUTS, ModelCard, card
from safegen.generation.requests import MAX_PROMPT_CHARACTERS, check, level_dbfs, texts

ABLE = dataclasses.replace(card("music-flow"), name="able", accepts=INPUTS)
PLAIN = dataclasses.replace(card("music-flow"), name="plain", accepts=())
"""Limits of both: 1 to 120 s."""


def sound(seconds: float = 4.0, *, level: float = 0.1, rate: int = 8_000) -> Audio:
    dice = np.random.default_rng(1)
    waveform = level * dice.standard_normal((1, round(seconds * rate)))
    return Audio(waveform=waveform.astype(np.float32), sample_rate=rate)


def broken() -> Audio:
    audio = sound()
    audio.waveform[0, 7] = math.nan
    return audio


def request(**given: object) -> Request:
    plain = Request(prompt="a calm piano", seconds=10.0, seed=1)
    return dataclasses.replace(plain, **given)  # type: ignore[arg-type]


def story(*chapters: tuple[float, str]) -> tuple[Chapter, ...]:
    return tuple(Chapter(prompt=prompt, start_seconds=start) for start, prompt in chapters)


POSSIBLE = {
    "a prompt": request(),
    "a prompt in another script, with a line's end": request(prompt="ein Klavier,\nピアノ 🎹"),
    "the longest prompt": request(prompt="x" * MAX_PROMPT_CHARACTERS),
    "a melody without words": request(prompt="", melody=sound()),
    "a melody that is longer than what is made": request(seconds=2.0, melody=sound(5.0)),
    "a beginning to go on from": request(prompt="", continue_from=sound(3.0)),
    "a variation": request(seconds=4.0, source=sound(), strength=0.5),
    "a source that goes on": request(source=sound()),
    "two repairs": request(
        source=sound(),
        inpaint=(Span(start_seconds=0, end_seconds=1), Span(start_seconds=2, end_seconds=4.0)),
    ),
    "a story": request(prompt="", story=story((0, "calm"), (5.5, "wild"))),
    "a story in one chapter": request(prompt="", story=story((0, "calm"))),
    "something to steer away from": request(negative_prompt="drums"),
}

IMPOSSIBLE = {
    "no prompt": (request(prompt=""), "empty"),
    "a prompt of spaces": (request(prompt=" \n\t"), "empty"),
    "a prompt of 100,000 characters": (request(prompt="x" * 100_000), "100000.*at most 4000"),
    "a long negative prompt": (request(negative_prompt="x" * 4001), "negative prompt has 4001"),
    "a prompt with a NUL": (request(prompt="a\0b"), "U\\+0000 at position 1"),
    "a prompt with an escape": (request(prompt="\x1b[2J"), "U\\+001B"),
    "a prompt that is not UTF-8": (request(prompt="caf\udce9"), "U\\+DCE9"),
    "0 seconds": (request(seconds=0.0), "0 s .*1 to 120"),
    "10,000 seconds": (request(seconds=10_000.0), "10000 s .*1 to 120"),
    "NaN seconds": (request(seconds=math.nan), "nan s"),
    "endless seconds": (request(seconds=math.inf), "inf s"),
    "a seed below zero": (request(seed=-1), "seed -1"),
    "a seed of 64 bits": (request(seed=2**63), "seed 9223372036854775808"),
    "a silent melody": (request(melody=sound(level=0.0)), "silent: -inf dBFS.*-60"),
    "a melody that is nearly silent": (request(melody=sound(level=1e-4)), "silent: -80 dBFS"),
    "a silent beginning": (request(continue_from=sound(level=0.0)), "silent"),
    "a silent source": (request(source=sound(level=0.0)), "silent"),
    "a melody of 10 ms": (request(melody=sound(0.01)), "has 0.01 s.* 1 to 120"),
    "a beginning of 10 ms": (request(continue_from=sound(0.01)), "has 0.01 s"),
    "a source of 10 ms": (request(source=sound(0.01)), "has 0.01 s"),
    "a melody of three minutes": (request(melody=sound(180.0)), "has 180 s"),
    "a melody with a NaN": (request(melody=broken()), "1 samples that are NaN"),
    "a beginning as long as the whole": (request(continue_from=sound(10.0)), "has 10 s already"),
    "both to continue and to vary": (
        request(continue_from=sound(), source=sound()), "exclude each other"),
    "a variation that goes on": (
        request(source=sound(), strength=0.5),
        "10 s are wanted, the source to vary has 4 s",
    ),
    "strength 0": (request(source=sound(), strength=0.0), "strength 0 "),
    "strength above 1": (request(source=sound(), strength=1.5), "strength 1.5"),
    "strength NaN": (request(source=sound(), strength=math.nan), "strength nan"),
    "a strength of nothing": (request(strength=0.5), "without a source"),
    "a repair of nothing": (
        request(inpaint=(Span(start_seconds=0, end_seconds=1),)), "without a source"),
    "a repair beyond the source": (
        request(source=sound(), inpaint=(Span(start_seconds=3, end_seconds=5),)), "3-5 s.*0-4 s"),
    "a repair before the source": (
        request(source=sound(), inpaint=(Span(start_seconds=-1, end_seconds=2),)), "-1-2 s"),
    "a repair of no length": (
        request(source=sound(), inpaint=(Span(start_seconds=2, end_seconds=2),)), "2-2 s"),
    "a repair of everything": (
        request(source=sound(), inpaint=(Span(start_seconds=2, end_seconds=4),
                                         Span(start_seconds=0, end_seconds=2.5))), "cover all 4 s"),
    "65 repairs": (
        request(
            source=sound(),
            inpaint=tuple(Span(start_seconds=i / 32, end_seconds=i / 32 + 0.01) for i in range(65)),
        ),
        "65 stretches.*at most 64",
    ),
    "a story beside a prompt": (request(story=story((0, "calm"))), "exclude each other"),
    "a story that starts late": (request(prompt="", story=story((1, "calm"))), "starts at 1 s"),
    "a story that goes back": (
        request(prompt="", story=story((0, "a"), (5, "b"), (3, "c"))), "chapter 3 .*before it"),
    "a story that stays": (request(prompt="", story=story((0, "a"), (0, "b"))), "chapter 2"),
    "a story beyond the end": (
        request(prompt="", story=story((0, "a"), (10, "b"))), "ends at 10 s"),
    "an empty chapter": (request(prompt="", story=story((0, "a"), (5, " "))), "chapter 2"),
    "a long chapter": (
        request(prompt="", story=story((0, "x" * 5000))), "prompt of chapter 1 has 5000"),
    "65 chapters": (
        request(prompt="", seconds=100.0, story=story(*((i, "a") for i in range(65)))), "65 chap"),
}  # fmt: skip


@pytest.mark.parametrize("wanted", POSSIBLE.values(), ids=POSSIBLE)
def test_what_can_be_done_is_not_refused(wanted: Request) -> None:
    check(wanted, ABLE)


@pytest.mark.parametrize(("wanted", "says"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_be_done_is_refused_with_value_and_limit(wanted: Request, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check(wanted, ABLE)

    assert caught.value.remedy


GIVEN = {
    "negative_prompt": request(negative_prompt="drums"),
    "melody": request(melody=sound()),
    "continue_from": request(continue_from=sound()),
    "source": request(source=sound()),
    "inpaint": request(source=sound(), inpaint=(Span(start_seconds=0, end_seconds=1),)),
    "story": request(prompt="", story=story((0, "calm"))),
}


def test_every_input_of_the_cards_has_its_test() -> None:
    assert tuple(GIVEN) == INPUTS


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_that_the_card_does_not_name_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = dataclasses.replace(PLAIN, name="others", accepts=(name,))
    monkeypatch.setattr("safegen.generation.requests.CARDS", (PLAIN, able))
    rest: tuple[str, ...] = tuple(x for x in INPUTS if x != name)
    lacking: ModelCard = dataclasses.replace(PLAIN, accepts=rest)
    with pytest.raises(InputError, match="plain takes no") as caught:
        check(GIVEN[name], lacking)

    assert caught.value.remedy.startswith("Choose a model that does: others, or an installed one")


def test_without_any_model_that_takes_it_the_remedy_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("safegen.generation.requests.CARDS", (PLAIN,))
    with pytest.raises(InputError) as caught:
        check(GIVEN["melody"], PLAIN)

    assert "no shipped model" in caught.value.remedy


def test_every_text_is_named() -> None:
    told = request(negative_prompt="drums")
    chapters = request(prompt="", story=story((0, "calm"), (5, "wild")))

    assert list(texts(told)) == [("prompt", "a calm piano"), ("negative prompt", "drums")]
    assert [text for _, text in texts(chapters)] == ["calm", "wild"]


def test_the_level_is_that_of_all_channels() -> None:
    half = np.stack([np.ones(100), np.zeros(100)]).astype(np.float32)

    assert level_dbfs(Audio(waveform=half, sample_rate=100)) == pytest.approx(-3.01, abs=0.01)
