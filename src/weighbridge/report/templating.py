"""Templates of pages: every value is escaped and made visible, and a page carries the one style sheet that it may load.

Pure but for the templates, which are files of the package.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weighbridge.report import lines, reasons, records, words


def render_page(template: str, /, **values: Any) -> str:
    """The page that ``template`` makes of ``values``. The same arguments give the same text."""
    css = _css()
    return _environment().get_template(template).render(css=Markup(css), csp=_content_policy(css), **values).lstrip()


def _content_policy(css: str) -> str:
    """What the page may load: nothing, and the one style sheet that it carries, known by its digest."""
    digest = base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _finalize(value: Any) -> Any:
    """Applied to every value that the template prints, before it is escaped."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else words.safe(value)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("weighbridge.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        moment=words.moment,
        short=words.digest,
        level=words.level,
        size=words.size,
        count=words.count,
        things=words.things,
        anchor=records.anchor,
        line_anchor=lines.anchor,
        line_name=reasons.name,
    )
    return environment


@lru_cache(maxsize=1)
def _css() -> str:
    source = _environment().loader
    assert source is not None  # set above
    return source.get_source(_environment(), "report.css")[0].replace("\r\n", "\n")
