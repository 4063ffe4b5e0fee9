"""Attention to a shared text, the cache of rows, and how batches are made, against plain loops and hand-worked cases."""

from __future__ import annotations

import math
import random

import pytest
import torch

from confscoring.attention import attend
from confscoring.batches import WORTH_SHARING, Work, close_gaps, count_shared, take_batch
from confscoring.row_cache import LayerCache
from confscoring.sampling import Prompt


def plain_attention(query, keys, values, shared, visible):  # type: ignore[no-untyped-def]
    """One query at a time, over the concatenated keys that it may see."""
    rows, heads, new, size = query.shape
    out = torch.empty_like(query)
    for row in range(rows):
        for head in range(heads):
            group = head // (heads // keys.shape[1])
            for place in range(new):
                until = keys.shape[2] - new + place + 1
                k, v = keys[row, group, :until], values[row, group, :until]
                if shared is not None:
                    seen = shared[0].shape[1] if visible is None else int(visible[row])
                    k, v = torch.cat([shared[0][group, :seen], k]), torch.cat([shared[1][group, :seen], v])
                weights = torch.softmax(k @ query[row, head, place] / math.sqrt(size), dim=0)
                out[row, head, place] = weights @ v
    return out


@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize("sharing", ["none", "all", "part"])
def test_attention_equals_a_loop_over_all_keys(heads: int, new: int, sharing: str) -> None:
    generator = torch.Generator().manual_seed(heads * 10 + new)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    query, keys, values = draw(3, heads, new, 8), draw(3, 2, 5, 8), draw(3, 2, 5, 8)
    shared = None if sharing == "none" else (draw(2, 7, 8), draw(2, 7, 8))
    visible = torch.tensor([7, 3, 0]) if sharing == "part" else None
    found = attend(query, keys, values, shared, visible)
    # The softmax is in float32, as in Transformers.
    torch.testing.assert_close(found, plain_attention(query, keys, values, shared, visible), rtol=1e-5, atol=1e-6)


def test_rows_that_go_on_move_into_the_gaps_and_keep_their_keys() -> None:
    cache = LayerCache(room=4, shared=(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)), visible=torch.arange(6))
    cache.append(torch.arange(12.0).view(6, 1, 1, 2), -torch.arange(12.0).view(6, 1, 1, 2))
    buffers = cache.keys
    going = [True, False, True, False, True, True]
    order = close_gaps(going)
    assert order == [0, 4, 2, 5]
    cache.fill(torch.tensor([1, 3]), torch.tensor([4, 5]), 4)
    keys, values = cache.own()
    assert keys[:, 0, 0, 0].tolist() == [0, 8, 4, 10] and torch.equal(values, -keys)
    assert cache.visible is not None and cache.visible[:4].tolist() == [0, 4, 2, 5]
    assert cache.keys is buffers  # nothing was allocated anew
    cache.append(torch.ones(4, 1, 2, 2), torch.ones(4, 1, 2, 2))
    assert cache.filled == 3 and cache.own()[0].shape == (4, 1, 3, 2)


def test_gaps_close_whatever_rows_are_finished() -> None:
    draw = random.Random(0)
    for _ in range(200):
        going = [draw.random() < 0.6 for _ in range(draw.randint(1, 12))]
        order = close_gaps(going)
        assert sorted(order) == [place for place, goes in enumerate(going) if goes]
        assert all(source == place for place, source in enumerate(order) if going[place])


def works(*sizes: int) -> list[Work]:
    return [Work(index, Prompt(f"p{index}", ""), (1,), 0, range(size)) for index, size in enumerate(sizes)]


def batches(waiting: list[Work], rows: int) -> list[list[tuple[int, range]]]:
    found = []
    while waiting:
        found.append([(work.index, work.samples) for work in take_batch(waiting, rows)])
    return found


def test_batches_hold_whole_prompts_and_split_one_that_is_larger_than_a_batch() -> None:
    assert batches(works(4, 4, 4)[::-1], 9) == [[(0, range(4)), (1, range(4))], [(2, range(4))]]
    assert batches(works(4, 4)[::-1], 3) == [[(0, range(3))], [(0, range(3, 4))], [(1, range(3))], [(1, range(3, 4))]]
    assert batches(works(2)[::-1], 100) == [[(0, range(2))]]
    assert batches(works(5)[::-1], 1) == [[(0, range(step, step + 1))] for step in range(5)]


def test_a_prompt_never_shares_its_last_token_nor_a_few_tokens() -> None:
    text = list(range(100, 160))
    assert count_shared(text, [*text, 1, 2]) == 60
    assert count_shared(text, text) == 59  # sampling goes on after the last one, so it is run
    assert count_shared(text, text[:30]) == 29
    assert count_shared(text, [*text[:20], 0, *text[20:]]) == 20
    assert count_shared(text, [*text[: WORTH_SHARING - 1], 0]) == 0
    assert count_shared([], text) == 0
