"""The WSGI application that gunicorn serves, in processes that share their memory among their threads."""

import ctypes
import gc
import os
from contextlib import suppress

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # their numbers in malloc.h
BIG = 128 * 1024


def share_memory() -> None:
    """Have threads share what they free, and big pieces go back at once.

    Left alone, glibc gives each thread a heap of its own, whose gaps no other thread fills, and raises by itself what
    counts as big: after thousands of requests much of the process's memory is gaps.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_ARENA_MAX, 1)
            mallopt(M_MMAP_THRESHOLD, BIG)


def settle() -> None:
    """Load the views, and tell the garbage collector that what is there now stays.

    To go through it takes 60 ms, now and then, in the middle of somebody's request.
    """
    _ = get_resolver().url_patterns
    gc.collect()
    gc.freeze()


share_memory()  # before there are threads: the first one fixes the number of heaps
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "labelsite.settings")
os.environ.setdefault("SQLITE_CACHE_MB", "8")  # each thread has a connection of its own
application = get_wsgi_application()
settle()
