"""Renders the templates of a task, which may come from a stranger, within the bounds of ``task_dialect``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weighbridge.errors import SuiteError
from weighbridge.rendering import Renderer

_REMEDY = "simplify the template, or run the task through the lm-eval extra (lm-eval:NAME)"


class Templates:
    """The templates of one task. Its process starts with the first and ends with this object."""

    def __init__(self) -> None:
        self._renderer = Renderer("weighbridge.suites.task_dialect", error=SuiteError, remedy=_REMEDY)

    def render(self, source: str, document: Mapping[str, Any], *, where: str) -> str:
        """``source`` with the fields of ``document`` (JSON values) as its variables.

        Raises ``SuiteError`` where the template is malformed, escapes its sandbox, names what the document
        does not have, or goes past the bounds; ``where`` names the file and the field or line.
        """
        return self._renderer.render(source, document, where=where)

    def close(self) -> None:
        """End the process that renders. Idempotent."""
        self._renderer.close()
