"""How this process asks the system for memory."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path


def keep_freed_memory():
    """Let this process keep what it frees, for its next tensors, in large pages. Linux with glibc; elsewhere nothing.

    glibc hands a large block back to the system at once, and the system clears every page of the next one before the
    program may write to it. Training frees and takes blocks of the same sizes in every layer of every update.
    Pages of 2 MB instead of 4 KB take less time to clear, and the processor finds them faster.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        return
    max_mapped, trim_threshold, huge_pages = -4, -1, 14  # M_MMAP_MAX, M_TRIM_THRESHOLD; MADV_HUGEPAGE of madvise(2)
    libc.mallopt(max_mapped, 0)
    libc.mallopt(trim_threshold, -1)  # never
    # Take as much as the machine has and free it again: only addresses, since nothing is written. All that the program
    # allocates from now on lies there, in pages as advised. A system that allows no such block is left as it is.
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    page = os.sysconf("SC_PAGE_SIZE")
    size = page * os.sysconf("SC_PHYS_PAGES")
    block = libc.malloc(size)
    if block:
        libc.madvise(ctypes.c_void_p(block // page * page), ctypes.c_size_t(size), huge_pages)
        libc.free(ctypes.c_void_p(block))


def give_way():
    """Where memory runs out, Linux should end this process, and not the one that waits for it and reports."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
