"""Token sequences as one prefix tree, laid out depth first and cut into packs. Pure: no framework, no I/O.

The sequences are put into an order in which each shares as much as possible with the one before (a depth-first
walk of their prefix tree). Written one after another without what they share, they are the tree's nodes, each
exactly once: its *rows*. A *pack* is a stretch of consecutive rows that go through the model together. Because
the order is depth first, everything that a pack's rows descend from is either inside the pack or on the *path*:
the ancestors of the pack's first row. So a walk needs the keys and values of one path and no more.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of rows in a pack, each the child of the one before.

    ``row`` is the first row (from the pack's start), ``length`` the number of rows, ``depth`` the position of the
    first one in its sequence. Its ancestors are the path's first ``outer`` tokens and the pack's rows ``inner``.
    """

    row: int
    length: int
    depth: int
    outer: int
    inner: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Pack:
    """Rows ``start`` to ``end`` (exclusive) of the layout, that go through the model together.

    Before the pack, the path holds ``path`` tokens: all ancestors of its first row. After it, the path becomes
    its first ``keep_outer`` tokens followed by the pack's rows ``keep_inner``.
    """

    start: int
    end: int
    path: int
    segments: tuple[Segment, ...]
    keep_outer: int
    keep_inner: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows ``first`` to ``last`` (exclusive) of a pack and the keys they need between them: the path's first
    ``outer`` tokens and the pack's rows ``inner``. ``segments`` lie within the block (rows from the pack's start)."""

    first: int
    last: int
    outer: int
    inner: tuple[Range, ...]
    segments: tuple[Segment, ...]


class PrefixTree:
    """The prefix tree of ``sequences``, as rows in depth-first order.

    ``path`` are tokens whose keys and values are already at hand (of the call before); sequences that follow it
    furthest come first, and tokens on it are no rows. Only its first ``path_limit`` tokens count.

    ``order[i]`` is the index of the i-th sequence of the walk, ``shared[i]`` the number of its tokens that are
    shared with the walk so far, and ``offset[i]`` the row of its first token that is not. ``rows`` is their number.
    """

    def __init__(self, sequences: Sequence[list[int]], path: Sequence[int] = (), path_limit: int | None = None) -> None:
        limit = len(path) if path_limit is None else min(path_limit, len(path))
        known = list(path[:limit])
        follows = [common_prefix(sequence, known) for sequence in sequences]
        self.sequences = sequences
        self.order = sorted(range(len(sequences)), key=lambda index: (-follows[index], sequences[index]))
        self.path = known[: max(follows, default=0)]
        self.shared: list[int] = []
        self.offset: list[int] = []
        self.rows = 0
        previous = self.path
        for index in self.order:
            sequence = sequences[index]
            shared = common_prefix(sequence, previous)
            self.shared.append(shared)
            self.offset.append(self.rows)
            self.rows += len(sequence) - shared
            previous = sequence

    def tokens(self, start: int, end: int) -> list[int]:
        """The tokens of rows ``start`` to ``end``."""
        result: list[int] = []
        for place, first, last, depth in self._runs(start, end):
            sequence = self.sequences[self.order[place]]
            result.extend(sequence[depth : depth + last - first])
        return result

    def places(self, wanted: Sequence[int]) -> list[list[int]]:
        """For each sequence, the rows of its last ``wanted[index]`` tokens, whoever's walk they were laid out on.

        None of them may lie on the given path (see ``path_limit``).
        """
        result: list[list[int]] = [[] for _ in self.sequences]
        rows: list[int] = [-1] * len(self.path)
        for place, index in enumerate(self.order):
            shared, offset, length = self.shared[place], self.offset[place], len(self.sequences[index])
            rows[shared:] = range(offset, offset + length - shared)
            result[index] = rows[length - wanted[index] :]
        return result

    def packs(self, budget: int) -> Iterator[Pack]:
        """The rows cut into as few packs of at most ``budget`` rows as there can be, evenly."""
        if self.rows == 0:
            return
        count = -(-self.rows // budget)
        borders = [self.rows * number // count for number in range(count + 1)]
        for start, end in pairwise(borders):
            yield self._pack(start, end)

    def _runs(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(place in the walk, first row, last row, depth of the first) of the stretches that make up some rows."""
        place = max(bisect_right(self.offset, start) - 1, 0)
        while place < len(self.order) and self.offset[place] < end:
            length = len(self.sequences[self.order[place]]) - self.shared[place]
            first, last = max(start, self.offset[place]), min(end, self.offset[place] + length)
            if first < last:
                yield place, first, last, self.shared[place] + first - self.offset[place]
            place += 1

    def _pack(self, start: int, end: int) -> Pack:
        segments: list[Segment] = []
        outer: int | None = None
        stack: list[tuple[int, Range]] = []  # (depth, rows) of the current branch, as far as it lies in the pack
        base = 0
        for place, first, last, depth in self._runs(start, end):
            if outer is None:
                outer = base = depth
            else:
                # Sequences without rows of their own still say how far the branch is left.
                depth_left = self.shared[place]
                stack, outer = _leave(stack, depth_left), min(outer, depth_left)
            segments.append(Segment(first - start, last - first, depth, outer, tuple(rows for _, rows in stack)))
            stack.append((depth, (first - start, last - start)))
        keep_outer = outer or 0
        follower = next(self._runs(end, end + 1), None)
        if follower is not None:
            depth = follower[3]
            stack, keep_outer = _leave(stack, depth), min(keep_outer, depth)
        return Pack(start, end, base, tuple(segments), keep_outer, tuple(rows for _, rows in stack))


def _leave(stack: list[tuple[int, Range]], depth: int) -> list[tuple[int, Range]]:
    """The part of the branch ``stack`` above ``depth``."""
    result = []
    for top, (first, last) in stack:
        if top < depth:
            result.append((top, (first, min(last, first + depth - top))))
    return result


def common_prefix(one: list[int], other: list[int]) -> int:
    """The number of tokens that two sequences begin with in common. Compares slices, so that it runs in C."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:  # equal up to low, different before or at high
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def blocks(pack: Pack, rows: int, piece: int, call: int) -> list[Block]:
    """A pack cut into blocks of at most ``rows`` rows, each with the union of the keys that its rows need.

    Attention over a whole pack would compare every row with every other; a block leaves out what none of its
    rows descends from. Stretches longer than ``piece`` are cut; neighbours are joined where that costs less, when a
    block of its own costs as much as ``call`` comparisons of a row with a key.
    """
    result: list[Block] = []
    for segment in pack.segments:
        for done in range(0, segment.length, min(piece, rows)):
            size = min(segment.length - done, piece, rows)
            before = ((segment.row, segment.row + done),) if done else ()
            inner = _union((*segment.inner, *before))
            part = Segment(segment.row + done, size, segment.depth + done, segment.outer, inner)
            own = (part.row, part.row + size)
            alone = Block(*own, part.outer, _union((*inner, own)), (part,))
            joined = _join(result[-1], alone) if result else None
            if (
                joined
                and joined.last - joined.first <= rows
                and _cost(joined) <= _cost(result[-1]) + _cost(alone) + call
            ):
                result[-1] = joined
            else:
                result.append(alone)
    return result


def _join(one: Block, other: Block) -> Block:
    inner = _union((*one.inner, *other.inner))
    return Block(one.first, other.last, max(one.outer, other.outer), inner, one.segments + other.segments)


def _cost(block: Block) -> int:
    """What attention of a block takes, in comparisons of a row with a key; to fetch a key costs some, too."""
    keys = block.outer + sum(last - first for first, last in block.inner)
    return (block.last - block.first + 8) * keys


def _union(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """The same rows as rising ranges that do not touch."""
    result: list[Range] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(result[-1][1], end))
        else:
            result.append((start, end))
    return tuple(result)
