"""Files of fingerprints: what was written is read, and nothing hostile gets further."""

import hashlib
import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.catalog import NewFingerprint
from safegen import exchange
from safegen.errors import InputError
from safegen.exchange import Entry, Writer, entries, read, read_head
from safegen.handover import MAX_REPEATS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ENGINES = ("chromaprint", "landmarks")
HEAD_BYTES = 16
FRAME_BYTES = 12


def entry(number: int, *, items: int = 40) -> Entry:
    dice = np.random.default_rng(number)
    return Entry(
        title=f"Work {number}",
        artist="Ánn",
        isrc="GBAYE0601498",
        seconds=7.5 + number,
        content_sha256=hashlib.sha256(bytes([number])).hexdigest(),
        source_name=f"{number}.flac",
        fingerprints=tuple(
            NewFingerprint(engine=engine, items=dice.bytes(4 * items)) for engine in ENGINES
        ),
    )


WORKS = tuple(entry(number) for number in range(3))


def write(path: Path, works: tuple[Entry, ...] = WORKS) -> Path:
    with Writer(path, engines=ENGINES, made_by="test 1", now=NOW) as writer:
        for work in works:
            if work.content_sha256 not in writer.done:
                writer.add(work)
        writer.finish()
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("sfp") / "good.sfp").read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "some.sfp"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sfp")

    assert tuple(entries(path)) == WORKS
    assert read_head(path).engines == ENGINES
    assert read_head(path).created_at == NOW
    assert [p.name for p in tmp_path.iterdir()] == ["a.sfp"]


def test_a_file_without_works_is_a_file(tmp_path: Path) -> None:
    assert tuple(entries(write(tmp_path / "a.sfp", ()))) == ()


def test_an_interrupted_file_is_continued_to_the_same_bytes(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "a.sfp"
    with Writer(path, engines=ENGINES, made_by="test 1", now=NOW) as writer:
        writer.add(WORKS[0])
        writer.add(WORKS[1])
    part = tmp_path / "a.sfp.part"
    part.write_bytes(part.read_bytes()[:-7])  # the second entry was cut by a crash

    with Writer(path, engines=ENGINES, made_by="test 2", now=NOW) as writer:
        kept = set(writer.done)
    write(path)

    assert kept == {WORKS[0].content_sha256}
    assert path.read_bytes() == good
    assert not part.exists()


def test_nothing_stays_behind_a_continued_part(tmp_path: Path) -> None:
    path, part = tmp_path / "a.sfp", tmp_path / "a.sfp.part"
    with Writer(path, engines=ENGINES, made_by="test 1", now=NOW) as writer:
        for work in WORKS:
            writer.add(work)
    part.write_bytes(part.read_bytes().replace(b"Work 1", b"Work 9"))
    write(path, WORKS[:1])

    assert tuple(entries(path)) == WORKS[:1]


def test_a_part_that_was_cut_inside_its_head_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.sfp.part").write_bytes(exchange.MAGIC + b"\x01")

    with pytest.raises(InputError, match=r"cannot be continued(.|\n)*Delete .*a\.sfp\.part"):
        write(tmp_path / "a.sfp")


def test_a_part_of_other_engines_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "a.sfp"
    Writer(path, engines=("chromaprint",), made_by="test 1", now=NOW).__exit__(None, None, None)

    with pytest.raises(InputError, match="was begun with the engines chromaprint, this version"):
        Writer(path, engines=ENGINES, made_by="test 1", now=NOW)


def test_two_processes_do_not_write_one_part(tmp_path: Path) -> None:
    path = tmp_path / "a.sfp"
    with (
        Writer(path, engines=ENGINES, made_by="test 1", now=NOW),
        pytest.raises(InputError, match="another process is writing it"),
    ):
        Writer(path, engines=ENGINES, made_by="test 1", now=NOW)


def test_a_work_is_written_once(tmp_path: Path) -> None:
    with Writer(tmp_path / "a.sfp", engines=ENGINES, made_by="test 1", now=NOW) as writer:
        writer.add(WORKS[0])
        with pytest.raises(InputError, match="described by an entry before"):
            writer.add(WORKS[0])


# Hostile files, each named by its fault


def sealed(header: object, blobs: bytes = b"\1\2\3\4", *, raw: bytes | None = None) -> bytes:
    """Write an entry whose hash is right, whatever it says."""
    text = json.dumps(header).encode() if raw is None else raw
    data = struct.pack("<4sII", b"WORK", len(text), len(blobs)) + text + blobs
    return data + hashlib.sha256(data).digest()


def closed(head: bytes, *sealed_entries: bytes, count: int | None = None) -> bytes:
    """Put entries between a head and a right tail."""
    body = head + b"".join(sealed_entries)
    body += struct.pack("<4sII", b"END\n", len(sealed_entries) if count is None else count, 0)
    return body + hashlib.sha256(body).digest()


def head_of(data: bytes) -> bytes:
    return data[: HEAD_BYTES + struct.unpack_from("<I", data, 12)[0] + 32]


FIELDS: dict[str, Any] = {
    "title": "Blue",
    "artist": "",
    "isrc": "",
    "iswc": "",
    "musicbrainz_id": "",
    "seconds": 5.0,
    "sha256": "ab" * 32,
    "file": "blue.flac",
    "fingerprints": [{"engine": "chromaprint", "bytes": 4}],
}

HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "no file of fingerprints"),
    "a picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99), "no file of fingerprints"),
    "sent as text": (lambda d: d.replace(b"\r\n", b"\n"), "as text has changed"),
    "of the next version": (lambda d: d[:8] + b"\2\0" + d[10:], "of version 2"),
    "a head of 4 GiB": (lambda d: d[:12] + b"\xff" * 4 + d[16:], "the head says 4294967295 bytes"),
    "a damaged head": (lambda d: d[:20] + b"!" + d[21:], "head does not have its SHA-256"),
    "cut in an entry": (lambda d: d[:-400], r"entry \d at byte \d+: .*the file was cut"),
    "cut before its end": (lambda d: d[:-44], "it has no end"),
    "cut in its end": (lambda d: d[:-1], "cut inside its end, after 3"),
    "followed by more": (lambda d: d + b"x", "1 bytes follow the end"),
    "a wrong hash": (
        lambda d: d.replace(b"Work 1", b"Work 9"),
        r"entry 2 at byte \d+: .*SHA-256",
    ),
    "an entry less": (lambda d: d.replace(sealed_at(d, 1), b""), "2 entries were found"),
    "entries exchanged": (
        lambda d: head_of(d) + sealed_at(d, 1) + sealed_at(d, 0) + d[d.index(sealed_at(d, 2)) :],
        "changed or exchanged",
    ),
    "an entry twice": (
        lambda d: closed(head_of(d), sealed_at(d, 0), sealed_at(d, 0)),
        r"entry 2 at byte \d+: the audio .* described by an entry before",
    ),
    "4 GiB of fingerprints": (
        lambda d: head_of(d) + struct.pack("<4sII", b"WORK", 9, 0xFFFFFFFF) + d,
        "4294967295 bytes of fingerprints, limit",
    ),
    "4 GiB of description": (
        lambda d: head_of(d) + struct.pack("<4sII", b"WORK", 0xFFFFFFFF, 9) + d,
        "4294967295 bytes of description, limit",
    ),
    "a count of 4 billion": (
        lambda d: closed(head_of(d), count=0xFFFFFFFF),
        "0 entries were found, the end counts 4294967295",
    ),
    "something else inside": (
        lambda d: head_of(d) + b"JUNK" + bytes(99),
        r"entry 1 at byte \d+: neither an entry nor the end",
    ),
}

ABSURD: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "no JSON": (b"{", "no JSON in UTF-8"),
    "no UTF-8": (b'{"title": "\xff"}', "no JSON in UTF-8"),
    "a list": (b"[]", "no object"),
    "nested without end": (b"[" * 9000, "nested too deep"),
    "a number without end": (b"9" * 9000, "no JSON|digits"),
    "a field twice": (b'{"title": "a", "title": "b"}', "a field twice"),
    "a field more": (FIELDS | {"rights_holder": "me"}, "rights_holder"),
    "a field less": ({"title": "Blue"}, "lacks or does not know"),
    "NaN": (json.dumps(FIELDS | {"seconds": float("nan")}).encode(), "NaN is no number"),
    "infinity": (json.dumps(FIELDS).replace("5.0", "1e999").encode(), "`seconds`"),
    "no time": (FIELDS | {"seconds": 0}, "`seconds`"),
    "a year": (FIELDS | {"seconds": 31_536_000}, "`seconds`"),
    "true seconds": (FIELDS | {"seconds": True}, "`seconds`"),
    "no title": (FIELDS | {"title": ""}, "`title` is empty"),
    "half a character": (FIELDS | {"title": "\ud800"}, "not printable"),
    "a null character": (FIELDS | {"artist": "A\0B"}, "not printable"),
    "a number as title": (FIELDS | {"title": 1}, "`title` must be text"),
    "a long title": (FIELDS | {"title": "x" * 1001}, "at most 1000"),
    "a short hash": (FIELDS | {"sha256": "ab"}, "`sha256`"),
    "no ISRC": (FIELDS | {"isrc": "123"}, "no ISRC"),
    "no engine": (FIELDS | {"fingerprints": []}, "`fingerprints` must list"),
    "engines as text": (FIELDS | {"fingerprints": "all"}, "`fingerprints` must list"),
    "a bad engine": (
        FIELDS | {"fingerprints": [{"engine": "../x", "bytes": 4}]},
        "an engine's name",
    ),
    "an engine twice": (
        FIELDS | {"fingerprints": [{"engine": "a", "bytes": 2}, {"engine": "a", "bytes": 2}]},
        "two fingerprints are of",
    ),
    "more bytes than there are": (
        FIELDS | {"fingerprints": [{"engine": "a", "bytes": 5}]},
        "does not have",
    ),
    "a negative length": (FIELDS | {"fingerprints": [{"engine": "a", "bytes": -1}]}, "not have"),
    "bytes of nobody": (FIELDS | {"fingerprints": [{"engine": "a", "bytes": 3}]}, "1 bytes belong"),
}


def sealed_at(data: bytes, number: int) -> bytes:
    """Cut entry ``number`` out of a good file."""
    at = len(head_of(data))
    while True:
        _, header, blobs = struct.unpack_from("<4sII", data, at)
        end = at + FRAME_BYTES + header + blobs + 32
        if number == 0:
            return data[at:end]
        at, number = end, number - 1


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_file_is_refused_by_name(fault: str, good: bytes, tmp_path: Path) -> None:
    spoil, words = HOSTILE[fault]
    path = tmp_path / "hostile.sfp"
    path.write_bytes(spoil(good))

    with pytest.raises(InputError, match=words):
        tuple(entries(path))


@pytest.mark.parametrize("fault", ABSURD)
def test_an_absurd_description_is_refused_and_the_next_entry_read(
    fault: str, good: bytes, tmp_path: Path
) -> None:
    header, words = ABSURD[fault]
    raw = header if isinstance(header, bytes) else None
    path = tmp_path / "absurd.sfp"
    path.write_bytes(closed(head_of(good), sealed(header, raw=raw), sealed_at(good, 0)))

    with pytest.raises(InputError, match=rf"entry 1 at byte \d+: .*({words})"):
        tuple(entries(path))
    assert [found.entry for found in read(path)] == [None, WORKS[0]]


def test_what_is_whole_in_a_damaged_file_is_read(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.sfp"
    path.write_bytes(good.replace(b"Work 1", b"Work 9")[:-60])
    found = list(read(path))

    assert [f.entry for f in found if f.entry] == [WORKS[0]]
    assert [f.number for f in found if f.problem] == [2, 3]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "nowhere.sfp"):
        with pytest.raises(InputError):
            tuple(entries(path))


# Any bytes at all


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw some changes: bits flipped, stretches cut, copied, overwritten or cut off."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(("flip", "cut", "copy", "write", "end")),
                st.integers(0, 2000),
                st.integers(0, 2000),
                st.binary(min_size=1, max_size=8),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def change(data: bytes) -> bytes:
        for kind, one, other, some in steps:
            first, last = sorted((one % (len(data) + 1), other % (len(data) + 1)))
            match kind:
                case "flip":
                    here = data[first : first + 1]
                    data = data[:first] + bytes(b ^ some[0] for b in here) + data[first + 1 :]
                case "cut":
                    data = data[:first] + data[last:]
                case "copy":
                    data = data[:last] + data[first:last] + data[last:]
                case "write":
                    data = data[:first] + some + data[first + len(some) :]
                case _:
                    data = data[:last]
        return data

    return change


@given(change=mutations())
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_change_is_refused_or_changes_nothing(
    change: Callable[[bytes], bytes], good: bytes, scratch: Path
) -> None:
    scratch.write_bytes(change(good))
    try:
        found = tuple(entries(scratch))
    except InputError:
        # What is kept of a refused file is still only what was written.
        try:
            kept = [each.entry for each in read(scratch) if each.entry]
        except InputError:
            return
        assert all(work in WORKS for work in kept)
        return

    assert found == WORKS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    fields=st.dictionaries(st.sampled_from(sorted(FIELDS)), json_values, max_size=4),
    blobs=st.binary(max_size=12),
)
@settings(max_examples=400, deadline=None)
def test_any_well_hashed_description_is_refused_or_of_the_right_form(
    good: bytes, scratch: Path, fields: dict[str, Any], blobs: bytes
) -> None:
    scratch.write_bytes(closed(head_of(good), sealed(FIELDS | fields, blobs)))
    try:
        (found,) = entries(scratch)
    except InputError:
        return

    assert found.title.isprintable()
    assert 0 < found.seconds <= 3600
    assert sum(len(each.items) for each in found.fingerprints) == len(blobs)


def test_memory_stays_bounded_whatever_a_file_claims(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "huge.sfp"
    frame = struct.pack("<4sII", b"WORK", exchange.MAX_JSON, exchange.MAX_BLOBS)
    with path.open("wb") as file:
        file.write(head_of(good))
        for number in range(4):  # sparse: 64 MiB that take no space
            file.write(frame)
            file.seek(exchange.MAX_JSON + exchange.MAX_BLOBS + 32 - 1, 1)
            file.write(bytes([number]))
    tracemalloc.start()
    found = [each.problem for each in read(path)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(found) == 5
    assert peak < 2.5 * exchange.MAX_BLOBS


def test_the_manual_names_the_limits_and_fields() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "sfp.md").read_text(encoding="utf-8")
    fields = manual.partition("### The JSON of an entry")[2].partition("Text has")[0]

    for limit in (
        exchange.MAX_HEAD,
        exchange.MAX_JSON,
        exchange.MAX_BLOBS,
        exchange.MAX_ENTRIES,
        exchange.MAX_TEXT,
    ):
        assert f"{limit:,}" in manual
    assert re.findall(r"^\| `(\w+)` \|", fields, re.MULTILINE) == list(FIELDS)
    assert " ".join(f"{byte:02X}" for byte in exchange.MAGIC) in manual
    assert f"more than {MAX_REPEATS} times" in " ".join(manual.split())
