"""Several readers and writers: nothing is lost, the first error ends all, and no thread stays."""

import threading
import time
from collections.abc import Iterator

import pytest

from migration.parallel import batched, map_unordered, merged


def numbers(start: int, count: int) -> Iterator[int]:
    yield from range(start, start + count)


def test_everything_that_several_sources_have() -> None:
    sources = [lambda start=start: numbers(start, 50) for start in (0, 100, 200)]
    assert sorted(merged(sources)) == [*range(50), *range(100, 150), *range(200, 250)]


def test_an_error_of_one_source_ends_all() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise LookupError("gone")

    before = threading.active_count()
    with pytest.raises(LookupError, match="gone"):
        list(merged([failing, lambda: numbers(0, 10_000)]))
    assert threading.active_count() == before


def test_a_reader_that_stops_early_ends_the_sources() -> None:
    before = threading.active_count()
    pages = merged([lambda: numbers(0, 10_000), lambda: numbers(0, 10_000)])
    next(pages)
    pages.close()  # pyrefly: ignore[missing-attribute]  # a generator
    assert threading.active_count() == before


def test_work_goes_on_at_the_same_time_and_within_bounds() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return number * 2

    assert sorted(map_unordered(work, range(20), 4)) == [number * 2 for number in range(20)]
    assert 2 <= most <= 4


def test_batches_are_not_read_ahead_of_the_work() -> None:
    read = 0

    def batches() -> Iterator[int]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield number

    results = map_unordered(lambda number: number, batches(), 2)
    next(results)
    assert read <= 4
    results.close()  # pyrefly: ignore[missing-attribute]  # a generator


def test_an_error_of_one_batch_ends_the_work() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise LookupError("gone")
        done.append(number)

    with pytest.raises(LookupError, match="gone"):
        list(map_unordered(work, range(1000), 2))
    assert len(done) < 20


def test_groups_are_bounded_by_number_and_by_weight() -> None:
    assert list(batched(iter([1] * 7), 3, 100, lambda one: one)) == [[1, 1, 1], [1, 1, 1], [1]]
    assert list(batched(iter([4, 4, 4, 20, 1]), 9, 8, lambda one: one)) == [[4, 4], [4], [20], [1]]
    assert list(batched(iter([]), 3, 3, lambda one: 1)) == []
