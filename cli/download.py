"""Downloads a large file: with progress, going on where an earlier try was cut off, and checked before it is used."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from cli.terminal import Terminal
from errors import FlatlineError
from files import Lock

PATIENCE_SECONDS = 30.0
TRIES = 5
CHUNK = 1 << 20


def fetch(url: str, target: Path, sha256: str, elsewhere: str, terminal: Terminal) -> Path:
    """A file with a SHA-256, which is on this machine already or is downloaded. Raises FlatlineError.

    `elsewhere` is the remedy where the address cannot be reached: how to download from another one.

    What came before a connection broke is kept beside it, and the next try asks for the rest (RFC 9110, 14.2). A file
    with another checksum is deleted.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    try:
        with Lock(target.with_name(target.name + ".lock")):
            if target.is_file() and _digest(target) == sha256:
                return target
            _complete(url, partial, elsewhere, terminal)
            found = _digest(partial)
            if found != sha256:
                partial.unlink()
                raise FlatlineError(
                    f"{url} is not the file that is pinned: its SHA-256 is {found}, and {sha256} is expected",
                    "Nothing of it was used, and it was deleted. Look at what serves that address.",
                )
            partial.replace(target)
            return target
    except BlockingIOError:
        raise FlatlineError(f"another run downloads {url} now", "Wait until it has ended.") from None


def _complete(url: str, partial: Path, elsewhere: str, terminal: Terminal) -> None:
    problem = "it ended early"
    with terminal.transfer(f"Downloading {url}") as progress:
        for _ in range(TRIES):
            try:
                if _more(url, partial, progress):
                    return
            except urllib.error.HTTPError as answer:
                if answer.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise FlatlineError(
                        f"{url} cannot be downloaded: {answer.code} {answer.reason}", elsewhere
                    ) from None
                partial.unlink(missing_ok=True)  # what is here is longer than what is there
            except (OSError, http.client.HTTPException) as broken:
                reason = getattr(broken, "reason", broken)
                problem = str(reason) or type(broken).__name__
    here = partial.stat().st_size if partial.exists() else 0
    raise FlatlineError(
        f"{url} cannot be downloaded: {problem}",
        *([f"The {here} bytes that came are kept: run this again to go on from there."] if here else []),
        elsewhere,
    )


def _more(url: str, partial: Path, progress: Callable[[int, int | None], None]) -> bool:
    """Downloads what is missing; whether all of it is there now."""
    here = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={here}-"} if here else {})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT and (
            str(answer.headers.get("Content-Range", "")).startswith(f"bytes {here}-")
        )
        if not goes_on:
            here = 0
        length = answer.headers.get("Content-Length")
        whole = here + int(length) if length else None
        with partial.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                here += len(chunk)
                progress(here, whole)
    return whole is None or here == whole


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
