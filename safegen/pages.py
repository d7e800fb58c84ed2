"""How does a report become a page? The one place where templates are filled and text is escaped.

Reports show titles, file names and manifests that strangers wrote: every value is escaped,
and a name that the template misspells is an error instead of an empty place.
"""

import base64
import io
from collections.abc import Callable, Mapping
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def page(template: str, *, filters: Mapping[str, Callable[..., str]], **values: object) -> str:
    """Fill a template of ``safegen/reports``; benchmarks' pages share ``bench.css`` there.

    Args:
        template: Its file name.
        filters: What the template may write values with, by name.
        values: What it shows.
    """
    import jinja2

    folder = resources.files("safegen") / "reports"
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(**values)


def svg(draw: Callable[["Figure"], None], *, width: float, height: float) -> str:
    """Draw into an SVG that is the same every time, for ``data:image/svg+xml;base64``.

    Args:
        draw: Fills the figure.
        width: In inches.
        height: In inches.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same figures give the same bytes, and words stay words.
    with mpl.rc_context({"svg.hashsalt": "safegen", "svg.fonttype": "none", "font.size": 8.5}):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return base64.b64encode(buffer.getvalue()).decode()
