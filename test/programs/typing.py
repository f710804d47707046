# SPDX-License-Identifier: Apache-2.0
# Types into a program in a terminal, dumps it, resumes it in another terminal and types again, twice.
# Argument: JSON with `command`, `dump` and `resume` (words; the image's path is added), `name`, `images`, and lists of
# [keys, what must come up then, "job" if another process group is in the foreground then]: `before`, `after` (in each
# life), `end`. Prints JSON: what did not come, and the exit status.
import fcntl, json, os, pty, select, struct, subprocess, sys, termios, time

task = json.loads(sys.argv[1])
missing = []


def spawn(words):
    pid, fd = pty.fork()
    if pid == 0:
        os.closerange(3, 1000)
        os.environ["TERM"] = "xterm"
        time.sleep(0.05)  # the size comes first
        os.execvp(words[0], words)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, fd


def read_until(fd, wanted, seconds=10):
    seen = b""
    end = time.time() + seconds
    while wanted not in seen and time.time() < end:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
    if wanted not in seen:
        missing.append([wanted.decode("latin1"), seen[-600:].decode("latin1")])


def perform(fd, steps):
    for keys, wanted, *job in steps:
        before = os.tcgetpgrp(fd)
        os.write(fd, keys.encode())
        read_until(fd, wanted.encode())
        end = time.time() + 10
        while job and os.tcgetpgrp(fd) == before and time.time() < end:
            time.sleep(0.01)


def root_below(pid):
    """The program: the deepest first child of who waits for it in the foreground, in its own session."""
    end = time.time() + 10
    while time.time() < end:
        here = pid
        while True:
            children = open(f"/proc/{here}/task/{here}/children").read().split()
            if not children or open(f"/proc/{here}/comm").read().strip() == task["name"]:
                break
            here = int(children[0])
        if open(f"/proc/{here}/comm").read().strip() == task["name"]:
            return here
        time.sleep(0.02)
    return pid


started = []
try:
    waiter, fd = spawn(task["command"])
    started.append(waiter)
    perform(fd, task["before"])
    root = waiter
    for image in task["images"]:
        dumped = subprocess.run([*task["dump"], str(root), "-o", image], capture_output=True, text=True, timeout=60)
        if dumped.returncode != 0:
            missing.append(["the dump", dumped.stderr])
            break
        os.waitpid(waiter, 0)
        os.close(fd)
        waiter, fd = spawn([*task["resume"], image])
        started.append(waiter)
        root = root_below(waiter)
        perform(fd, task["after"])
    perform(fd, task["end"])
    status = None
    end = time.time() + 15
    while status is None and time.time() < end:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                os.read(fd, 4096)
            except OSError:
                pass
        gone, how = os.waitpid(waiter, os.WNOHANG)
        status = os.waitstatus_to_exitcode(how) if gone else None
    print(json.dumps({"missing": missing, "status": status}))
finally:
    for pid in started:
        try:
            os.kill(pid, 9)
        except OSError:
            pass
