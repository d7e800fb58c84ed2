"""How does a report become a page? The one place where templates are filled and text is escaped.

Reports show titles, file names and manifests that strangers wrote: every value is escaped,
and a name that the template misspells is an error instead of an empty place.
"""

from collections.abc import Callable, Mapping
from importlib import resources


def page(template: str, *, filters: Mapping[str, Callable[..., str]], **values: object) -> str:
    """Fill a template of ``safegen/reports``.

    Args:
        template: Its file name.
        filters: What the template may write values with, by name.
        values: What it shows.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    source = (resources.files("safegen") / "reports" / template).read_text("utf-8")
    return environment.from_string(source).render(**values)
