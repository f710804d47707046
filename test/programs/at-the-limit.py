# SPDX-License-Identifier: Apache-2.0
# Descriptors up to the very hard limit on open files, as valgrind has them.
# usage: python3 at-the-limit.py LOG
import os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
log = open(sys.argv[1], "a", buffering=1)
r, w = os.pipe()
for fd in range(390, 400): os.dup2(w, fd)
n = 0
while True:
    n += 1
    os.write(399, b"x")
    os.read(r, 1)
    log.write(f"tick {n} {len(os.listdir('/proc/self/fd'))}\n")
    time.sleep(0.05)
