"""How much a device is given at a time: batches by padded tokens, smaller ones when its memory runs out."""

import threading
from contextlib import contextmanager

import pytest
import torch

from tokalign_helpers.models import embedding
from tokalign_helpers.models.embedding import PORTIONS, Portion, pad

TEXTS = [f"The parrot spoke {'again ' * (i % 23)}to {i} parrots." for i in range(150)]


@pytest.fixture
def portion(monkeypatch):
    """Set what a CPU is given at a time."""
    return lambda texts, tokens: monkeypatch.setitem(PORTIONS, "cpu", Portion(texts, tokens))


@pytest.fixture
def memory(monkeypatch):
    """Let the model run out of memory above so many padded tokens; return the sizes that it was asked for."""

    @contextmanager
    def limited(tokens):
        asked, real = [], embedding._forward

        def forward(model, prompts, attention):
            asked.append(len(prompts) * max(map(len, prompts)))
            if asked[-1] > tokens:
                raise torch.OutOfMemoryError("out of memory")
            return real(model, prompts, attention)

        with monkeypatch.context() as patched:
            patched.setattr(embedding, "_forward", forward)
            yield asked

    return limited


def test_a_batch_holds_no_more_padded_tokens_than_its_device_is_given(tiny, memory, portion):
    portion(64, 300)
    with memory(300) as asked:
        tiny.embed(TEXTS, cache=False)
    assert max(asked) > 150
    assert len(asked) > 3


def test_out_of_memory_halves_the_batch_and_loses_nothing(tiny, memory, portion):
    portion(64, 300)
    expected = tiny.embed(TEXTS, cache=False)
    portion(64, 1200)
    with memory(300) as asked:
        found = tiny.embed(TEXTS, cache=False)
    assert torch.equal(found, expected)
    assert [size > 300 for size in asked[:3]] == [True, True, False]
    assert not any(size > 300 for size in asked[2:])  # what did not fit once is not tried again


def test_out_of_memory_in_the_middle_keeps_what_was_embedded(tiny, portion, passes):
    portion(1000, 300)
    expected = tiny.embed(TEXTS, cache=False)
    passes.clear()
    real, seen = embedding._pool, []

    def pool(*arguments):
        seen.append(1)
        if len(seen) == 4:
            raise torch.OutOfMemoryError("out of memory")
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(embedding, "_pool", pool)
        found = tiny.embed(TEXTS, cache=False)
    torch.testing.assert_close(found, expected)
    assert sum(passes) == len(TEXTS)


def test_a_prompt_that_does_not_fit_alone_is_told_and_the_chunks_before_it_are_kept(tiny, memory, portion, passes):
    portion(50, 300)
    longest = ["short"] * 60 + ["long " * 100]
    with memory(120), pytest.raises(torch.OutOfMemoryError, match=r"a prompt of \d+ tokens .* lower max_tokens"):
        tiny.embed(longest)
    passes.clear()
    tiny.embed(longest[:50])
    assert passes == []


@pytest.mark.parametrize("threaded", [False, True])
def test_work_ahead_keeps_the_order_and_tells_errors(threaded):
    assert list(embedding._ahead(lambda i: i * i, range(5), threaded=threaded)) == [(i, i * i) for i in range(5)]
    assert list(embedding._ahead(len, [], threaded=threaded)) == []
    told = embedding._ahead(lambda i: 1 // i, [1, 0, 1], threaded=threaded)
    assert next(told) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(told)


def test_work_ahead_begins_while_the_last_is_used():
    begun = {0: threading.Event(), 1: threading.Event(), 2: threading.Event()}
    ahead = embedding._ahead(lambda i: begun[i].set(), range(3), threaded=True)
    next(ahead)
    assert begun[1].wait(10)
    assert not begun[2].is_set()
    ahead.close()


def test_prompts_are_padded_on_the_right():
    ids, mask = pad([[5, 6, 7], [8]], "cpu")
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ids.dtype == mask.dtype == torch.int64
