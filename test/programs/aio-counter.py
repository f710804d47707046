# SPDX-License-Identifier: Apache-2.0
"""Has a ring of asynchronous I/O, from which it reads one event each time that it counts. Argument: its log."""
import ctypes, os, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
SETUP, EVENTS, SUBMIT = 206, 208, 209
ring = ctypes.c_ulong(0)
assert libc.syscall(SETUP, 64, ctypes.byref(ring)) == 0
null = os.open("/dev/null", os.O_WRONLY)
byte = ctypes.create_string_buffer(1)
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def submit(number):
    # struct iocb: data, key, rw flags, opcode 1 (pwrite), priority, descriptor, buffer, length, offset, two reserved
    block = ctypes.create_string_buffer(struct.pack("<QIIHhIQQqQII", number, 0, 0, 1, 0, null, ctypes.addressof(byte), 1, 0, 0, 0, 0))
    assert libc.syscall(SUBMIT, ring, 1, (ctypes.c_void_p * 1)(ctypes.addressof(block))) == 1


submit(1)
count = 0
while True:
    # One event always waits in the ring.
    count += 1
    submit(count + 1)
    event = ctypes.create_string_buffer(32)
    done = libc.syscall(EVENTS, ring, 1, 1, event, None)
    number = struct.unpack("<Q", event.raw[:8])[0]
    os.write(log, f"tick {count}\n".encode() if (done, number) == (1, count) else f"broken {done} {number}\n".encode())
    time.sleep(0.05)
