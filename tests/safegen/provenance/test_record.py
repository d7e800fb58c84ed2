"""Records: one form, one hash; private values only as commitments."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import IntegrityError, SafegenError
from safegen.provenance import record
from safegen.provenance.record import Json

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
PROMPT = "a calm piano piece for Anna's 40th birthday"
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)
objects = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


@given(value=objects)
def test_reading_canonical_bytes_and_writing_them_again_changes_nothing(value: Json) -> None:
    once = record.canonical(value)

    assert record.canonical(record.read_json(once)) == once


@given(value=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), scalars))
def test_the_order_of_keys_does_not_matter(value: dict[str, Json]) -> None:
    turned = dict(reversed(value.items()))

    assert record.canonical(turned) == record.canonical(value)


def test_the_example_of_the_rfc() -> None:
    # RFC 8785 section 3.2.2 and 3.2.4.
    value: Json = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }

    assert record.canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: Json) -> None:
    with pytest.raises(ValueError, match=r"."):
        record.canonical({"value": value})


def test_a_record_is_read_back_from_its_bytes() -> None:
    assert record.parse(record.canonical({"b": 1, "a": [0.5]})) == {"a": [0.5], "b": 1}


@pytest.mark.parametrize(
    "entry",
    [b'{"b": 1}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b"[1]", b"no json", b"\xff", b"[" * 5000],
    ids=["space", "order", "twice", "list", "text", "bytes", "deep"],
)
def test_other_bytes_are_no_record(entry: bytes) -> None:
    with pytest.raises(IntegrityError):
        record.parse(entry)


def test_a_record_of_64_kib_is_refused() -> None:
    with pytest.raises(SafegenError, match="65536 bytes, the log takes at most 65535"):
        record.seal({"a": "x" * (65_536 - len('{"a":""}'))}, private=())

    assert len(record.seal({"a": "x" * (65_535 - len('{"a":""}'))}, private=())) == 65_535


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": PROMPT},
        {"checks": [{"detail": f"the prompt {PROMPT!s} names no artist"}]},
        {"tags": {PROMPT: 1}},
    ],
    ids=["as a value", "inside a sentence", "as a key"],
)
def test_a_record_that_quotes_the_prompt_is_refused(body: dict[str, Json]) -> None:
    with pytest.raises(ValueError, match="quotes a private value"):
        record.seal(body, private=(PROMPT,))


def test_a_short_prompt_is_refused_as_a_value_and_not_inside_words() -> None:
    assert record.seal({"model": "pop-music"}, private=("pop",))
    with pytest.raises(ValueError, match="quotes a private value"):
        record.seal({"model": "pop"}, private=("pop",))


def test_a_record_that_commits_to_the_prompt_is_sealed() -> None:
    salt = record.commitment_salt(b"k" * 32, record_id="r", name="prompt")
    body: dict[str, Json] = {
        "prompt_commitment": record.commit("prompt", PROMPT, salt=salt),
        "model": "pop-music",
    }

    entry = record.seal(body, private=(PROMPT, "pop", ""))

    assert PROMPT.encode() not in entry
    assert record.parse(entry) == body


def test_a_commitment_holds_for_its_value_alone() -> None:
    salt = record.commitment_salt(b"k" * 32, record_id="r", name="prompt")
    commitment = record.commit("prompt", PROMPT, salt=salt)

    record.verify_commitment(commitment, "prompt", PROMPT, salt=salt)
    for name, value, other in [
        ("prompt", PROMPT + " ", salt),
        ("negative_prompt", PROMPT, salt),
        ("prompt", PROMPT, salt[:-1] + b"\x00"),
    ]:
        with pytest.raises(IntegrityError):
            record.verify_commitment(commitment, name, value, salt=other)


def test_the_same_prompt_gives_other_commitments_in_every_record() -> None:
    salts = {
        record.commitment_salt(key, record_id=record_id, name=name)
        for key in (b"k" * 32, b"l" * 32)
        for record_id in ("r1", "r2")
        for name in ("prompt", "negative_prompt")
    }

    assert len(salts) == 8


@given(name=st.text(max_size=5), value=st.text(max_size=5), cut=st.integers(0, 5), salt=st.binary())
def test_moving_letters_between_name_and_value_changes_a_commitment(
    name: str, value: str, cut: int, salt: bytes
) -> None:
    joined = name + value
    other = (joined[:cut], joined[cut:])

    same = record.commit(name, value, salt=salt) == record.commit(*other, salt=salt)
    assert same == (other == (name, value))


@given(
    milliseconds=st.integers(0, 2**42),
    entropy=st.binary(min_size=10, max_size=16),
)
def test_a_record_id_is_a_uuid_of_version_7(milliseconds: int, entropy: bytes) -> None:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    found = uuid.UUID(record.new_record_id(at, entropy))

    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert abs((found.int >> 80) - milliseconds) <= 1  # the clock's float seconds


def test_record_ids_sort_by_time_and_differ_by_entropy() -> None:
    first = record.new_record_id(AT, b"\xff" * 10)
    later = record.new_record_id(AT + timedelta(milliseconds=1), b"\x00" * 10)
    ids = {record.new_record_id(AT, (1 << bit).to_bytes(10)) for bit in range(74)}

    assert first < later
    assert len(ids) == 74


@pytest.mark.parametrize(
    ("at", "entropy"),
    [
        (AT.replace(tzinfo=None), b"\x00" * 10),
        (AT, b"\x00" * 9),
        (datetime(1969, 1, 1, tzinfo=UTC), b"\x00" * 10),
    ],
    ids=["naive time", "short entropy", "before 1970"],
)
def test_a_record_id_needs_a_time_and_entropy(at: datetime, entropy: bytes) -> None:
    with pytest.raises(ValueError, match="record id"):
        record.new_record_id(at, entropy)
