# SPDX-License-Identifier: Apache-2.0
"""Three threads and 200 MB: each thread owns a third of the memory, changes it, and checks what it changed before.

usage: python3 threads.py LOG
"""
import hashlib
import os
import sys
import threading
import time

log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
SIZE = 200_000_000 // 3
PIECE = 65_536
turns = [0, 0, 0]
lock = threading.Lock()


def work(number):
    memory = bytearray(os.urandom(PIECE)) * (SIZE // PIECE)
    expected = {}
    turn = 0
    while True:
        turn += 1
        at = (turn * 7919 * PIECE) % (len(memory) - PIECE)
        for start, digest in list(expected.items())[-3:]:
            if hashlib.sha1(memory[start:start + PIECE]).digest() != digest:
                os.write(log, b"broken memory\n")
                os._exit(1)
        memory[at:at + PIECE] = os.urandom(PIECE)
        expected[at] = hashlib.sha1(memory[at:at + PIECE]).digest()
        for start in [s for s in expected if s != at and abs(s - at) < PIECE]:
            del expected[start]
        with lock:
            turns[number] = turn
        time.sleep(0.005)


for n in range(3):
    threading.Thread(target=work, args=(n,), daemon=True).start()
tick = 0
before = list(turns)
while True:
    time.sleep(0.05)
    with lock:
        moved = [a > b for a, b in zip(turns, before)]
        if all(moved):
            before = list(turns)
            tick += 1
            os.write(log, f"tick {tick}\n".encode())
