"""What the checks of the integrity measure write down: findings, and what could not be checked."""

from __future__ import annotations

from collections.abc import Callable

from weighbridge.errors import InputError, WeighbridgeError
from weighbridge.evidence import Finding

FIELD = "findings"
_MAX_FINDINGS = 1000


class Notes:
    """Collects findings and reasons of undecidedness, in order, each once."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.reasons: list[str] = []
        self.facts: dict[str, int] = {}

    def find(self, code: str, where: str, message: str) -> None:
        """Note a finding. ``code`` is stable and kebab-case, ``where`` a file, with the field if it helps."""
        finding = Finding(FIELD, code, where, message)
        if finding not in self.findings and len(self.findings) < _MAX_FINDINGS:
            self.findings.append(finding)

    def undecided(self, where: str, reason: str) -> None:
        """Note that something could not be checked: never a pass."""
        text = f"{where}: {reason}"
        if text not in self.reasons:
            self.reasons.append(text)

    def count(self, fact: str, number: int = 1) -> None:
        """Add to a number that the evidence reports, so that a reader sees what was looked at."""
        self.facts[fact] = self.facts.get(fact, 0) + number

    def attempt(self, what: str, check: Callable[[], None], *, code: str = "malformed-file") -> None:
        """Run ``check``. What it cannot read for its form is a finding; any other failure leaves it undecided."""
        try:
            check()
        except InputError as error:
            self.find(code, error.where or what, error.message)
        except WeighbridgeError as error:
            self.undecided(error.where or what, error.message)
        except (ImportError, ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            self.undecided(what, f"the check itself failed: {type(error).__name__}: {str(error)[:200]}")
        except (MemoryError, RecursionError) as error:
            self.undecided(what, f"the check itself failed: {type(error).__name__}")


def words(text: str) -> frozenset[str]:
    """The words of a table that is easier to read as a line."""
    return frozenset(text.split())
