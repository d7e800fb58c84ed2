"""MusicGen says here what its library says, whoever it is drawn with, and also piece by piece."""

import gc
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from safegen.audio import Audio
from safegen.errors import InputError
from safegen.generation.base import BatchGenerator, Request, StreamingGenerator, joined
from safegen.generation.model_card import ModelCard
from safegen.generation.public_families import module_of, recognize
from safegen.generation.stages import one_thread
from safegen.generation.transformers_models.code_music import CodeMusic
from safegen.generation.transformers_models.loading import load_model, load_tokenizer, quiet
from safegen.generation.transformers_models.stepping import Drawing
from tests.safegen.generation.tiny_checkpoints import SAMPLE_RATE, save_musicgen
from tests.safegen.generation.tiny_codecs import card_of as plain_card_of

KINDS: dict[str, dict[str, Any]] = {
    "mono": {},
    "stereo": {"channels": 2},
    "melody": {"melody": True},
}
PROMPT = "a calm piano piece with drums"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A checkpoint, and what was built of it."""

    folder: Path
    music: CodeMusic


@pytest.fixture(autouse=True, scope="module")
def no_waiting_for_other_processes() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    found = {}
    for name, kind in KINDS.items():
        folder = save_musicgen(tmp_path_factory.mktemp("musicgen") / name, **kind)
        module = module_of(recognize(folder))
        music = module.load(folder, card_of(folder), device="cpu", precision="float32")
        found[name] = Made(folder=folder, music=music)
    return found


def card_of(folder: Path) -> ModelCard:
    told = module_of(recognize(folder)).describe(folder)
    return replace(
        plain_card_of(folder),
        shortest_seconds=told.shortest_seconds,
        longest_seconds=told.longest_seconds,
        accepts=told.accepts,
    )


def noise(seconds: float, *, rate: int = 22_050, channels: int = 1) -> Audio:
    waveform = np.random.default_rng(7).normal(0, 0.1, (channels, round(seconds * rate)))
    return Audio(waveform=waveform.astype(np.float32), sample_rate=rate)


def unlike_requests(kind: str) -> list[Request]:
    """Ask for what differs in all a batch can differ in."""
    found = [
        Request(prompt=PROMPT, seconds=1.2, seed=3),
        Request(prompt="rock", seconds=2.011, seed=4, negative_prompt="low quality noise"),
        Request(prompt="a loud song", seconds=2.0, seed=3, continue_from=noise(1.1, channels=2)),
        Request(prompt="dog", seconds=0.77, seed=2**63 - 1),
    ]
    if kind == "melody":
        found[3] = replace(found[3], prompt="", melody=noise(1.5))
    return found


def library_codes(made: Made, *, frames: int) -> Any:
    """Draw the likeliest codes with the library's own ``generate``."""
    module: Any = module_of(recognize(made.folder))
    model = load_model(module.CLASS, made.folder, device="cpu", precision="float32")
    words = load_tokenizer(made.folder)([PROMPT], return_tensors="pt")
    decode, heard = model.audio_encoder.decode, []

    def listen(codes: torch.Tensor, *rest: Any, **named: Any) -> Any:
        heard.append(codes[0, 0])
        return decode(codes, *rest, **named)

    model.audio_encoder.decode = listen
    with quiet():
        sound = model.generate(
            **words, do_sample=False, guidance_scale=3.0, max_new_tokens=frames + 3
        )
    return torch.stack(heard, dim=1).flatten(0, 1).numpy(), sound[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_the_likeliest_codes_are_those_of_the_library(made: dict[str, Made], kind: str) -> None:
    codes, sound = library_codes(made[kind], frames=60)

    music, settings = made[kind].music, made[kind].music.settings
    music.settings = replace(settings, drawing=replace(settings.drawing, greedy=True))
    try:
        ours = music.generate(Request(prompt=PROMPT, seconds=1.2, seed=1))
    finally:
        music.settings = settings

    assert len(np.unique(codes)) > 20
    assert np.array_equal(ours.codes, codes)
    assert ours.audio.waveform.shape == sound.shape
    end = round(1.1 * SAMPLE_RATE)  # the last moment fades here
    assert np.abs(ours.audio.waveform[:, :end] - sound[:, :end]).max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_has_the_same_bits_alone_and_in_a_batch(made: dict[str, Made], kind: str) -> None:
    music, requests = made[kind].music, unlike_requests(kind)

    alone = [music.generate(request) for request in requests]
    together = music.generate_batch(requests)

    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.codes, other.codes)
        assert np.array_equal(one.audio.waveform, other.audio.waveform)
    assert not np.array_equal(alone[0].codes[:, 20:40], alone[1].codes[:, 20:40])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_one_shape_draw_the_same_codes(made: dict[str, Made], kind: str) -> None:
    music, requests = made[kind].music, unlike_requests(kind)

    exact = music.generate_batch(requests)
    music.fixed_shapes = True
    try:
        masked = music.generate_batch(requests)
    finally:
        music.fixed_shapes = False

    for one, other in zip(exact, masked, strict=True):
        assert np.array_equal(one.codes, other.codes)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_the_whole(made: dict[str, Made], kind: str) -> None:
    music = made[kind].music
    assert isinstance(music, StreamingGenerator)
    assert isinstance(music, BatchGenerator)

    for request in unlike_requests(kind):
        whole = music.generate(request)
        pieces = list(music.stream(request))

        assert len(pieces) > 1
        assert np.array_equal(joined(pieces).codes, whole.codes)
        assert whole.audio.waveform.shape[1] == round(request.seconds * SAMPLE_RATE)
        assert joined(pieces).audio.waveform.shape == whole.audio.waveform.shape
        assert np.abs(joined(pieces).audio.waveform - whole.audio.waveform).max() < 1e-6
    assert pieces[0].audio.seconds < 0.5


def test_a_stream_leaves_the_mode_of_its_reader_alone(made: dict[str, Made]) -> None:
    stream = made["mono"].music.stream(Request(prompt="rock", seconds=2.0, seed=1))
    next(stream)

    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("kind", KINDS)
def test_a_continuation_begins_with_the_codes_of_the_sound(
    made: dict[str, Made], kind: str
) -> None:
    music, beginning = made[kind].music, noise(1.1)
    request = Request(prompt="rock", seconds=2.0, seed=3, continue_from=beginning)

    with torch.inference_mode():
        codes = music.sound.encode(beginning).numpy()
    found = music.generate(request).codes

    assert codes.shape[1] == 55
    assert np.array_equal(found[:, :55], codes)
    other = music.generate(replace(request, seed=4)).codes
    assert not np.array_equal(found[:, 55:], other[:, 55:])


def test_prompt_negative_prompt_melody_and_seed_each_change_the_codes(
    made: dict[str, Made],
) -> None:
    request = Request(prompt="rock", seconds=1.0, seed=3)
    music = made["melody"].music

    found = [
        music.generate(each).codes.tobytes()
        for each in (
            request,
            replace(request, prompt="a calm song"),
            replace(request, negative_prompt="noise"),
            replace(request, melody=noise(1.5)),
            replace(request, seed=4),
        )
    ]

    assert len(set(found)) == len(found)


def test_a_longer_clip_begins_like_a_shorter_one(made: dict[str, Made]) -> None:
    music, request = made["mono"].music, Request(prompt="rock", seconds=1.0, seed=3)

    short, long = music.generate(request).codes, music.generate(replace(request, seconds=2.0)).codes

    assert np.array_equal(short[:, :-3], long[:, : short.shape[1] - 3])


def test_the_global_luck_changes_nothing_and_is_left_alone(made: dict[str, Made]) -> None:
    music, request = made["mono"].music, Request(prompt="rock", seconds=1.0, seed=3)
    first = music.generate(request)

    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    again = music.generate(request)

    assert np.array_equal(first.audio.waveform, again.audio.waveform)
    assert torch.equal(state, torch.random.get_rng_state())


def test_progress_grows_to_one(made: dict[str, Made]) -> None:
    told: list[float] = []
    made["mono"].music.generate(Request(prompt="x", seconds=0.6, seed=1), progress=told.append)

    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seconds": 5.1}, "makes 0.5 to 5.04 s"),
        ({"seconds": 0.4}, "makes 0.5 to 5.04 s"),
        ({"melody": noise(2.0)}, "takes no melody"),
        ({"prompt": "piano " * 512}, "a prompt has 513 tokens, the model reads 512"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_drawn(
    made: dict[str, Made], change: dict[str, Any], said: str
) -> None:
    request = replace(Request(prompt="rock", seconds=1.0, seed=3), **change)
    told: list[float] = []

    with pytest.raises(InputError, match=said):
        made["mono"].music.generate(request, progress=told.append)

    assert not told


def test_a_text_that_leaves_too_few_positions_is_refused(made: dict[str, Made]) -> None:
    request = Request(prompt="piano " * 300, seconds=8.0, seed=3)

    with pytest.raises(InputError, match=r"text and sound take \d+ positions, .* has 512"):
        made["melody"].music.generate(request)


def test_bfloat16_draws_and_decodes(made: dict[str, Made]) -> None:
    folder = made["mono"].folder
    module = module_of(recognize(folder))

    music = module.load(folder, card_of(folder), device="cpu", precision="bfloat16")
    found = music.generate(Request(prompt="rock", seconds=0.6, seed=3))

    assert music.decoder.dtype == torch.bfloat16
    assert found.audio.waveform.shape == (1, 9600)
    assert np.isfinite(found.audio.waveform).all()


def test_only_the_likeliest_codes_are_drawn_and_by_how_likely_they_are() -> None:
    from safegen.generation.transformers_models import stepping

    logits = torch.tensor([3.0, 1.0, 2.0, 0.0]).log().expand(10_000, 1, 4)
    luck = torch.arange(10_000)[:, None] / 10_000
    drawing = Drawing(guidance=3.0, temperature=1.0, top_k=2)

    found = stepping._drawn(logits, luck, drawing)[:, 0].bincount(minlength=4)

    assert found.tolist() == [6000, 0, 4000, 0]


def change_settings(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        change(found)
        (folder / name).write_text(json.dumps(found), encoding="utf-8")

    return apply


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def drop_tensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: x for name, x in tensors.items() if ".fc1." not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def drop(*names: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return apply


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "no tokenizer": (
        drop("tokenizer.json", "tokenizer_config.json"),
        "no vocabulary of a tokenizer",
    ),
    "no weights": (drop("model.safetensors"), "cannot be read from it"),
    "weights that end early": (cut_weights, "cannot be read from it"),
    "half the tensors": (drop_tensors, "2 tensors of .* are missing"),
    "no settings": (drop("config.json"), "cannot be read as settings"),
    "code to run": (
        change_settings("config.json", lambda x: x.update(auto_map={"AutoModel": "x.Y"})),
        "config.json asks for auto_map",
    ),
    "a codec of fewer words": (
        change_settings("config.json", lambda x: x["audio_encoder"].update(codebook_size=32)),
        "cannot be read from it",
    ),
    "another width": (
        change_settings("config.json", lambda x: x["decoder"].update(hidden_size=64)),
        "cannot be read from it",
    ),
    "more codebooks than the codec has": (
        change_settings("config.json", lambda x: x["decoder"].update(num_codebooks=5)),
        "2 tensors of .* are missing",
    ),
    "a temperature of zero": (
        change_settings("generation_config.json", lambda x: x.update(temperature=0)),
        "says nothing usable",
    ),
    "a start token that is no token": (
        change_settings("generation_config.json", lambda x: x.update(decoder_start_token_id=999)),
        "start token 999 of 64 words",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_folder_is_refused_with_a_remedy(
    made: dict[str, Made], fault: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(made["mono"].folder, folder)
    card, module = card_of(folder), module_of(recognize(folder))
    break_it, said = BROKEN[fault]
    break_it(folder)

    with pytest.raises(InputError, match=said) as caught:
        module.load(folder, card, device="cpu", precision="float32")

    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        {"decoder": "none"},
        {"decoder": {"audio_channels": 3}},
        {"decoder": {"max_position_embeddings": 4}},
        {"decoder": {"num_codebooks": 0}},
        {"audio_encoder": {"model_type": "dac"}},
        {"audio_encoder": {"model_type": "encodec", "sampling_rate": 0}},
        {"audio_encoder": {"model_type": "encodec", "sampling_rate": "x"}},
        {"audio_encoder": None},
    ],
    ids=str,
)
def test_settings_of_no_use_are_refused_without_weights(
    change: dict[str, Any], made: dict[str, Made], tmp_path: Path
) -> None:
    found = json.loads((made["mono"].folder / "config.json").read_text(encoding="utf-8"))
    for key, value in change.items():
        found[key] = {**found[key], **value} if isinstance(value, dict) else value
    (tmp_path / "config.json").write_text(json.dumps(found), encoding="utf-8")

    with pytest.raises(InputError, match="no usable settings of a MusicGen"):
        module_of(recognize(tmp_path)).describe(tmp_path)


def test_the_real_small_and_stereo_melody_checkpoints_are_described(tmp_path: Path) -> None:
    codec = {"model_type": "encodec", "sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4]}
    said = []
    for kind, decoder in (
        ("musicgen", {"hidden_size": 1024}),
        ("musicgen_melody", {"audio_channels": 2, "num_codebooks": 8, "hidden_size": 1536}),
    ):
        told = {"model_type": kind, "audio_encoder": codec, "decoder": decoder}
        (tmp_path / "config.json").write_text(json.dumps(told), encoding="utf-8")
        said.append(module_of(recognize(tmp_path)).describe(tmp_path))

    assert [x.longest_seconds for x in said] == [30.0, 30.0]
    assert [x.channels for x in said] == [1, 2]
    assert [x.accepts for x in said] == [
        ("negative_prompt", "continue_from"),
        ("negative_prompt", "melody", "continue_from"),
    ]
    assert "32000" not in said[0].summary
    assert "50 frames a second" in said[0].summary


def test_the_file_of_the_weights_does_not_stay_in_memory(
    made: dict[str, Made], tmp_path: Path
) -> None:
    # A copy of its own: what else was loaded from the others may not be collected yet.
    folder = Path(shutil.copytree(made["mono"].folder, tmp_path / "own"))
    path, maps = folder / "model.safetensors", Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("only Linux says what is mapped")
    music = module_of(recognize(folder)).load(
        folder, card_of(folder), device="cpu", precision="float32"
    )
    gc.collect()

    spans = [
        line.split()[0].split("-") for line in maps.read_text().splitlines() if str(path) in line
    ]

    assert music is not None
    assert sum(int(end, 16) - int(start, 16) for start, end in spans) < path.stat().st_size / 2
