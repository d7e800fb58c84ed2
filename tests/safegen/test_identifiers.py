"""Codes of the music business: right ones in every spelling, wrong ones by their fault."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.errors import InputError
from safegen.identifiers import (
    parse_ipi,
    parse_isni,
    parse_isrc,
    parse_iswc,
    parse_musicbrainz_id,
)

PARSERS = (parse_isrc, parse_iswc, parse_isni, parse_ipi, parse_musicbrainz_id)
MBID = "9d444787-3f25-4c16-9261-597b9ab021cc"


@pytest.mark.parametrize(
    ("parse", "written", "kept"),
    [
        (parse_isrc, "gb-aye-06-01498", "GBAYE0601498"),
        (parse_iswc, "T-034.524.680-1", "T0345246801"),
        (parse_iswc, "t0345246801", "T0345246801"),
        (parse_isni, "0000 0001 2103 2683", "0000000121032683"),
        (parse_isni, "ISNI 0000-0001-2281-955X", "000000012281955X"),
        (parse_ipi, "00052210040", "00052210040"),
        (parse_ipi, "052210040", "00052210040"),
        (parse_ipi, "045 62 07 92", "00045620792"),
        (parse_musicbrainz_id, MBID.upper(), MBID),
        (parse_musicbrainz_id, f"https://musicbrainz.org/recording/{MBID}/", MBID),
    ],
)
def test_a_code_is_kept_in_one_spelling(
    parse: Callable[[str], str], written: str, kept: str
) -> None:
    assert parse(written) == kept


@pytest.mark.parametrize(
    ("parse", "written", "words"),
    [
        (parse_isrc, "GBAYE060149", "no ISRC"),
        (parse_iswc, "T-034.524.680-2", "is 2, should be 1"),
        (parse_iswc, "034.524.680-1", "no ISWC"),
        (parse_iswc, "T-034.524.680-١", "no ISWC"),
        (parse_isni, "0000 0001 2103 2684", "is 4, should be 3"),
        (parse_isni, "0000 0001 2103", "no ISNI"),
        (parse_ipi, "00052210041", "is 41, should be 40"),
        (parse_ipi, "12345678", "no IPI"),
        (parse_ipi, "123456789012", "no IPI"),
        (parse_musicbrainz_id, "9d444787", "no MusicBrainz id"),
        (parse_musicbrainz_id, MBID.replace("-", ""), "no MusicBrainz id"),
    ],
)
def test_a_wrong_code_is_refused(parse: Callable[[str], str], written: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse(written)


@pytest.mark.parametrize("parse", PARSERS)
def test_no_code_is_no_fault(parse: Callable[[str], str]) -> None:
    assert parse("  ") == ""


@pytest.mark.parametrize("parse", PARSERS)
@given(text=st.text(max_size=30) | st.from_regex(r"T?[0-9]{8,16}X?", fullmatch=True))
def test_any_text_is_a_code_or_refused(parse: Callable[[str], str], text: str) -> None:
    try:
        kept = parse(text)
    except InputError:
        return

    assert parse(kept) == kept


@pytest.mark.parametrize(
    ("parse", "code"), [(parse_isni, "0000000121032683"), (parse_ipi, "00052210040")]
)
def test_one_wrong_digit_is_always_noticed(parse: Callable[[str], str], code: str) -> None:
    # An ISWC's check digit is weaker: its weights share factors with 10.
    for place in range(len(code)):
        for digit in set("0123456789") - {code[place]}:
            with pytest.raises(InputError):
                parse(code[:place] + digit + code[place + 1 :])
