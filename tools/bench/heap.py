# SPDX-License-Identifier: Apache-2.0
# usage: heap.py COUNT CLOCKFILE
# A heap of Python objects of about COUNT MiB, which rests; CLOCKFILE as of load.c.
import mmap
import os
import sys
import time

os.closerange(3, 65536)  # what a shell or a build system leaked to us is not ours to keep
fd = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(fd, 4096)
words = memoryview(mmap.mmap(fd, 4096)).cast("Q")
os.close(fd)
kept = {}
for i in range(int(sys.argv[1]) * 2600):
    kept[i] = {"name": f"object {i}", "sum": i * 2654435761 % 2**32, "parts": (i, float(i), str(i))}
words[0] = time.time_ns()
words[2] = 1
while True:
    now = time.time_ns()
    if now - words[0] > 5_000_000:
        words[1] = words[8 + words[3] % 504] = now
        words[3] += 1
    words[0] = now
    time.sleep(0.0005)
