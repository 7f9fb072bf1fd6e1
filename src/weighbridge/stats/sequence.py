"""Confidence sequences for an item-weighted mean: bounds that may be looked at after every cluster. Pure.

``Running`` is the one implementation; the functions for a finished stream feed it and ask at the end. Bounds are
running intersections: what one look excluded stays excluded.
"""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.errors import EvidenceError, InputError
from weighbridge.stats.clusters import GRID, ClusterMean, grid_ceil, grid_floor
from weighbridge.stats.judged import JudgeErrors, correction
from weighbridge.stats.sides import BettingSide, CountingSide, Side

LOOK = 8
"""Looks are taken after every so many clusters, whatever the engine's batch."""


class Running:
    """A confidence sequence that is fed cluster by cluster.

    ``largest`` is n_max, the items of the suite's largest cluster; ``binary`` says that every item scores 0 or 1.
    Both are facts of the suite and the metric, known before anything is measured: ``binary`` with ``largest`` 1 is
    served by the exact beta-binomial mixture, anything else by the betting test. With ``errors``, every answer is
    about the true rate behind a fallible judge's observations.

    Between looks the answers are those of the last look. ``finish`` takes a last look where the stream ends.
    """

    def __init__(self, *, largest: int, binary: bool, look: int = LOOK, errors: JudgeErrors | None = None) -> None:
        if largest < 1 or look < 1:
            raise InputError(f"largest is {largest} and look is {look}", where="stats", remedy="both are at least 1")
        self._largest = largest
        self._look = look
        self._errors = errors
        self._count = 0
        self._finished = False
        self._counting = binary and largest == 1
        make: type[Side] = CountingSide if self._counting else BettingSide
        self._below, self._above = make(), make()  # the second one sees 1 - x

    @property
    def count(self) -> int:
        """Clusters added so far."""
        return self._count

    def add(self, cluster: ClusterMean) -> None:
        """Add the next cluster of the seeded order.

        Raises ``EvidenceError`` if it is larger than ``largest``, if a value that must be 0 or 1 is neither, and
        after ``finish``.
        """
        where = f"cluster {self._count + 1}"
        if self._finished:
            raise EvidenceError("the stream has been finished", where=where)
        if cluster.size > self._largest:
            raise EvidenceError(
                f"{cluster.size} items, but the suite's largest cluster has {self._largest}",
                where=where,
                remedy="this evidence does not belong to the suite it names",
            )
        if self._counting and cluster.mean not in (0.0, 1.0):
            raise EvidenceError(
                f"the value {cluster.mean!r} is neither 0 nor 1",
                where=where,
                remedy="every item of this metric scores 0 or 1",
            )
        self._count += 1
        weight = cluster.size / self._largest
        self._below.add(cluster.mean, weight)
        self._above.add(1.0 - cluster.mean, weight)
        if self._count % self._look == 0:
            self._take_look()

    def finish(self) -> None:
        """The stream ends here: look once more, unless the end is a look already. Nothing can be added after."""
        if not self._finished and self._count % self._look:
            self._take_look()
        self._finished = True

    def excludes_below(self, m: float, alpha: float, *, strict: bool = False) -> bool:
        """Whether the lower bound at level ``alpha`` is at least ``m`` (with ``strict``: above it).

        Much cheaper than the bound itself: one test at one mean, carried on from the last look.
        """
        by = correction(self._errors, alpha)
        if by is None:
            return False
        return self._below.rejects(by.lower_needed(grid_floor(m) + 1 if strict else grid_ceil(m)), by.alpha)

    def excludes_above(self, m: float, alpha: float, *, strict: bool = False) -> bool:
        """Whether the upper bound at level ``alpha`` is at most ``m`` (with ``strict``: below it); as cheap."""
        by = correction(self._errors, alpha)
        if by is None:
            return False
        return self._above.rejects(GRID - by.upper_needed(grid_ceil(m) - 1 if strict else grid_floor(m)), by.alpha)

    def lower(self, alpha: float) -> float | None:
        """The one-sided lower bound at level ``alpha``; None where the judge's errors leave it undecided."""
        by = correction(self._errors, alpha)
        return None if by is None else by.lower(self._below.bound(by.alpha)) / GRID

    def upper(self, alpha: float) -> float | None:
        """The one-sided upper bound at level ``alpha``; None where the judge's errors leave it undecided."""
        by = correction(self._errors, alpha)
        return None if by is None else by.upper(GRID - self._above.bound(by.alpha)) / GRID

    def interval(self, alpha: float) -> tuple[float, float]:
        """Both bounds, each at ``alpha`` / 2, for display; (0.0, 1.0) where nothing can be said."""
        lower, upper = self.lower(alpha / 2), self.upper(alpha / 2)
        return (0.0 if lower is None else lower, 1.0 if upper is None else upper)

    def _take_look(self) -> None:
        self._below.look()
        self._above.look()


def lower_bound(
    clusters: Sequence[ClusterMean], *, alpha: float, largest: int, binary: bool, look: int = LOOK
) -> float:
    """The anytime-valid lower bound at level ``alpha`` on the item-weighted mean, after these clusters in this order.

    A multiple of 1e-6, rounded down; 0.0 without data. Looks after every ``look`` clusters and at the end.
    Raises ``EvidenceError`` for clusters that do not fit ``largest`` or ``binary``, ``InputError`` for ``alpha``.
    """
    return _finished(clusters, largest, binary, look).lower(alpha) or 0.0


def upper_bound(
    clusters: Sequence[ClusterMean], *, alpha: float, largest: int, binary: bool, look: int = LOOK
) -> float:
    """The anytime-valid upper bound, rounded up; 1.0 without data. Otherwise as ``lower_bound``."""
    upper = _finished(clusters, largest, binary, look).upper(alpha)
    return 1.0 if upper is None else upper


def _finished(clusters: Sequence[ClusterMean], largest: int, binary: bool, look: int) -> Running:
    running = Running(largest=largest, binary=binary, look=look)
    for cluster in clusters:
        running.add(cluster)
    running.finish()
    return running
