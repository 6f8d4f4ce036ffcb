"""Several readers or writers at a time; memory holds no more than a few of their pages."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Page = TypeVar("Page")
Batch = TypeVar("Batch")
Result = TypeVar("Result")


def merged(sources: Sequence[Callable[[], Iterator[Page]]]) -> Iterator[Page]:
    """Yields from several sources at once: while one page of each is used, the next one is read.

    The first error of a source ends all of them and is raised. A caller that stops early ends them too.
    """
    if len(sources) == 1:
        yield from sources[0]()
        return
    with ThreadPoolExecutor(len(sources)) as pool:
        readers = [source() for source in sources]
        pending = {pool.submit(next, reader, None): reader for reader in readers}
        try:
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    reader, page = pending.pop(future), future.result()
                    if page is not None:
                        pending[pool.submit(next, reader, None)] = reader
                        yield page
        finally:
            pool.shutdown(cancel_futures=True)


def map_unordered(work: Callable[[Batch], Result], batches: Iterable[Batch], workers: int) -> Iterator[Result]:
    """Yields the result of `work` for each batch, unordered; `workers` run at a time. The first error ends all."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        pending: set[Future[Result]] = set()
        try:
            for batch in batches:
                pending.add(pool.submit(work, batch))
                if len(pending) > workers:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def batched(
    records: Iterable[Batch], most: int, heaviest: int, weight: Callable[[Batch], int]
) -> Iterator[list[Batch]]:
    """Records in lists of at most `most`, of a weight of at most `heaviest` unless one alone is heavier."""
    group: list[Batch] = []
    total = 0
    for record in records:
        own = weight(record)
        if group and (len(group) == most or total + own > heaviest):
            yield group
            group, total = [], 0
        group.append(record)
        total += own
    if group:
        yield group
