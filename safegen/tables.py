"""How is a value written into a spreadsheet cell without becoming a formula?"""

from typing import Final

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def safe_cell(value: object) -> str:
    """Write a value as a cell's text.

    Spreadsheets run text that starts like a formula; an apostrophe in front keeps it
    text. Numbers are left alone, so that a negative one stays a number.
    """
    if value is None:
        return ""
    text = str(value)
    is_number = isinstance(value, int | float)
    looks_like_one = text.lstrip().startswith(_FORMULA_STARTS) or text.startswith(_FORMULA_STARTS)
    return f"'{text}" if looks_like_one and not is_number else text
