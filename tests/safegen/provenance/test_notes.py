"""Signed notes and checkpoints, in the words of C2SP."""

import base64

import pytest

from safegen.errors import InputError, IntegrityError
from safegen.provenance.notes import (
    Checkpoint,
    NoteVerifier,
    open_checkpoint,
    open_note,
    parse_verifier,
    parse_verifiers,
)
from tests.safegen.provenance.conftest import ORIGIN, signer

ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(origin=ORIGIN, size=20, root=ROOT)
# The example key of C2SP signed-note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def test_a_note_opens_under_its_key() -> None:
    note = signer().sign("hello\n\nworld\n")

    assert open_note(note, [signer().verifier]) == "hello\n\nworld\n"


def test_a_checkpoint_has_three_lines_and_a_signature() -> None:
    lines = signer().sign(CHECKPOINT.text).split("\n")

    assert lines[:4] == [ORIGIN, "20", base64.b64encode(ROOT).decode(), ""]
    assert lines[4].startswith(f"— {ORIGIN} ")
    assert lines[5:] == [""]


def test_a_checkpoint_is_read_back() -> None:
    note = signer().sign(CHECKPOINT.text)

    assert open_checkpoint(note, [signer().verifier], origin=ORIGIN) == CHECKPOINT


def test_extra_lines_and_signatures_of_others_are_passed_over() -> None:
    text = CHECKPOINT.text + "witnessed once\n"
    note = signer().sign(text) + signer(2).signature_line(text)

    assert open_checkpoint(note, [signer().verifier], origin=ORIGIN) == CHECKPOINT


def test_every_changed_letter_of_a_note_is_noticed() -> None:
    note = signer().sign(CHECKPOINT.text)
    changed = [
        note[:at] + ("A" if letter != "A" else "B") + note[at + 1 :]
        for at, letter in enumerate(note)
    ]

    for forged in changed:
        with pytest.raises(IntegrityError):
            open_checkpoint(forged, [signer().verifier], origin=ORIGIN)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n— name AAAA\n",
        "text\n\n— name not base64\n",
        f"text\n\n- {ORIGIN} AAAAAAAA\n",
        "x" * 1_000_001,
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(IntegrityError):
        open_note(note, [signer().verifier])


def test_a_wrong_signature_of_a_known_key_condemns_the_note() -> None:
    other = signer().signature_line("another text\n")
    note = signer(2).sign("text\n") + other

    with pytest.raises(IntegrityError, match="does not fit"):
        open_note(note, [signer().verifier, signer(2).verifier])


def test_a_note_under_an_unknown_key_is_refused() -> None:
    with pytest.raises(IntegrityError, match="no key that is known here"):
        open_note(signer(2).sign("text\n"), [signer().verifier])


def test_a_checkpoint_of_another_log_is_refused() -> None:
    note = signer().sign(Checkpoint(origin="other/log", size=1, root=ROOT).text)

    with pytest.raises(IntegrityError, match="of the log other/log, not of safegen/test"):
        open_checkpoint(note, [signer().verifier], origin=ORIGIN)


@pytest.mark.parametrize("size", ["-1", "020", "+2", "2 ", "1e3", "99999999999999999999", ""])
def test_a_size_has_one_spelling(size: str) -> None:
    note = signer().sign(f"{ORIGIN}\n{size}\n{base64.b64encode(ROOT).decode()}\n")

    with pytest.raises(IntegrityError, match="checkpoint"):
        open_checkpoint(note, [signer().verifier], origin=ORIGIN)


@pytest.mark.parametrize("text", ["no newline", "tab\there\n", "bell\x07\n"])
def test_a_text_that_no_note_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ends in a newline"):
        signer().sign(text)


def test_a_public_key_is_written_as_c2sp_writes_it() -> None:
    verifier = parse_verifier(PETER)

    assert (verifier.name, verifier.text) == ("PeterNeumann", PETER)


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+00000000+AAAA", "name+zz+====", PETER.replace("c74f", "c74e")],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_verifier(text)


def test_the_keys_of_one_log_are_read_together_and_those_of_two_are_not() -> None:
    one, two = signer(1).verifier.text, signer(2).verifier.text

    assert [found.text for found in parse_verifiers(f"{one}\n\n{two}\n")] == [one, two]
    for text in ("", f"{one}\n{PETER}\n"):
        with pytest.raises(InputError):
            parse_verifiers(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_would_break_a_line_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be the name"):
        NoteVerifier(name=name, public_key=ROOT)


def test_no_representation_shows_a_private_key() -> None:
    assert "Ed25519PrivateKey" not in repr(signer())
