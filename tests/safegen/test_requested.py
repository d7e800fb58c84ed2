"""One request told twice: in the record, where it is hidden, and in a private file."""

import dataclasses
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry import releases
from safegen import requested
from safegen.audio import Audio, pcm_sha256
from safegen.errors import InputError, IntegrityError
from safegen.gate import Gate
from safegen.generation.base import Chapter, Generation, ModelFacts, Request, Span
from safegen.provenance import record
from safegen.recording import Release
from tests.safegen.conftest import tones
from tests.safegen.test_gate import _catalog

WALTZ = "a melancholy waltz for my neighbor"


class _Anything:
    """A generator that takes every input and uses none."""

    facts = ModelFacts(name="Anything", version="1", license="CC0-1.0")

    def generate(self, request: Request, *, progress: object = None) -> Generation:
        return Generation(
            audio=tones(request.seed, seconds=request.seconds),
            plan_json="",
            plan_tokens=np.zeros(0, np.int64),
            codes=np.zeros((0, 0), np.int64),
        )


@pytest.fixture
def gate(home: Path) -> Iterator[Gate]:
    gate = Gate.open(home)
    yield gate
    gate.close()


def salt(name: str) -> bytes:
    return name.encode().ljust(32, b"-")


def full() -> Request:
    """Give a request with everything that can be kept, whether or not one model takes it all."""
    return Request(
        prompt=WALTZ,
        seconds=6.1,
        seed=2**62 + 1,
        negative_prompt="no accordion of my neighbor's",
        melody=tones(1, seconds=1.5, sample_rate=8_000),
        source=Audio(waveform=np.full((2, 4_000), 0.1, np.float32), sample_rate=2_000),
        strength=0.3,
        inpaint=(Span(start_seconds=0.5, end_seconds=1.25),),
        story=(Chapter(prompt="the neighbor sleeps", start_seconds=0.0),),
    )


def logged(gate: Gate, release: Release) -> dict[str, Any]:
    with gate.database.read() as session:
        row = releases.get_output(session, release.item.record_id)
    entry: dict[str, Any] = json.loads(row.record)
    return entry


def test_the_record_tells_every_input_and_no_text(gate: Gate, tmp_path: Path) -> None:
    release = gate.generate(_Anything(), full(), out=tmp_path)

    entry = logged(gate, release)
    told = {row["kind"]: row for row in entry["request"]["inputs"]}
    assert b"neighbor" not in json.dumps(entry).encode()
    assert list(told) == ["melody", "source", "negative_prompt", "story"]
    assert told["melody"]["pcm_sha256"] == pcm_sha256(tones(1, seconds=1.5, sample_rate=8_000))
    assert told["melody"]["seconds"] == 1.5
    assert (told["source"]["channels"], told["source"]["strength"]) == (2, 0.3)
    assert told["source"]["spans"] == [[0.5, 1.25]]
    assert len(told["negative_prompt"]["commitment"]) == 64
    assert told["story"]["chapters"][0]["start_seconds"] == 0
    assert entry["request"]["wanted_seconds"] == 6.1
    build = {"torch", "numpy", "machine", "cpu_capability", "device", "precision"}
    assert set(entry["build"]) == build
    found = {row["kind"]: row for row in entry["inputs"]}
    assert release.to_json()["inputs"] == [
        {**row, **found.get(kind, {})} for kind, row in told.items()
    ]


def test_a_record_without_inputs_has_no_word_about_them(gate: Gate, tmp_path: Path) -> None:
    plain = Request(prompt="a march", seconds=6.0, seed=1)

    entry = logged(gate, gate.generate(_Anything(), plain, out=tmp_path))
    foreign = logged(gate, gate.submit(tones(2), _Anything.facts, out=tmp_path))

    told = {"prompt_commitment", "seed", "seconds", "pcm_sha256"}
    assert set(entry["request"]) == {*told, "wanted_seconds"}
    assert set(foreign["request"]) == told
    assert "build" not in foreign


@pytest.mark.parametrize(
    "wish",
    [
        {"negative_prompt": "anything like Aurelia Vantongeren"},
        {"prompt": "", "story": (Chapter(prompt="like Aurelia Vantongeren", start_seconds=0.0),)},
    ],
    ids=["negative prompt", "chapter"],
)
def test_the_prompt_rules_judge_every_text(
    gate: Gate, tmp_path: Path, wish: dict[str, Any]
) -> None:
    _catalog(gate, tones(5, seconds=20.0), uses=())
    plain = Request(prompt="a march", seconds=6.0, seed=1)

    release = gate.generate(_Anything(), dataclasses.replace(plain, **wish), out=tmp_path)

    assert not release.is_released
    assert [reason.rule for reason in release.judgement.decision.reasons] == ["R1"]
    assert release.item.build is None


def test_a_text_that_is_no_text_is_refused_before_the_log(gate: Gate, tmp_path: Path) -> None:
    plain = Request(prompt="a march", seconds=6.0, seed=1)
    for bad in (
        dataclasses.replace(plain, negative_prompt="\0"),
        dataclasses.replace(plain, prompt="x" * 100_000),
    ):
        with pytest.raises(InputError):
            gate.generate(_Anything(), bad, out=tmp_path)

    with gate.database.read() as session:
        assert gate.log.size(session) == 0


def test_a_kept_request_comes_back_bit_for_bit(tmp_path: Path) -> None:
    wanted = full()
    folder = tmp_path / "requests"
    requested.keep(wanted, folder, record_id="r1")
    requested.keep(wanted, folder, record_id="r2")

    found = requested.kept(folder, record_id="r1")

    assert found is not None
    for kind in ("melody", "source"):
        ours, theirs = getattr(found, kind), getattr(wanted, kind)
        assert np.array_equal(ours.waveform, theirs.waveform)
        assert ours.sample_rate == theirs.sample_rate
    assert dataclasses.replace(found, melody=None, source=None) == dataclasses.replace(
        wanted, melody=None, source=None
    )
    assert len(list((folder / "inputs").iterdir())) == 2
    assert requested.kept(folder, record_id="r3") is None


def test_only_the_operator_reads_what_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    requested.keep(full(), folder, record_id="r1")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "inputs").stat().st_mode) == 0o700


def test_a_request_is_kept_with_its_sound_and_not_without(gate: Gate, tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    plain = Request(prompt="a march", seconds=6.0, seed=1)
    voice = dataclasses.replace(plain, prompt="clone the voice of my boss")

    made = gate.generate(_Anything(), plain, out=tmp_path / "out", keep_in=folder)
    gate.generate(_Anything(), voice, out=tmp_path / "out", keep_in=folder)

    assert requested.kept(folder, record_id=made.item.record_id) == plain
    assert [path.stem for path in folder.glob("*.json")] == [made.item.record_id]


@pytest.mark.parametrize("harm", ["cut", "other record", "sound gone"])
def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, harm: str) -> None:
    requested.keep(full(), tmp_path, record_id="r1")
    path = tmp_path / "r1.json"
    text = path.read_text(encoding="utf-8")
    if harm == "cut":
        path.write_text(text[:-9], encoding="utf-8")
    elif harm == "other record":
        path.write_text(text.replace('"r1"', '"r2"'), encoding="utf-8")
    else:
        next((tmp_path / "inputs").iterdir()).unlink()

    with pytest.raises(IntegrityError, match=r"damaged|gone"):
        requested.kept(tmp_path, record_id="r1")


OTHERS = {
    "prompt": {"prompt": "another prompt"},
    "seed": {"seed": 1},
    "length": {"seconds": 6.2},
    "melody": {"melody": tones(2, seconds=1.5, sample_rate=8_000)},
    "continue from": {"continue_from": tones(2, seconds=1.5)},
    "source": {"strength": 0.4},
    "negative prompt": {"negative_prompt": ""},
    "story": {"story": (Chapter(prompt="the neighbor wakes", start_seconds=0.0),)},
}


@pytest.mark.parametrize(("name", "changed"), OTHERS.items(), ids=OTHERS)
def test_another_request_is_told_from_the_one_of_the_record(
    name: str, changed: dict[str, Any]
) -> None:
    request = full()
    entry = {
        "prompt_commitment": record.commit("prompt", WALTZ, salt=salt("prompt")),
        "seed": str(request.seed),
        # Through text, as a record is kept.
        **json.loads(json.dumps(requested.public(request, salt=salt))),
    }

    assert requested.differing(entry, request, salt=salt) == ()
    other = dataclasses.replace(request, **changed)
    assert requested.differing(entry, other, salt=salt) == (name,)


def test_a_record_of_an_earlier_version_is_held_to_what_it_tells() -> None:
    plain = Request(prompt=WALTZ, seconds=6.0, seed=1)
    commitment = record.commit("prompt", WALTZ, salt=salt("prompt"))
    entry = {"prompt_commitment": commitment, "seed": "1", "seconds": 6.0, "pcm_sha256": "00"}

    assert requested.differing(entry, plain, salt=salt) == ()
    assert requested.differing(entry, full(), salt=salt)[:1] == ("seed",)
