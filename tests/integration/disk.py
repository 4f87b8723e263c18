"""A file system of its own that can be full. It is mounted in a mount namespace
that this process makes for itself and those that it starts, and so it is gone
with them, however they end. It takes root.
"""

import ctypes
import os
import subprocess

from cluster import check

CLONE_NEWNS = 0x20000
STEP = 4096


class Disk:
    ours = False  # the namespace was made

    def __init__(self, path, megabytes):
        self.path = path
        self.filler = os.path.join(path, "filler")
        if not Disk.ours:
            libc = ctypes.CDLL(None, use_errno=True)
            check(libc.unshare(CLONE_NEWNS) == 0, lambda: f"unshare: {os.strerror(ctypes.get_errno())}")
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            Disk.ours = True
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", path], check=True)

    def left(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def fill(self, but=0):
        """Leave no more than `but` bytes."""
        with open(self.filler, "ab", buffering=0) as f:
            while self.left() > but:
                try:
                    f.write(bytes(min(1 << 20, max(STEP, self.left() - but))))
                except OSError:
                    break

    def make_room(self):
        os.unlink(self.filler)

    def end(self):
        subprocess.run(["umount", "--lazy", self.path], check=False)
