"""Several readers or writers at a time; memory holds no more than a few of their pages."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import Empty, Full, Queue
from typing import TypeVar

Page = TypeVar("Page")
Batch = TypeVar("Batch")
Result = TypeVar("Result")

_POLL_SECONDS = 0.2


def merged(sources: Sequence[Callable[[], Iterator[Page]]]) -> Iterator[Page]:
    """Yields from several sources at once; a thread reads each of them.

    The first error of a source ends all of them and is raised. A caller that stops early ends them too.
    """
    if len(sources) == 1:
        yield from sources[0]()
        return
    pages: Queue[Page | _End] = Queue(maxsize=2 * len(sources))
    stop = threading.Event()
    threads = [threading.Thread(target=_feed, args=(source, pages, stop), daemon=True) for source in sources]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            page = pages.get()
            if not isinstance(page, _End):
                yield page
            elif page.problem is not None:
                raise page.problem
            else:
                left -= 1
    finally:
        stop.set()
        _drain(pages)
        for thread in threads:
            thread.join()


class _End:
    """A source has ended, by an error or by itself."""

    def __init__(self, problem: BaseException | None) -> None:
        self.problem = problem


def _feed(source: Callable[[], Iterator[Page]], pages: "Queue[Page | _End]", stop: threading.Event) -> None:
    problem: BaseException | None = None
    try:
        for page in source():
            if not _put(pages, page, stop):
                return
    except BaseException as caught:  # raised again by the reader
        problem = caught
    _put(pages, _End(problem), stop)


def _put(pages: "Queue[Page | _End]", page: "Page | _End", stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            pages.put(page, timeout=_POLL_SECONDS)
            return True
        except Full:
            continue
    return False


def _drain(pages: "Queue[Page | _End]") -> None:
    while True:
        try:
            pages.get_nowait()
        except Empty:
            return


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
