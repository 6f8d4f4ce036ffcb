"""A clock that is wrong, for one program and those of its children that are linked to libc."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.cache import digest
from tests.lab.fetch import Missing, fetched

VARIABLE = "LAB_CLOCK_AHEAD"
SOURCE = f"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {{
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int status = real(clock, now);
  const char *ahead = getenv("{VARIABLE}");
  if (!status && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += atol(ahead);
  return status;
}}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {{
  struct timespec exact;
  int status = clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return status;
}}

time_t time(time_t *now) {{
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}}
"""


def ahead(seconds: int) -> Mapping[str, str]:
    """The variables of a program whose clock is ahead by so much. Raises `Missing` without a C compiler."""
    return {"LD_PRELOAD": str(_library()), VARIABLE: str(seconds)}


def _library() -> Path:
    return fetched("clock", digest(SOURCE), _build) / "clock.so"


prepare = _library


def _build(target: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("needs cc, to build a clock that is wrong")
    words = [compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-x", "c", "-", "-o", target / "clock.so", "-ldl"]
    subprocess.run(words, input=SOURCE, text=True, check=True)
