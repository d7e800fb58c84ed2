"""Rows give their sound piece by piece, on tiny models with random weights."""

from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from safegen.errors import InputError
from safegen.generation.base import (
    Chapter,
    Generation,
    Request,
    Span,
    StreamingGenerator,
    joined,
)
from safegen.generation.cascade import GENERATOR, CascadeSettings, MusicCascade
from safegen.generation.codec import SAMPLE_RATE
from safegen.generation.compose import PLAN_TOKENS
from safegen.generation.continuation import Continuation
from safegen.generation.procedural import ProceduralGenerator
from safegen.generation.renderer import Renderer
from safegen.generation.samplers import FlowSettings
from safegen.generation.scene_reader import SceneReader
from safegen.generation.stages import FADE_SECONDS, faded, stepwise
from safegen.generation.streams import (
    CONTEXT_FRAMES,
    FIRST_FRAMES,
    SECOND_FRAMES,
    SHORTEST_SECONDS,
    Segment,
    segments,
)
from safegen.generation.text import TextConfig
from safegen.generation.token_rows import MusicTokens, SoundTokens
from safegen.generation.token_samplers import DrawSettings, FillSettings
from safegen.generation.unet import UNet, UNetConfig
from tests.safegen.generation.debug_models import debug_planner, debug_system
from tests.safegen.generation.staged_models import (
    continuation,
    music_joint,
    staged_card,
    staged_codec,
    staged_tokens,
    tune,
)

SECONDS = 5.017
"""Two segments, the last frame cut."""


def sounds(settings: DrawSettings | FillSettings, *, bias: float = 3.0) -> SoundTokens:
    codec = staged_codec()
    torch.manual_seed(8)
    reader = SceneReader(TextConfig(embedding=8, width=16, layers=1, heads=2))
    torch.nn.init.constant_(reader.names.bias, -9.0)
    with torch.no_grad():
        reader.names.bias[2] = bias
    model = staged_tokens(codec)
    return SoundTokens(
        staged_card("sfx"), codec=codec, reader=reader, model=model, settings=settings
    )


def music_tokens() -> MusicTokens:
    codec = staged_codec()
    card = staged_card("music-ar", "negative_prompt", "melody", "continue_from")
    return MusicTokens(card, codec=codec, planner=debug_planner(), model=staged_tokens(codec))


def cascade() -> MusicCascade:
    torch.manual_seed(2)
    generator = Renderer(replace(GENERATOR, text_width=16, width=32, layers=1, heads=2, reach=8))
    unet = UNet(UNetConfig(latent=8, widths=(8, 10, 12), blocks=1, steer=8))
    for network in (generator, unet):
        torch.nn.init.normal_(network.outlet.weight, std=0.05)
    return MusicCascade(
        staged_card("music-cascade"),
        codec=staged_codec(),
        planner=debug_planner(),
        generator=generator,
        unet=unet,
        settings=CascadeSettings(generator=FlowSettings(steps=3), details=2),
    )


ROWS: dict[str, Callable[[], StreamingGenerator]] = {
    "music-flow": debug_system,
    "music-ar": music_tokens,
    "music-cascade": cascade,
    "music-joint": music_joint,
    "continue": continuation,
    "sfx-ar": lambda: sounds(DrawSettings(temperature=1.0)),
    "sfx-masked": lambda: sounds(FillSettings(passes=(3, 1, 1, 1))),
    "procedural": ProceduralGenerator,
}
FRAMES = 126
REQUEST = Request(prompt="calm piano, 90 bpm", seconds=SECONDS, seed=7)


def asked(row: StreamingGenerator, seconds: float = SECONDS, seed: int = 7) -> Request:
    beginning = tune(1.5) if isinstance(row, Continuation) else None
    return replace(REQUEST, seconds=seconds, seed=seed, continue_from=beginning)


@pytest.fixture(scope="module", params=ROWS)
def row(request: pytest.FixtureRequest) -> StreamingGenerator:
    return ROWS[request.param]()


@pytest.fixture(scope="module")
def pieces(row: StreamingGenerator) -> list[Generation]:
    return list(row.stream(asked(row)))


def test_all_pieces_together_have_the_length_that_was_asked(pieces: list[Generation]) -> None:
    whole = joined(pieces)

    assert len(pieces) >= 4
    assert all(piece.audio.seconds >= SHORTEST_SECONDS for piece in pieces[:-1])
    assert pieces[-1].audio.seconds > 0
    assert whole.audio.waveform.shape == (1, round(SECONDS * SAMPLE_RATE))
    assert whole.codes.shape[1] in (FRAMES, 0)


def test_the_first_piece_holds_the_plan_that_is_played(
    row: StreamingGenerator, pieces: list[Generation]
) -> None:
    whole = row.generate(asked(row))

    assert pieces[0].plan_json == whole.plan_json
    assert np.array_equal(pieces[0].plan_tokens, whole.plan_tokens)
    assert all(piece.plan_json == "" for piece in pieces[1:])


def test_pieces_are_the_same_again_however_many_are_taken(
    row: StreamingGenerator, pieces: list[Generation]
) -> None:
    torch.manual_seed(99)
    torch.rand(3)
    again = list(islice(row.stream(asked(row)), 3))

    for first, second in zip(pieces, again, strict=False):
        assert np.array_equal(first.audio.waveform, second.audio.waveform)
        assert np.array_equal(first.codes, second.codes)


def test_another_seed_gives_other_sound(row: StreamingGenerator, pieces: list[Generation]) -> None:
    other = joined(list(row.stream(asked(row, seed=8))))

    assert not np.array_equal(other.audio.waveform, joined(pieces).audio.waveform)


def test_a_short_item_comes_too(row: StreamingGenerator) -> None:
    made = joined(list(row.stream(asked(row, seconds=1.6))))

    assert made.audio.waveform.shape == (1, round(1.6 * SAMPLE_RATE))
    assert made.codes.shape[1] in (40, 0)


def test_what_a_row_cannot_do_is_refused_before_the_first_piece(row: StreamingGenerator) -> None:
    with pytest.raises(InputError, match="outside the limits"):
        row.stream(asked(row, seconds=10_000.0))


def test_progress_ends_at_one(row: StreamingGenerator) -> None:
    seen: list[float] = []
    for _ in row.stream(asked(row, seconds=1.6), progress=seen.append):
        pass

    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_settings_of_the_caller_hold_between_pieces(row: StreamingGenerator) -> None:
    for _ in islice(row.stream(asked(row)), 2):
        assert not torch.is_inference_mode_enabled()


def test_tokens_after_a_beginning_are_those_of_the_whole() -> None:
    row, request = music_tokens(), replace(REQUEST, continue_from=tune(1.3))
    made = joined(list(row.stream(request))).codes

    assert np.array_equal(made, row.generate(request).codes)


@pytest.mark.parametrize(("name", "books"), [("music-ar", 4), ("sfx-ar", 4), ("music-joint", 2)])
def test_tokens_drawn_in_order_are_those_of_the_whole(name: str, books: int) -> None:
    row = ROWS[name]()
    made, whole = joined(list(row.stream(REQUEST))).codes, row.generate(REQUEST).codes

    assert np.array_equal(made[:books], whole[:books])


@pytest.mark.parametrize("name", ["music-ar", "continue"])
def test_a_beginning_is_the_beginning_of_the_stream(name: str) -> None:
    row, beginning = ROWS[name](), tune(2.0)
    made = joined(list(row.stream(replace(REQUEST, continue_from=beginning))))

    assert np.array_equal(made.codes[:, :50], staged_codec().encode(beginning))


def test_a_story_is_streamed_with_the_scores_of_all_chapters() -> None:
    row = music_joint()
    story = (
        Chapter(prompt="calm piano", start_seconds=0.0),
        Chapter(prompt="fast trumpet", start_seconds=2.0),
    )
    request = replace(REQUEST, prompt="", story=story, melody=tune(1.5), negative_prompt="drums")
    first, *rest = row.stream(request)

    assert len(first.plan_tokens) == 2 * PLAN_TOKENS
    assert joined([first, *rest]).codes.shape == (4, FRAMES)
    assert len(rest) >= 4


def test_a_prompt_that_names_no_sound_is_refused_before_the_first_piece() -> None:
    with pytest.raises(InputError, match="no sound of this model"):
        sounds(DrawSettings(), bias=-9.0).stream(REQUEST)


def test_a_repair_comes_as_one_piece() -> None:
    row = debug_system()
    span = Span(start_seconds=1.0, end_seconds=2.0)
    request = replace(REQUEST, seconds=3.0, source=tune(3.0), inpaint=(span,))
    (piece,) = row.stream(request)

    assert np.array_equal(piece.audio.waveform, row.generate(request).audio.waveform)


def test_segments_cover_every_frame_once_and_know_what_came_before() -> None:
    parts = list(segments(300))

    assert parts[0] == Segment(start=0, first=0, end=FIRST_FRAMES)
    assert parts[1].known == CONTEXT_FRAMES
    assert [part.new for part in parts[1:3]] == [SECOND_FRAMES, 300 - FIRST_FRAMES - SECOND_FRAMES]
    assert [f for part in parts for f in range(part.first, part.end)] == list(range(300))
    assert parts[1].given(torch.zeros(96, 8)).keep.sum() == CONTEXT_FRAMES


def test_a_part_is_faded_as_the_whole_is() -> None:
    sound = np.ones((1, 4000), dtype=np.float32)
    whole = faded(sound, at=0, samples=4000, rate=SAMPLE_RATE)
    parts = [
        faded(sound[:, a : a + 700], at=a, samples=4000, rate=SAMPLE_RATE)
        for a in range(0, 4000, 700)
    ]

    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert (whole[0, : 4000 - round(FADE_SECONDS * SAMPLE_RATE)] == 1).all()
    assert whole[0, -1] == 0


def test_steps_are_taken_on_one_thread_and_control_comes_back_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)

    def steps() -> Generator[int, None, None]:
        for _ in range(2):
            assert torch.is_inference_mode_enabled()
            yield torch.get_num_threads()

    try:
        for inside in stepwise(steps()):
            assert inside == 1
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
