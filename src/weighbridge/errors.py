"""The one tree of errors. Each says what happened, where, and what to do; its class fixes the exit code.

    WeighbridgeError                 1  something broke that the user did not cause
    ├── EngineError                  1  a model could not be loaded or run
    │   └── Unmeasurable             1  what is asked could not be measured, and the record of it says why
    ├── StorageError                 1  disk full or failing, nothing may be written there
    ├── InputError                   2  the user's input or usage
    │   ├── CheckpointError          2  a checkpoint that cannot be read
    │   ├── SuiteError               2  a suite, task or sample set that is malformed
    │   ├── PolicyError              2  a policy that is malformed or contradicts itself
    │   └── EvidenceError            2  evidence that is malformed or belongs to something else
    ├── StricterThanRequired         3  the decision is stricter than the tier that was required
    ├── UndecidedInTheWay            4  the required tier is neither granted nor refused
    └── VerificationError            5  something signed, hashed or judged does not hold
        ├── DecisionExpired          6  authentic, but the decision has since expired
        └── SignerUnknown            7  intact, but no trusted key says so

Exit code 0 is success. Foreign exceptions are wrapped at the boundary that meets them.
"""

from __future__ import annotations

from typing import ClassVar


class WeighbridgeError(Exception):
    """Base of every error that Weighbridge raises on purpose.

    ``where`` names the file and, where it helps, the field (``policy.yaml at $.tiers.open[2].at_most``);
    ``remedy`` says what a person can do about it; without one, what its class advises.
    """

    exit_code: ClassVar[int] = 1
    advice: ClassVar[str | None] = None

    def __init__(self, message: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy or self.advice

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class EngineError(WeighbridgeError):
    """A model could not be loaded or run."""


class Unmeasurable(EngineError):
    """What is asked could not be measured of this checkpoint: the record, which leaves it undecided, says why."""


class StorageError(WeighbridgeError):
    """The disk, a permission or a vanished file stood in the way."""

    advice = "check the path, its permissions and the space that is left"


class InputError(WeighbridgeError):
    """What the user gave, or how it was used, is wrong."""

    exit_code = 2


class CheckpointError(InputError):
    """A checkpoint that cannot be read."""


class SuiteError(InputError):
    """A suite, task or sample set that is malformed."""


class PolicyError(InputError):
    """A policy that is malformed or contradicts itself."""


class EvidenceError(InputError):
    """Evidence that is malformed or belongs to something else."""


class StricterThanRequired(WeighbridgeError):
    """The decision is stricter than the tier that was required."""

    exit_code = 3


class UndecidedInTheWay(WeighbridgeError):
    """The required tier is neither granted nor refused."""

    exit_code = 4


class VerificationError(WeighbridgeError):
    """Something signed, hashed or judged does not hold."""

    exit_code = 5
    advice = "do not rely on it: get it again, or ask whoever made it"


class DecisionExpired(VerificationError):
    """Everything is authentic, but the decision has since expired."""

    exit_code = 6


class SignerUnknown(VerificationError):
    """Everything is intact, but no trusted key says so."""

    exit_code = 7
