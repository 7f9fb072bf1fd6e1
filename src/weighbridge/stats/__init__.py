"""Confidence sequences, exact bounds, judged rates, paired differences. Pure: plain floats, no clock, no randomness.

What is estimated and what is promised stands in ``docs/statistics.md``.
"""

from weighbridge.stats.bounds import mean_bounds, mean_bounds_at, provable_lower, provable_upper
from weighbridge.stats.clusters import Bounds, ClusterMean
from weighbridge.stats.exact import clopper_pearson_lower, clopper_pearson_upper
from weighbridge.stats.judged import JudgeErrors, corrected_lower, corrected_upper
from weighbridge.stats.paired import differences, paired_bounds, paired_bounds_at
from weighbridge.stats.sequence import LOOK, Running, lower_bound, upper_bound

__all__ = [
    "LOOK",
    "Bounds",
    "ClusterMean",
    "JudgeErrors",
    "Running",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "corrected_lower",
    "corrected_upper",
    "differences",
    "lower_bound",
    "mean_bounds",
    "mean_bounds_at",
    "paired_bounds",
    "paired_bounds_at",
    "provable_lower",
    "provable_upper",
    "upper_bound",
]
