"""Licenses of public checkpoints: what the folder says, what is known, what the operator says."""

from pathlib import Path

import pytest

from safegen.errors import InputError
from safegen.generation.public_families import FAMILIES
from safegen.generation.public_licenses import (
    UNKNOWN,
    asks_for_consent,
    known_license,
    license_of,
    page_of,
)


def card(folder: Path, head: str) -> Path:
    (folder / "README.md").write_text(head, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("---\nlicense: mit\n---\n# Model", "MIT"),
        ('---\ntags:\n- a\nlicense: "cc-by-nc-4.0"\n---', "CC-BY-NC-4.0"),
        ("---\nlicense:\n- apache-2.0\ntags: []\n---", "Apache-2.0"),
        (
            "---\nlicense: other\nlicense_name: stable-audio-community\nlicense_link: LICENSE\n---",
            "Stability AI Community License",
        ),
        ("---\nlicense: openrail\n---", "openrail"),
        ("\n---\nlicense: mit\n---", UNKNOWN),
        ("---\nlicense: mit\nno end", UNKNOWN),
        ("---\nlicense: other\n---", UNKNOWN),
        ("---\nlicense: unknown\n---", UNKNOWN),
        ("---\n  license: mit\n---", UNKNOWN),
        ("---\ntags: []\n---\nlicense: mit", UNKNOWN),
        ("---\nlicense: \x1b[31mmit\n---", UNKNOWN),
        ("# The license: is MIT", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_the_head_of_a_model_card_tells_the_license(tmp_path: Path, head: str, name: str) -> None:
    found = license_of(card(tmp_path, head), repository="", told="")

    assert found.name == name
    assert found.source == ("" if name == UNKNOWN else "its model card")


def test_the_folder_speaks_before_the_name_and_the_name_before_the_operator(tmp_path: Path) -> None:
    known = license_of(tmp_path, repository="facebook/encodec_24khz", told="MIT")
    told = license_of(tmp_path, repository="someone/else", told="mit")
    card(tmp_path, "---\nlicense: cc-by-4.0\n---\n")
    own = license_of(tmp_path, repository="facebook/encodec_24khz", told="MIT")

    assert (known.name, known.source) == ("CC-BY-NC-4.0", "known for facebook/encodec_*")
    assert (told.name, told.source) == ("MIT", "the operator")
    assert (own.name, own.source) == ("CC-BY-4.0", "its model card")


def test_every_repository_that_is_known_here_has_a_license_and_a_page() -> None:
    for family in FAMILIES:
        for name in family.repositories:
            license_ = known_license(name)

            assert license_ != UNKNOWN, name
            assert page_of(license_, repository=name).startswith("https://")


def test_the_page_about_public_models_lists_what_is_known_here() -> None:
    page = (Path(__file__).parents[3] / "docs" / "public-models.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        (license_,) = {known_license(name) for name in family.repositories}
        names = ", ".join(family.repositories)

        assert f"| {family.title} | {names} | {license_} | {family.role} |" in page


@pytest.mark.parametrize(
    ("license_", "asks"),
    [
        ("MIT", False),
        ("CC-BY-4.0", False),
        (UNKNOWN, False),
        ("CC-BY-NC-4.0", True),
        ("Stability AI Community License", True),
        ("openrail", True),
        ("MIT AND CC-BY-NC-4.0", True),
    ],
)
def test_whatever_is_not_free_asks_for_consent(license_: str, asks: bool) -> None:
    assert asks_for_consent(license_) is asks


@pytest.mark.parametrize("told", ["\n", "MIT\nlicense: free", "x" * 300, "\x1b[31m"])
def test_what_cannot_be_a_license_is_refused(tmp_path: Path, told: str) -> None:
    with pytest.raises(InputError, match="no name of a license"):
        license_of(tmp_path, repository="", told=told)
