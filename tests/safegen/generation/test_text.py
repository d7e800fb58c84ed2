import random

import pytest
import torch

from safegen.generation import text as t
from safegen.generation.captions import caption, key_name, spell
from safegen.generation.compose import ROOTS, compose

MINOR = t._MODES + 1
MAJOR = t._MODES


def exact(prompt: str) -> list[str]:
    """Name the exactly read tokens of a prompt."""
    names = []
    for first, *_ in t.tokenize(prompt):
        if t._NUMBERS <= first < t._KEYS:
            names.append(str(first - t._NUMBERS))
        elif t._KEYS <= first < t._MODES:
            names.append(ROOTS[first - t._KEYS])
        elif first in (MAJOR, MINOR):
            names.append("minor" if first == MINOR else "major")
    return names


@pytest.mark.parametrize(
    ("prompt", "read"),
    [
        ("piano in F#m 92bpm", ["F#", "minor", "92"]),
        ("in F sharp minor", ["F#", "minor"]),
        ("f-sharp minor", ["F#", "minor"]),
        ("Gb major", ["F#", "major"]),
        ("in G flat major", ["F#", "major"]),
        ("E♭ major", ["D#", "major"]),
        ("in Am at 120", ["A", "minor", "120"]),
        ("in Dbm", ["C#", "minor"]),
        ("Bbmaj", ["A#", "major"]),
        ("key: Bb", ["A#"]),
        ("in the key of g", ["G"]),
        ("in a minor key", []),
        ("in a minor", ["A", "minor"]),
        ("A minor waltz", ["A", "minor"]),
        ("a big band", []),
        ("ninety-two bpm", ["92"]),
        ("one hundred and twenty-four beats per minute", ["124"]),
        ("a hundred people", []),
        ("tempo=90", ["90"]),
        ("92.5 bpm", ["92"]),
    ],
)
def test_keys_and_numbers_are_read_exactly(prompt: str, read: list[str]) -> None:
    assert exact(prompt) == read


def test_every_spelling_of_a_key_names_that_key() -> None:
    dice = random.Random(0)  # noqa: S311
    for seed in range(400):
        plan = compose(seed)
        read = exact("in " + key_name(plan, dice))

        assert read[0] == ROOTS[plan.root]
        assert ("minor" in read) == (plan.mode == "minor")


@pytest.mark.parametrize("number", [60, 71, 99, 100, 101, 113, 120, 180])
def test_spelled_numbers_are_numbers(number: int) -> None:
    assert exact(f"at {spell(number)} bpm") == [str(number)]


def test_a_caption_never_names_another_key() -> None:
    dice = random.Random(1)  # noqa: S311
    for seed in range(400):
        plan = compose(seed)
        roots = [name for name in exact(caption(plan, dice)) if name in ROOTS]

        assert set(roots) <= {ROOTS[plan.root]}


def test_unseen_words_share_ids_with_their_relatives() -> None:
    known, unseen, other = (set(t.tokenize(w)[0]) for w in ("drummer", "drummery", "oboe"))

    assert len(known & unseen) > 3
    assert not known & other


@pytest.mark.parametrize("prompt", ["", "   ", "...", "🎵", "x" * 5000, "a " * 500])
def test_odd_prompts_still_give_tokens(prompt: str) -> None:
    tokens = t.tokenize(prompt)

    assert 1 <= len(tokens) <= t.MAX_TOKENS
    assert all(0 <= i < t.VOCABULARY for token in tokens for i in token)


def test_padding_does_not_change_a_prompt() -> None:
    torch.manual_seed(0)
    encoder = t.TextEncoder(t.TextConfig(embedding=8, width=16, layers=2, heads=2)).eval()
    alone = t.to_batch(["calm piano"])
    padded = t.to_batch(["calm piano", "a much longer prompt with many more words in it"])
    with torch.inference_mode():
        first = encoder(alone)[0]
        second = encoder(padded)[0, :2]

    assert torch.allclose(first, second, atol=1e-5)
