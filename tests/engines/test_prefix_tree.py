"""The prefix tree: every sequence can be recovered, nothing is laid out twice, packs keep to their budget."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from weighbridge.engines.prefix_tree import Block, Pack, PrefixTree, Segment, blocks, common_prefix

tokens = st.integers(0, 2)
sequences = st.lists(st.lists(tokens, min_size=1, max_size=12), min_size=1, max_size=12)
paths = st.lists(tokens, max_size=12)


def nodes(of: list[list[int]]) -> set[tuple[int, ...]]:
    """The nodes of a trie, told by their prefixes."""
    return {tuple(sequence[: end + 1]) for sequence in of for end in range(len(sequence))}


def walked(tree: PrefixTree, budget: int, path: list[int]) -> list[tuple[int, ...]]:
    """For each row, the tokens that it attends to (itself last), by following packs as the engine does."""
    path = path[: len(tree.path)]
    result: list[tuple[int, ...]] = []
    for pack in tree.packs(budget):
        assert pack.path <= len(path)
        assert pack.end - pack.start <= budget
        rows = tree.tokens(pack.start, pack.end)
        for segment in pack.segments:
            before = [*path[: segment.outer], *(token for a, b in segment.inner for token in rows[a:b])]
            assert len(before) == segment.depth
            for row in range(segment.row, segment.row + segment.length):
                result.append((*before, *rows[segment.row : row + 1]))
        path = path[: pack.keep_outer] + [token for a, b in pack.keep_inner for token in rows[a:b]]
    return result


@given(sequences, paths, st.integers(1, 9))
def test_every_row_attends_to_its_own_prefix_and_every_sequence_is_there(
    given_sequences: list[list[int]], path: list[int], budget: int
) -> None:
    tree = PrefixTree(given_sequences, path)
    rows = walked(tree, budget, path)
    assert len(rows) == tree.rows
    on_path = {tuple(tree.path[: end + 1]) for end in range(len(tree.path))}
    assert set(rows) | on_path >= nodes(given_sequences)
    assert tree.path == path[: len(tree.path)]


@given(sequences, paths, st.integers(0, 12))
def test_tokens_are_laid_out_once_and_no_more_than_needed(
    given_sequences: list[list[int]], path: list[int], limit: int
) -> None:
    tree = PrefixTree(given_sequences, path, limit)
    known = {tuple(path[: end + 1]) for end in range(min(limit, len(path)))}
    assert tree.rows == len(nodes(given_sequences) - known)
    rows = walked(tree, 5, path)
    assert len(set(rows)) == len(rows)


@given(sequences, st.data())
def test_places_are_the_rows_of_the_last_tokens(given_sequences: list[list[int]], data: st.DataObject) -> None:
    wanted = [data.draw(st.integers(1, len(sequence))) for sequence in given_sequences]
    path = given_sequences[0]
    limit = min(len(sequence) - count for sequence, count in zip(given_sequences, wanted, strict=True))
    tree = PrefixTree(given_sequences, path, limit)
    rows = walked(tree, 4, path)
    for sequence, count, places in zip(given_sequences, wanted, tree.places(wanted), strict=True):
        assert [rows[place] for place in places] == [
            tuple(sequence[: end + 1]) for end in range(len(sequence) - count, len(sequence))
        ]


@given(sequences, st.integers(1, 30))
def test_packs_are_as_few_as_can_be(given_sequences: list[list[int]], budget: int) -> None:
    tree = PrefixTree(given_sequences)
    packs = list(tree.packs(budget))
    assert len(packs) == -(-tree.rows // budget)
    assert [pack.start for pack in packs] == [0, *(pack.end for pack in packs[:-1])]


def reached(pack: Pack, segments: tuple[Segment, ...]) -> dict[int, tuple[int, set[int]]]:
    """Row -> how much of the path, and which rows of the pack, it attends to."""
    result = {}
    for segment in segments:
        before = {row for first, last in segment.inner for row in range(first, last)}
        for row in range(segment.row, segment.row + segment.length):
            result[row] = (segment.outer, before | set(range(segment.row, row + 1)))
    return result


@given(sequences, st.integers(1, 30), st.integers(1, 7), st.integers(1, 7), st.integers(0, 90))
@settings(max_examples=60)
def test_blocks_cover_a_pack_and_hold_all_that_their_rows_need(
    given_sequences: list[list[int]], budget: int, size: int, piece: int, call: int
) -> None:
    for pack in PrefixTree(given_sequences).packs(budget):
        whole = reached(pack, pack.segments)
        cut: list[Block] = blocks(pack, size, piece, call)
        assert [row for block in cut for row in range(block.first, block.last)] == sorted(whole)
        for block in cut:
            assert block.last - block.first <= size
            held = {row for first, last in block.inner for row in range(first, last)}
            for row, (outer, rows) in reached(pack, block.segments).items():
                assert (outer, rows) == whole[row]
                assert outer <= block.outer
                assert rows <= held


@given(paths, paths)
def test_common_prefix(one: list[int], other: list[int]) -> None:
    length = common_prefix(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == len(one) == len(other)


def test_no_sequences_make_no_packs() -> None:
    tree = PrefixTree([])
    assert (tree.rows, list(tree.packs(8)), tree.places([])) == (0, [], [])


def test_a_very_deep_and_a_very_wide_tree() -> None:
    deep = PrefixTree([list(range(20_000))])
    assert [pack.path for pack in deep.packs(1000)] == list(range(0, 20_000, 1000))
    wide = PrefixTree([[7, number] for number in range(5_000)])
    assert wide.rows == 5_001
    assert all(pack.path <= 1 for pack in wide.packs(1000))
