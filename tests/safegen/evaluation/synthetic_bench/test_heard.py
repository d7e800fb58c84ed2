from pathlib import Path

import numpy as np
import pytest

from detectors.synthetic.finding import SynthesisVerdict as V
from detectors.synthetic.judging import GenericModel, Roster
from safegen.audio import Audio, save
from safegen.evaluation.synthetic_bench import clips, cost, negatives, own
from safegen.evaluation.synthetic_bench.heard import Clip, judged, listen, with_kept_scores
from safegen.training.measured import TREATMENTS
from safegen.training.sources import Source
from safegen.training.synthesizers import Synthesizer
from tests.safegen.evaluation.synthetic_bench.rosters import clip, judgement, piece, roster

CLEAN = {"clean": TREATMENTS["clean"]}


def _noise(seconds: float, *, seed: int = 0, level: float = 0.1) -> Audio:
    swell = 1.0 + 0.5 * np.sin(np.arange(round(16_000 * seconds)) * 12.0 / 16_000)
    samples = np.random.default_rng(seed).standard_normal(len(swell)) * swell * level
    return Audio(waveform=samples[None].astype(np.float32), sample_rate=16_000)


def _clip(audio: Audio, made: list[str], key: str = "k") -> Clip:
    def make() -> Audio:
        made.append(key)
        return audio

    return Clip(key=key, kind="speech", generator="", family="", source="a", make=make)


def _model(model_id: str) -> GenericModel:
    return GenericModel(
        name=model_id,
        logits=lambda sound: np.abs(sound).mean(axis=1).astype(np.float64),
        speech=None,
        music=None,
        model_id=model_id,
        calibration_id="",
    )


def test_a_sound_is_made_once_and_then_read_back_the_same(tmp_path: Path) -> None:
    made: list[str] = []
    asked = [_clip(_noise(6.0), made)]

    (first,) = listen(asked, CLEAN, models=[_model("m")], folder=tmp_path)
    (again,) = listen(asked, CLEAN, models=[_model("m")], folder=tmp_path)

    assert made == ["k"]
    assert first.logits.shape == (2, 1)
    for name in ("starts", "logits", "trivial"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    np.testing.assert_array_equal(first.windows.residual, again.windows.residual)
    assert again.seconds == pytest.approx(6.0)


def test_a_model_that_has_not_heard_a_sound_hears_it(tmp_path: Path) -> None:
    made: list[str] = []
    asked = [_clip(_noise(4.0), made)]
    list(listen(asked, CLEAN, models=[], folder=tmp_path))

    (heard,) = listen(asked, CLEAN, models=[_model("new")], folder=tmp_path)

    assert made == ["k", "k"]
    assert heard.logits[0, 0] == pytest.approx(0.08, abs=0.01)


def test_silence_is_measured_too_and_never_called_anything(tmp_path: Path) -> None:
    (heard,) = listen([_clip(_noise(4.0, level=0.0), [])], CLEAN, models=[], folder=tmp_path)

    (said,) = judged([heard], seconds=4.0, roster=roster(("first",)))

    assert len(heard.starts) == 0
    assert said.finding.abstained


def test_generic_models_read_the_score_that_was_kept() -> None:
    base = roster(("first",))
    asked = with_kept_scores(
        Roster(reference=base.reference, entries=(), generic=(_model("a"), _model("b")))
    )
    kept = np.array([[0.25, -3.0]], dtype=np.float32)

    assert [float(model.logits(kept)[0]) for model in asked.generic] == [0.25, -3.0]


def test_clips_are_taken_from_all_sources_in_blocks_that_can_be_joined() -> None:
    many = [clip(source=s, key=f"{s}{i}") for s in "abc" for i in range(12)]

    taken = clips.chosen(many, each=5, real=20)

    assert [c.key for c in taken[:6]] == ["a0", "a1", "a2", "a3", "a4", "b0"]
    assert {c.source for c in taken} == {"a", "b", "c"}
    assert len(taken) == 20


def test_joined_clips_are_of_one_source_and_play_one_after_the_other() -> None:
    made: list[str] = []
    short = [_clip(_noise(1.0, seed=i), made, key=f"k{i}") for i in range(5)]

    (first, second) = clips.joined_clips(short, 2)

    assert first.make().seconds == pytest.approx(2.0)
    assert made == ["k0", "k1"]
    assert second.key == "k2 + k3"


def test_cost_is_told_by_part_and_the_whole_is_the_largest() -> None:
    found = cost.measure([_noise(8.0)], roster(("first",)))

    assert found.seconds == pytest.approx(8.0)
    assert found.generic < 1e-4
    assert 0.0 < found.traces < found.whole * 1.5
    assert found.heads < found.whole


def test_no_sound_has_no_cost() -> None:
    with pytest.raises(ValueError, match="no sound"):
        cost.measure([], roster(("first",)))


def test_whoever_is_accused_is_named_with_what_was_done() -> None:
    said = [
        judgement(V.KNOWN_GENERATOR, named="first", treatment="pitch+1"),
        judgement(V.KNOWN_GENERATOR, named="first", treatment="pitch+1"),
        judgement(V.INCONCLUSIVE, treatment="pitch+1", seconds=7.3),
        judgement(V.SYNTHETIC_LIKELY, treatment="untouched"),
    ]

    hard = {row.name: row for row in negatives.rows(said)}

    assert (hard["pitch+1"].called.hits, hard["pitch+1"].called.n) == (2, 3)
    assert hard["pitch+1"].accused == {"first": 2}
    assert hard["untouched"].accused == {}


@pytest.mark.parametrize(
    "name", ["untouched", "marked by us", "pitch+1", "tempo-1.10", "speed-1.10"]
)
def test_what_is_done_to_real_sound_leaves_a_window_to_judge(name: str) -> None:
    sound = _noise(negatives.SECONDS)

    done = negatives.available()[name](sound)

    assert done.seconds >= 4.0
    assert np.isfinite(done.waveform).all()
    assert (name == "untouched") == np.array_equal(done.waveform, sound.waveform)


def test_what_is_not_installed_is_named_with_what_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("safegen.evaluation.enhancer.is_installed", lambda: False)
    monkeypatch.setattr("safegen.evaluation.perth.is_installed", lambda: False)

    assert set(negatives.missing()) == {negatives.ENHANCED, negatives.PERTH}
    assert not {negatives.ENHANCED, negatives.PERTH} & set(negatives.available())


def test_a_piece_of_numbers_looks_like_one_that_was_heard(tmp_path: Path) -> None:
    (heard,) = listen([_clip(_noise(4.0), [])], CLEAN, models=[], folder=tmp_path)
    drawn = piece()

    assert heard.windows.residual.shape == drawn.windows.residual.shape
    assert heard.windows.shape.shape == drawn.windows.shape.shape
    assert heard.windows.domain.shape == drawn.windows.domain.shape


def test_whole_files_are_cut_into_sounds_side_by_side_and_the_rest_is_left_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "song.wav"
    save(_noise(9.0), path)

    found = list(clips.files_of([path], generator="first", family="vocoder", seconds=4.0))

    assert [c.make().seconds for c in found] == pytest.approx([4.0, 4.0])
    assert len({c.key for c in found}) == 2
    assert {(c.generator, c.kind, c.source) for c in found} == {("first", "music", "song")}


def test_excerpts_of_a_track_are_spread_over_it(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    save(_noise(9.0), path)
    track = Source(name="song", role="held", license="CC0-1.0", codec="vorbis", paths=(path,))

    found = list(clips.excerpts([track], seconds=4.0, count=2))

    assert [c.make().seconds for c in found] == pytest.approx([4.0, 4.0])
    assert not np.array_equal(found[0].make().waveform, found[1].make().waveform)
    assert {c.generator for c in found} == {""}


def test_a_copy_of_a_track_has_the_length_and_the_chain_of_the_real_excerpt(
    tmp_path: Path,
) -> None:
    path = tmp_path / "song.wav"
    save(_noise(5.0), path)
    track = Source(name="song", role="held", license="CC0-1.0", codec="vorbis", paths=(path,))
    halved = Synthesizer(
        name="world",
        family="vocoder",
        sample_rate=None,
        tool_license="MIT",
        copies=lambda audio: Audio(
            waveform=audio.waveform * np.float32(0.5), sample_rate=audio.sample_rate
        ),
    )

    real, copy = clips.copies([track], [halved], seconds=4.0, seed=1)

    assert (real.generator, copy.generator) == ("", "world")
    loud, quiet = real.make(), copy.make()
    assert loud.waveform.shape == quiet.waveform.shape
    assert loud.sample_rate == quiet.sample_rate
    assert float(quiet.waveform.std() / loud.waveform.std()) == pytest.approx(0.5, abs=0.05)


def test_own_outputs_count_as_ours_only_if_they_are_called_so() -> None:
    said = [
        judgement(V.OWN_GENERATOR, generator="procedural", named="procedural", seconds=10.0),
        judgement(V.KNOWN_GENERATOR, generator="procedural", named="world", seconds=10.0),
        judgement(V.OWN_GENERATOR, seconds=10.0),
        judgement(V.INCONCLUSIVE, seconds=10.0),
        judgement(V.INCONCLUSIVE, seconds=10.0),
    ]

    (row,) = own.rows(said)

    assert row.generator == "procedural"
    assert (row.own.hits, row.called.hits, row.own.n) == (1, 2, 2)
    assert row.real_own is not None
    assert (row.real_own.hits, row.real_own.n) == (1, 3)
