"""How much memory is free."""

from __future__ import annotations

import os


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control group's if that is less."""
    free = 2 << 30  # where the system does not say
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as most:
            limit = int(most.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as now:
            free = min(free, limit - int(now.read()))
    except (OSError, ValueError):  # no control group, or "max"
        pass
    return max(min(free, _below_limit(free)), 0)


def _below_limit(free: int) -> int:
    """Bytes of address space left below the process's own limit (`ulimit -v`), if it has one; else `free`."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return free
        with open("/proc/self/statm", encoding="ascii") as line:
            return limit - int(line.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return free
