"""A lock on an open file that ends with its process, however that ends; and how many may be open."""

from __future__ import annotations

import os
import sys

if sys.platform == "win32":
    import msvcrt

    _PLACE = 1 << 40
    """Beyond anything that is written: Windows locks bytes against everybody, readers too."""

    def most_open() -> int:
        """How many files may be held open for long, so that enough are left for connections."""
        return 1024

    def locked(fd: int) -> bool:
        """Take the lock; False where somebody else has it."""
        os.lseek(fd, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give the lock back before the file is closed."""
        os.lseek(fd, _PLACE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl
    import resource

    def most_open() -> int:
        """How many files may be held open for long, so that enough are left for connections."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return 4096 if soft == resource.RLIM_INFINITY else max(16, min(soft // 4, 4096))

    def locked(fd: int) -> bool:
        """Take the lock; False where somebody else has it."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def unlock(fd: int) -> None:
        """Give the lock back before the file is closed."""
        fcntl.flock(fd, fcntl.LOCK_UN)
