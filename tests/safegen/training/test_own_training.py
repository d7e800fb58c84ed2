"""From a folder of sounds to a model of the installation, with tiny networks."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors import chromaprint
from detectors.agreement import NO_CODE
from safegen.errors import InputError, IntegrityError
from safegen.generation import known, own
from safegen.generation.base import Generation
from safegen.generation.cards import CARDS, checked_path
from safegen.memorization import examine, for_model, parse
from safegen.training import own_items
from safegen.training.memory import Recorded
from safegen.training.own_data import OwnData
from safegen.training.own_items import FRAMES, OwnItems, encode, encoded, stretches
from safegen.training.own_manifest import ENOUGH, calibrate_own, write_own_manifest
from safegen.training.own_rows import TRAINED, check_row
from safegen.training.own_training import finish, is_finished, items_of, prepare, train
from tests.safegen.conftest import tones
from tests.safegen.generation.staged_models import staged_codec
from tests.safegen.training.own_help import fill, own_data, tiny_base, wanted


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of encoded items, shared by all runs."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> OwnData:
    return own_data(fill(tmp_path_factory.mktemp("data") / "own"))


@pytest.fixture(scope="module")
def items(data: OwnData, work: Path) -> OwnItems:
    list(encode(data, staged_codec(), folder=work, keep_mels=True))
    return encoded(data, staged_codec(), folder=work, keep_mels=True)


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(1.0, [0.0]), (10.0, [0.0]), (10.9, [0.0]), (12.0, [0.0, 2.0]), (25.0, [0.0, 10.0, 15.0])],
)
def test_a_file_is_cut_into_items_of_ten_seconds(seconds: float, starts: list[float]) -> None:
    assert stretches(seconds) == starts


def test_files_become_items_and_what_cannot_is_named(items: OwnItems) -> None:
    assert items.names == ("a.wav@0s", "a.wav@2s", "b.wav@0s", "c.wav@0s")
    assert items.sounding.tolist() == [FRAMES, FRAMES, FRAMES, 150]
    assert [(x.name, x.reason.partition(",")[0]) for x in items.left_out] == [
        ("short.wav", "0.50 s"),
        ("silent.wav", "silent"),
        ("torn.wav", "truncated"),
    ]
    assert (items.first_codes[3, 150:] == NO_CODE).all()
    assert (items.first_codes[3, :150] >= 0).all()


def test_files_are_encoded_once(
    data: OwnData, items: OwnItems, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(path: Path) -> None:
        loaded.append(path.name)
        raise InputError("not again")

    monkeypatch.setattr(own_items, "load", load)
    list(encode(data, staged_codec(), folder=work, keep_mels=True))
    again = encoded(data, staged_codec(), folder=work, keep_mels=True)

    assert sorted(loaded) == ["short.wav", "silent.wav", "torn.wav"]
    np.testing.assert_array_equal(again.codes, items.codes)


def test_a_folder_of_silence_teaches_nothing(data: OwnData, tmp_path: Path) -> None:
    silent = replace(data, files=tuple(x for x in data.files if x.name == "silent.wav"))
    list(encode(silent, staged_codec(), folder=tmp_path, keep_mels=False))

    with pytest.raises(InputError, match="silent"):
        encoded(silent, staged_codec(), folder=tmp_path, keep_mels=False)


@pytest.mark.parametrize("from_scratch", [False, True])
@pytest.mark.parametrize(
    "roles", [("renderer",), ("tokens",), ("codec",), ("generator", "cascader")]
)
def test_every_network_learns(
    roles: tuple[str, ...], from_scratch: bool, items: OwnItems, tmp_path: Path
) -> None:
    base = tiny_base(tmp_path / "base", *roles, from_scratch=from_scratch)
    before = {role: _first(model) for role, model in base.models.items()}
    ask = wanted(tmp_path)
    made = list(train(base, items, ask))

    assert [progress.step for progress in made] == list(range(1, 2 * len(roles) + 1))
    assert is_finished(base, ask)
    assert all(not torch.equal(_first(base.models[role]), before[role]) for role in roles)


def _first(model: torch.nn.Module) -> torch.Tensor:
    return next(p for p in model.parameters() if p.requires_grad).detach().clone()


def test_a_killed_run_goes_on_as_if_it_had_not_been(items: OwnItems, tmp_path: Path) -> None:
    whole = [
        p.loss
        for p in train(
            tiny_base(tmp_path / "base", "renderer"), items, wanted(tmp_path / "whole", steps=5)
        )
    ]
    torn = wanted(tmp_path / "torn", steps=5)
    minutes = itertools.count(step=60.0)
    killed = train(
        tiny_base(tmp_path / "base", "renderer"), items, torn, clock=lambda: next(minutes)
    )
    before = [progress.loss for progress in itertools.islice(killed, 3)]
    del killed
    after = [p.loss for p in train(tiny_base(tmp_path / "base", "renderer"), items, torn)]

    assert len(after) == 2
    assert [*before, *after] == whole


def test_a_run_stops_when_told_and_keeps_its_step(items: OwnItems, tmp_path: Path) -> None:
    base, ask = tiny_base(tmp_path / "base", "renderer"), wanted(tmp_path, steps=4)
    first = list(train(base, items, ask, stop=lambda: True))
    unfinished = is_finished(base, ask)
    rest = list(train(tiny_base(tmp_path / "base", "renderer"), items, ask))

    assert not unfinished
    assert [p.step for p in first] == [1]
    assert [p.step for p in rest] == [2, 3, 4]


def test_a_run_is_not_continued_with_other_data(data: OwnData, tmp_path: Path) -> None:
    base, ask = tiny_base(tmp_path / "base", "renderer"), wanted(tmp_path)
    list(prepare(base, data, ask))
    other = replace(data, files=data.files[:1])

    with pytest.raises(InputError, match="another data_sha256"):
        list(prepare(base, other, ask))


@pytest.fixture(scope="module")
def home(data: OwnData, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one own model."""
    where = tmp_path_factory.mktemp("home")
    base, ask = tiny_base(where / "base", "renderer"), wanted(work)
    list(prepare(base, data, ask))
    found = items_of(base, data, ask)
    list(train(base, found, ask))
    finish(base, data, found, ask, models=where / "models", overwrite=False)
    return where / "models"


def test_a_finished_run_is_a_model_of_the_installation(home: Path) -> None:
    (found,) = own.installed(home)

    assert known.any_card("mine", models=home) == found.card
    assert found.card.license == "Apache-2.0 AND CC0-1.0"
    assert found.own.learned.licenses == {"CC0-1.0": 3}
    assert (found.own.learned.files, found.own.learned.items) == (3, 4)
    assert "3 own files" in found.card.training_data
    assert [x.role for x in found.card.files] == ["codec", "planner", "renderer", "manifest"]
    assert all(checked_path(x, folder=found.folder).is_file() for x in found.card.files)
    assert (found.folder / "losses.png").stat().st_size > 1000


def test_a_name_is_not_taken_twice(home: Path) -> None:
    (found,) = own.installed(home)

    with pytest.raises(InputError, match="mine exists"):
        own.install(home, found.own, {}, losses=found.folder / "losses.png", overwrite=False)


def test_a_model_without_licenses_has_an_unknown_one(data: OwnData) -> None:
    from safegen.training.own_training import license_of

    files = (replace(data.files[0], license="unlicensed"), *data.files[1:])

    assert license_of("Apache-2.0", replace(data, files=files)) == "unknown"
    either = (replace(data.files[0], license="MIT OR CC0-1.0"), data.files[1])
    assert license_of("Apache-2.0", replace(data, files=either)) == (
        "Apache-2.0 AND CC0-1.0 AND (MIT OR CC0-1.0)"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema": "x"}, "not of schema"),
        ({"extra": 1}, "fields of OwnCard: extra"),
        ({"license": 5}, "license is a int"),
        ({"name": "other"}, "card of other"),
        ({"base": "gpt"}, "no such model"),
        ({"files": [{"role": "codec", "name": "../x", "sha256": "0" * 64}]}, "no file of a model"),
        ({"learned": {}}, "fields of Learned"),
    ],
)
def test_a_damaged_card_is_refused(
    change: dict[str, object], problem: str, home: Path, tmp_path: Path
) -> None:
    row = json.loads((home / "mine" / "card.json").read_text())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text(json.dumps(row | change))

    with pytest.raises(IntegrityError, match=problem):
        list(own.installed(tmp_path))


def test_a_changed_file_is_refused_before_it_is_read(home: Path, tmp_path: Path) -> None:
    (found,) = own.installed(home)
    (tmp_path / "renderer.safetensors").write_bytes(b"other")

    with pytest.raises(IntegrityError, match="the model card says"):
        checked_path(found.card.file("renderer"), folder=tmp_path)


def strangers(count: int) -> Recorded:
    sounds = [tones(100 + seed, seconds=10.0) for seed in range(count)]
    prints = [chromaprint.fingerprint(x.waveform, x.sample_rate) for x in sounds]
    codes = np.random.default_rng(3).integers(0, 16, (count, FRAMES))
    return Recorded(codes=codes.astype(np.int16), fingerprints=np.stack(prints))


def test_an_output_that_copies_an_own_file_is_flagged(
    items: OwnItems, data: OwnData, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.safetensors"
    write_own_manifest(
        path, items, data, codes=16, codec_sha256="0" * 64, strangers=strangers(ENOUGH)
    )
    known = parse(path.read_bytes())
    none = np.zeros(0, dtype=np.int64)
    codes = np.zeros((0, 0), dtype=np.int64)
    copied, fresh = (
        Generation(audio=sound, plan_json="", plan_tokens=none, codes=codes)
        for sound in (tones(2, seconds=10.5).cut(0.2, 9.8), tones(9, seconds=10.0))
    )

    assert known.plans is None
    assert known.fingerprints is not None
    found = examine(copied, known)
    assert found.flag
    assert found.nearest_item == "b.wav@0s"
    assert not examine(fresh, known).flag


def test_a_rung_without_enough_pieces_is_left_out(items: OwnItems) -> None:
    assert calibrate_own(items, codes=16, strangers=None).calibration == {}


def test_the_manifest_of_an_own_model_is_found_by_its_hash(home: Path) -> None:
    (found,) = own.installed(home)

    assert for_model(found.card.facts, models=home) is not None
    assert for_model(found.card.facts) is None
    earlier = replace(found.card.facts, training_manifest_sha256="0" * 64)
    assert for_model(earlier, models=home) is None


def test_every_trained_row_has_a_card_with_the_roles_it_trains() -> None:
    shipped = {found.name: {file.role for file in found.files} for found in CARDS}

    assert "music-flow" in shipped
    assert all(set(TRAINED.get(row, ())) <= roles for row, roles in shipped.items())


def test_a_row_without_weights_says_so() -> None:
    with pytest.raises(InputError, match="procedural learns nothing"):
        check_row("procedural")
