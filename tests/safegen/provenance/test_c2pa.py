"""Manifests: what we sign holds, and nothing that was changed or copied does."""

import io
import json
import multiprocessing
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import av
import c2pa as library
import numpy as np
import pytest

from safegen.audio import Audio, FileFormat, encode, load
from safegen.errors import IntegrityError, SafegenError
from safegen.provenance import c2pa
from safegen.provenance.c2pa import ClaimFacts, Ingredient
from safegen.provenance.keys import KeyStore

FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)
PROMPT = "a very secret prompt about Anna"
CLAIM = ClaimFacts(
    record_id="01980000-0000-7000-8000-000000000001",
    title="Generated audio",
    model="music-flow 1",
    policy_name="strict",
    policy_sha256="ab" * 32,
    watermark_algorithm="keyed-1",
    watermark_payload="0123456789abcdef",
    origin="generated",
    software_version="0.1.0",
)


def noise(seed: int, seconds: float = 1.0) -> Audio:
    dice = np.random.default_rng(seed)
    samples = dice.normal(0.0, 0.1, (2, round(32_000 * seconds))).astype(np.float32)
    return Audio(waveform=samples, sample_rate=32_000)


def write(path: Path, file_format: FileFormat, *, seed: int = 1) -> Path:
    tags = {"title": "t", "comment": "AI-generated"}
    path.write_bytes(encode(noise(seed), file_format, tags=tags))
    return path


def sign(keys: KeyStore, source: Path, destination: Path, **changes: object) -> Path:
    options: dict[str, object] = {"claim": CLAIM, "ingredients": (), "timestamp_url": None}
    options |= changes
    c2pa.sign(
        source,
        destination,
        file_format=source.suffix[1:],  # type: ignore[arg-type]
        key=keys.manifest_key(),
        trust_anchors=keys.trust_anchors(),
        **options,  # type: ignore[arg-type]
    )
    return destination


def made_from(path: Path | None, name: str = "source") -> tuple[Ingredient, ...]:
    kind = "inputTo" if name == "melody" else "parentOf"
    return (Ingredient(name=name, relationship=kind, path=path),)  # type: ignore[arg-type]


def state(path: Path, keys: KeyStore) -> str:
    return c2pa.read(path, trust_anchors=keys.trust_anchors()).state


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    store = KeyStore(tmp_path_factory.mktemp("c2pa") / "keys")
    store.init(organization="Example Audio")
    return store


@pytest.fixture(scope="module", params=FORMATS)
def signed(
    request: pytest.FixtureRequest, keys: KeyStore, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    source = write(folder / f"plain.{request.param}", request.param)
    return sign(keys, source, folder / f"signed.{request.param}")


def test_a_license_that_was_accepted_is_read_back_from_the_file(
    keys: KeyStore, tmp_path: Path
) -> None:
    claim = replace(CLAIM, license="CC-BY-NC-4.0", license_accepted="2026-11-22")
    path = sign(keys, write(tmp_path / "a.wav", "wav"), tmp_path / "b.wav", claim=claim)
    found = c2pa.read(path, trust_anchors=keys.trust_anchors())

    assert (found.state, found.model_license) == ("trusted", "CC-BY-NC-4.0")
    assert b"2026-11-22" in path.read_bytes()


def test_a_signed_file_is_trusted_and_says_what_it_is(signed: Path, keys: KeyStore) -> None:
    finding = c2pa.read(signed, trust_anchors=keys.trust_anchors())

    assert finding.state == "trusted"
    assert finding.failures == ()
    assert finding.record_id == CLAIM.record_id
    assert finding.policy_sha256 == CLAIM.policy_sha256
    assert finding.watermark_payload == CLAIM.watermark_payload
    assert finding.issuer == "Example Audio"
    assert finding.generator == "safegen 0.1.0"
    assert finding.source_type == c2pa.GENERATED


def test_signing_changes_no_sample(signed: Path) -> None:
    plain = load(signed.with_name(f"plain{signed.suffix}"))

    assert np.array_equal(load(signed).waveform, plain.waveform)


def test_the_signer_attests_every_assertion(signed: Path, keys: KeyStore) -> None:
    settings = {"trust": {"trust_anchors": keys.trust_anchors()}}
    with (
        library.Context.from_dict(settings) as context,
        library.Reader(str(signed), context=context) as reader,
    ):
        report = json.loads(reader.detailed_json())
    claim = report["manifests"][report["active_manifest"]]["claim"]
    attested = {item["url"].rsplit("/", 1)[-1] for item in claim["created_assertions"]}

    assert attested == {"c2pa.actions.v2", "c2pa.hash.data", c2pa.RELEASE_LABEL}
    assert not claim.get("gathered_assertions")


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
def test_one_flipped_bit_of_the_sound_is_noticed(
    signed: Path, keys: KeyStore, tmp_path: Path, place: float
) -> None:
    data = bytearray(signed.read_bytes())
    plain = signed.with_name(f"plain{signed.suffix}").stat().st_size
    # In MP3 and FLAC the manifest comes first, in WAV last.
    at = round(plain * place) + (len(data) - plain if signed.suffix != ".wav" else 0)
    data[at] ^= 1
    path = tmp_path / signed.name
    path.write_bytes(data)
    finding = c2pa.read(path, trust_anchors=keys.trust_anchors())

    assert finding.state == "invalid"
    assert "assertion.dataHash.mismatch" in finding.failures


def test_no_flip_anywhere_goes_unnoticed_or_leaves_the_sound_changed(
    signed: Path, keys: KeyStore, tmp_path: Path
) -> None:
    # The manifest's own padding is not covered; a file that stays trusted must sound the same.
    original, dice = signed.read_bytes(), random.Random(7)  # noqa: S311 (which bits to flip)
    path = tmp_path / signed.name
    for _ in range(60):
        data = bytearray(original)
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        if state(path, keys) == "trusted":
            assert np.array_equal(load(path).waveform, load(signed).waveform)


def test_a_tag_added_afterwards_is_noticed(signed: Path, keys: KeyStore, tmp_path: Path) -> None:
    data = signed.read_bytes()
    if signed.suffix == ".wav":
        chunk = b"LIST" + (16).to_bytes(4, "little") + b"INFOINAM" + (4).to_bytes(4, "little")
        data = data + chunk + b"mine"
        data = data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:]
    else:
        data = data + b"TAG" + b"mine".ljust(125, b"\x00")
    path = tmp_path / signed.name
    path.write_bytes(data)

    assert state(path, keys) == "invalid"


def test_a_cut_file_is_noticed(signed: Path, keys: KeyStore, tmp_path: Path) -> None:
    path = tmp_path / signed.name
    path.write_bytes(signed.read_bytes()[:-100])

    assert state(path, keys) in ("invalid", "unreadable", "absent")


def test_a_manifest_on_another_sound_is_noticed(
    signed: Path, keys: KeyStore, tmp_path: Path
) -> None:
    plain = signed.with_name(f"plain{signed.suffix}").read_bytes()
    other = encode(noise(2), signed.suffix[1:], tags={"title": "t", "comment": "AI-generated"})  # type: ignore[arg-type]
    data = signed.read_bytes()
    if signed.suffix == ".wav":
        manifest = data[len(plain) :]
        forged = other + manifest
        forged = forged[:4] + (len(forged) - 8).to_bytes(4, "little") + forged[8:]
    else:
        # The rewritten tag replaces the plain file's own, so cut both at the sound.
        mark = plain[-2000:-1900]
        tail = len(data) - data.rindex(mark)
        forged = data[:-tail] + other[-tail:]
    path = tmp_path / signed.name
    path.write_bytes(forged)

    finding = c2pa.read(path, trust_anchors=keys.trust_anchors())

    assert (finding.state, finding.record_id) == ("invalid", CLAIM.record_id)
    assert "assertion.dataHash.mismatch" in finding.failures


def test_a_manifest_of_another_authority_is_valid_but_not_trusted(
    signed: Path, tmp_path: Path
) -> None:
    stranger = KeyStore(tmp_path / "keys")
    stranger.init(organization="Somebody Else")

    for anchors in (stranger.trust_anchors(), ""):
        finding = c2pa.read(signed, trust_anchors=anchors)
        assert finding.state == "valid"
        assert finding.failures == ("signingCredential.untrusted",)


def test_a_stranger_who_copies_our_name_is_not_trusted(keys: KeyStore, tmp_path: Path) -> None:
    stranger = KeyStore(tmp_path / "keys")
    stranger.init(organization="Example Audio")
    forged = sign(stranger, write(tmp_path / "a.wav", "wav"), tmp_path / "b.wav")
    finding = c2pa.read(forged, trust_anchors=keys.trust_anchors())

    assert (finding.state, finding.issuer) == ("valid", "Example Audio")


def test_a_decoded_and_encoded_file_has_no_manifest(
    signed: Path, keys: KeyStore, tmp_path: Path
) -> None:
    path = tmp_path / "again.mp3"
    path.write_bytes(encode(load(signed), "mp3"))

    assert state(path, keys) == "absent"


def test_an_expired_leaf_signs_nothing(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=365 * 19 + 30)
    store = KeyStore(tmp_path / "keys", now=lambda: long_ago)
    store.init()

    with pytest.raises(SafegenError, match="not valid at time of signing"):
        sign(store, write(tmp_path / "a.wav", "wav"), tmp_path / "b.wav")
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "unreadable"),
        (b"no audio at all" * 40, "unreadable"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", "unreadable"),
        (b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f", "unreadable"),
    ],
    ids=["empty", "text", "cut wav", "cut mp3"],
)
def test_what_holds_no_manifest_is_not_an_accident(
    content: bytes, expected: str, keys: KeyStore, tmp_path: Path
) -> None:
    path = tmp_path / "file.wav"
    path.write_bytes(content)

    assert state(path, keys) in (expected, "absent")


def test_an_ogg_file_cannot_hold_one(keys: KeyStore) -> None:
    ogg = Path(__file__).parents[2] / "assets" / "tabla.ogg"

    assert state(ogg, keys) == "unreadable"


def test_a_missing_file_is_an_error(keys: KeyStore, tmp_path: Path) -> None:
    with pytest.raises(SafegenError, match="cannot be read"):
        state(tmp_path / "none.wav", keys)


def test_tags_are_covered_and_the_prompt_is_nowhere(signed: Path) -> None:
    data = signed.read_bytes()

    assert b"AI-generated" in data
    assert PROMPT.encode() not in data


def broken_key(keys: KeyStore, tmp_path: Path) -> KeyStore:
    other = KeyStore(tmp_path / "other")
    other.init()
    mixed = json.loads((other.folder / "c2pa-0001.json").read_text())
    mixed["public"] = keys.manifest_key().chain_pem
    (other.folder / "c2pa-0001.json").write_text(json.dumps(mixed))
    return other


def text_file(path: Path) -> Path:
    path.write_text("no audio")
    return path


FAILURES: dict[str, Callable[[KeyStore, Path], tuple[KeyStore, Path]]] = {
    "the key is not the certificate's": lambda keys, folder: (
        broken_key(keys, folder),
        write(folder / "a.wav", "wav"),
    ),
    "the source is no audio": lambda keys, folder: (
        keys,
        text_file(folder / "a.wav"),
    ),
    "the source is missing": lambda keys, folder: (keys, folder / "none.wav"),
}


@pytest.mark.parametrize("prepare", FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_leaves_no_file(
    prepare: Callable[[KeyStore, Path], tuple[KeyStore, Path]], keys: KeyStore, tmp_path: Path
) -> None:
    store, source = prepare(keys, tmp_path)

    with pytest.raises(SafegenError):
        sign(store, source, tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_root_that_is_not_the_leafs_leaves_no_file(keys: KeyStore, tmp_path: Path) -> None:
    other = KeyStore(tmp_path / "other")
    other.init()

    with pytest.raises(IntegrityError, match="reads back as valid"):
        c2pa.sign(
            write(tmp_path / "a.wav", "wav"),
            tmp_path / "out.wav",
            file_format="wav",
            claim=CLAIM,
            key=keys.manifest_key(),
            trust_anchors=other.trust_anchors(),
        )
    assert not (tmp_path / "out.wav").exists()


def test_a_file_that_is_there_is_not_overwritten(keys: KeyStore, tmp_path: Path) -> None:
    (tmp_path / "out.wav").write_text("mine")

    with pytest.raises(SafegenError, match="exists already"):
        sign(keys, write(tmp_path / "a.wav", "wav"), tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_text() == "mine"


def test_the_network_stays_closed(keys: KeyStore, tmp_path: Path) -> None:
    # Sockets are blocked for the tests' Python only; the library's own are closed by settings.
    settings = c2pa._settings(keys.trust_anchors(), allowed_host=None)

    assert settings["core"]["allowed_network_hosts"] == []
    assert settings["verify"]["remote_manifest_fetch"] is False
    assert settings["verify"]["ocsp_fetch"] is False
    with pytest.raises(SafegenError):
        sign(
            keys,
            write(tmp_path / "a.wav", "wav"),
            tmp_path / "out.wav",
            timestamp_url="http://127.0.0.1:9/tsa",
        )
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_wrapped_file_names_its_input_and_keeps_its_manifest(
    file_format: FileFormat, keys: KeyStore, tmp_path: Path
) -> None:
    source = write(tmp_path / f"a.{file_format}", file_format)
    parent = sign(keys, source, tmp_path / f"parent.{file_format}")
    claim = replace(CLAIM, origin="foreign", record_id="01980000-0000-7000-8000-000000000002")
    wrapped = sign(
        keys, source, tmp_path / f"out.{file_format}", claim=claim, ingredients=made_from(parent)
    )
    finding = c2pa.read(wrapped, trust_anchors=keys.trust_anchors())

    assert finding.state == "trusted"
    assert finding.record_id == claim.record_id
    assert finding.source_type == c2pa.COMPOSITE
    assert CLAIM.record_id.encode() in wrapped.read_bytes()


@pytest.mark.parametrize("damage", ["none", "stranger", "flipped", "ogg"])
def test_what_is_wrong_with_the_input_is_not_wrong_with_ours(
    damage: str, keys: KeyStore, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.wav", "wav")
    parent = source
    if damage == "stranger":
        stranger = KeyStore(tmp_path / "keys")
        stranger.init()
        parent = sign(stranger, source, tmp_path / "parent.wav")
    elif damage == "flipped":
        parent = sign(keys, source, tmp_path / "parent.wav")
        data = bytearray(parent.read_bytes())
        data[5000] ^= 1
        parent.write_bytes(data)
    elif damage == "ogg":
        parent = Path(__file__).parents[2] / "assets" / "tabla.ogg"
    claim = replace(CLAIM, origin="foreign")

    out = sign(keys, source, tmp_path / "o.wav", claim=claim, ingredients=made_from(parent))

    found = c2pa.read(out, trust_anchors=keys.trust_anchors())
    assert found.state == "trusted"
    (ingredient,) = found.ingredients
    assert (ingredient.name, ingredient.relationship) == ("source", "parentOf")
    assert ingredient.has_manifest is (damage in ("stranger", "flipped"))
    assert ingredient.is_valid is (damage == "stranger")
    assert ingredient.record_id == ""  # a stranger names our record as easily as we do


def test_what_was_guided_by_a_sound_was_created_and_names_it(
    keys: KeyStore, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.wav", "wav")
    melody = sign(keys, source, tmp_path / "melody.wav")
    claim = replace(CLAIM, record_id="01980000-0000-7000-8000-000000000002")
    out = sign(
        keys, source, tmp_path / "o.wav", claim=claim, ingredients=made_from(melody, "melody")
    )

    found = c2pa.read(out, trust_anchors=keys.trust_anchors())
    assert (found.state, found.source_type) == ("trusted", c2pa.GENERATED)
    assert found.ingredients == (
        c2pa.IngredientFinding(
            name="melody",
            relationship="inputTo",
            record_id=CLAIM.record_id,
            has_manifest=True,
            is_valid=True,
        ),
    )


@pytest.mark.parametrize("has_parent", [True, False])
def test_sounds_that_were_no_files_are_named_without_a_manifest(
    has_parent: bool, keys: KeyStore, tmp_path: Path
) -> None:
    source = write(tmp_path / "a.wav", "wav")
    made = (*made_from(None, "melody"), *(made_from(None) if has_parent else ()))
    out = sign(keys, source, tmp_path / "o.wav", ingredients=made)

    found = c2pa.read(out, trust_anchors=keys.trust_anchors())
    assert found.state == "trusted"
    assert found.source_type == (c2pa.COMPOSITE if has_parent else c2pa.GENERATED)
    names = {each.name: (each.relationship, each.has_manifest) for each in found.ingredients}
    assert names["melody"] == ("inputTo", False)
    assert ("source" in names) is has_parent


def test_a_file_has_one_parent_at_most(keys: KeyStore, tmp_path: Path) -> None:
    source = write(tmp_path / "a.wav", "wav")

    with pytest.raises(ValueError, match="2 parents"):
        sign(
            keys,
            source,
            tmp_path / "o.wav",
            ingredients=(*made_from(source), *made_from(source, "continue_from")),
        )

    assert not (tmp_path / "o.wav").exists()


def test_an_unknown_origin_without_input_is_a_composite(keys: KeyStore, tmp_path: Path) -> None:
    claim = replace(CLAIM, origin="foreign")
    out = sign(keys, write(tmp_path / "a.wav", "wav"), tmp_path / "o.wav", claim=claim)

    found = c2pa.read(out, trust_anchors=keys.trust_anchors())
    assert (found.state, found.source_type) == ("trusted", c2pa.COMPOSITE)


def test_old_files_stay_trusted_after_a_rotation(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.init()
    old = sign(store, write(tmp_path / "a.wav", "wav"), tmp_path / "old.wav")
    store.rotate("c2pa")
    new = sign(store, tmp_path / "a.wav", tmp_path / "new.wav")

    assert [state(path, store) for path in (old, new)] == ["trusted", "trusted"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_process_reads_what_its_parent_read(signed: Path, keys: KeyStore) -> None:
    # A context of the library does not survive a fork; each call makes its own.
    assert state(signed, keys) == "trusted"
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(state(signed, keys)))
    child.start()
    found = queue.get()
    child.join()

    assert found == "trusted"


def test_other_tools_still_play_the_file(signed: Path) -> None:
    with av.open(io.BytesIO(signed.read_bytes()), mode="r") as container:
        samples = sum(int(frame.samples) for frame in container.decode(container.streams.audio[0]))

    assert samples >= 32_000


def test_the_lines_that_are_owed_are_read_back_and_covered_by_the_signature(
    keys: KeyStore, tmp_path: Path
) -> None:
    quotation = c2pa.Quotation(
        work_id="w",
        title="Wörk",
        isrc="GBAYE0601498",
        rights_holder="Acme",
        license="CC BY 4.0",
        terms_sha256="cd" * 32,
        obligations=("attribution",),
        attribution="Wörk by Ann (CC BY 4.0)",
    )
    file = sign(
        keys,
        write(tmp_path / "a.flac", "flac"),
        tmp_path / "b.flac",
        claim=replace(CLAIM, quotations=(quotation,)),
    )
    found = c2pa.read(file, trust_anchors=keys.trust_anchors())
    forged = tmp_path / "c.flac"
    forged.write_bytes(file.read_bytes().replace(b"by Ann", b"by Bob"))

    assert (found.state, found.attributions) == ("trusted", ("Wörk by Ann (CC BY 4.0)",))
    assert c2pa.read(forged, trust_anchors=keys.trust_anchors()).state == "invalid"
