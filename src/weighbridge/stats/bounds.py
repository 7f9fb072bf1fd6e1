"""The one entry that judging needs, and what is built on it: fixed plans, what could be shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from weighbridge.errors import EvidenceError
from weighbridge.stats.clusters import GRID, Bounds, ClusterMean
from weighbridge.stats.exact import upper_grid
from weighbridge.stats.judged import JudgeErrors, correction
from weighbridge.stats.sequence import LOOK, Running


def mean_bounds(
    clusters: Sequence[ClusterMean],
    *,
    alpha: float,
    largest: int,
    binary: bool,
    errors: JudgeErrors | None = None,
    fixed: bool = False,
    look: int = LOOK,
) -> Bounds:
    """Both bounds on the item-weighted mean, each one-sided at level ``alpha``, in multiples of 1e-6.

    ``clusters`` come in the order of asking; ``largest`` is n_max. Anytime-valid, unless ``fixed``: then the number
    of items was fixed in the plan, and Clopper-Pearson is evaluated once (needs ``binary`` and ``largest`` 1).
    ``errors`` corrects for a fallible judge; a side is None where its errors leave it undecided. Both are None where
    the lower bound exceeds the upper: then early and late clusters contradict each other, and the order was not random.

    Raises ``EvidenceError`` for clusters that do not fit the suite, ``InputError`` for an impossible ``alpha``.
    """
    return mean_bounds_at([alpha], clusters, largest=largest, binary=binary, errors=errors, fixed=fixed, look=look)[0]


def mean_bounds_at(
    alphas: Sequence[float],
    clusters: Sequence[ClusterMean],
    *,
    largest: int,
    binary: bool,
    errors: JudgeErrors | None = None,
    fixed: bool = False,
    look: int = LOOK,
) -> list[Bounds]:
    """``mean_bounds`` at each of several levels; the stream is read once."""
    if fixed:
        return [_fixed_bounds(clusters, alpha, largest, binary, errors) for alpha in alphas]
    running = Running(largest=largest, binary=binary, look=look, errors=errors)
    for cluster in clusters:
        running.add(cluster)
    running.finish()
    return [_consistent(running.lower(alpha), running.upper(alpha)) for alpha in alphas]


def provable_upper(
    sizes: int | Sequence[int],
    *,
    alpha: float,
    largest: int = 1,
    binary: bool = True,
    errors: JudgeErrors | None = None,
    fixed: bool = False,
    look: int = LOOK,
) -> float | None:
    """The smallest upper bound that so many items could have shown, had every one scored 0.

    ``sizes`` is a number of items, each its own cluster, or the sizes of the clusters in the order of asking.
    """
    return _had_all_been(0.0, sizes, alpha, largest, binary, errors, fixed, look).upper


def provable_lower(
    sizes: int | Sequence[int],
    *,
    alpha: float,
    largest: int = 1,
    binary: bool = True,
    errors: JudgeErrors | None = None,
    fixed: bool = False,
    look: int = LOOK,
) -> float | None:
    """The largest lower bound that so many items could have shown, had every one scored 1; else as above."""
    return _had_all_been(1.0, sizes, alpha, largest, binary, errors, fixed, look).lower


def _had_all_been(
    value: float,
    sizes: int | Sequence[int],
    alpha: float,
    largest: int,
    binary: bool,
    errors: JudgeErrors | None,
    fixed: bool,
    look: int,
) -> Bounds:
    clusters = [ClusterMean(value, size) for size in ([1] * sizes if isinstance(sizes, int) else sizes)]
    return mean_bounds(clusters, alpha=alpha, largest=largest, binary=binary, errors=errors, fixed=fixed, look=look)


def _fixed_bounds(
    clusters: Sequence[ClusterMean], alpha: float, largest: int, binary: bool, errors: JudgeErrors | None
) -> Bounds:
    if not binary or largest != 1:
        raise EvidenceError(
            "an exact bound needs items that score 0 or 1, each its own cluster",
            where="fixed number of items",
            remedy="measure sequentially instead",
        )
    for i, cluster in enumerate(clusters):
        if cluster.size != 1 or cluster.mean not in (0.0, 1.0):
            raise EvidenceError("the cluster is not one value of 0 or 1", where=f"cluster {i + 1}")
    n = len(clusters)
    successes = sum(1 for cluster in clusters if cluster.mean == 1.0)
    by = correction(errors, alpha)
    if by is None:
        return Bounds(None, None)
    lower = by.lower(GRID - upper_grid(n - successes, n, by.alpha))
    upper = by.upper(upper_grid(successes, n, by.alpha))
    return _consistent(lower / GRID, upper / GRID)


def _consistent(lower: float | None, upper: float | None) -> Bounds:
    if lower is not None and upper is not None and lower > upper:
        return Bounds(None, None)
    return Bounds(lower, upper)
