# SPDX-License-Identifier: Apache-2.0
# Terminals of a test: "pair FILE" holds a pseudoterminal whose two ends it checks on SIGUSR1; "drive IMAGE CRIMG" runs
# bash in a terminal of its own, dumps it, resumes it in another terminal, and prints what it saw as JSON.
import fcntl, json, os, pty, select, signal, struct, subprocess, sys, termios, time

TIOCPKT, TIOCGPTLCK, TIOCSPTLCK, TIOCGPKT, TIOCEXCL, TIOCGEXCL = 0x5420, 0x80045439, 0x40045431, 0x80045438, 0x540C, 0x80045440


def number(fd, request):
    return struct.unpack("i", fcntl.ioctl(fd, request, b"\0" * 4))[0]


def pair(report):
    master, slave = os.openpty()
    modes = termios.tcgetattr(slave)
    modes[3] &= ~termios.ECHO
    modes[6][termios.VINTR] = b"\x07"
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 5, 6))
    os.write(master, b"a whole line\nbegun")
    os.write(slave, b"some output\n")
    fcntl.ioctl(master, TIOCPKT, struct.pack("i", 1))
    fcntl.ioctl(slave, TIOCEXCL)
    lone = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    dead, hung = os.openpty()
    os.close(dead)

    def look(*_):
        now = termios.tcgetattr(slave)
        seen = {
            "name": os.ttyname(slave),
            "size": struct.unpack("HHHH", fcntl.ioctl(slave, termios.TIOCGWINSZ, b"\0" * 8)),
            "echo": now[3] & termios.ECHO,
            "intr": now[6][termios.VINTR].decode("latin1"),
            "packet": number(master, TIOCGPKT),
            "exclusive": number(slave, TIOCGEXCL),
            "locked": number(lone, TIOCGPTLCK),
            "nonblock": fcntl.fcntl(lone, fcntl.F_GETFL) & os.O_NONBLOCK,
            "output": os.read(master, 100).decode("latin1"),
        }
        os.write(master, b" and ended\n")
        seen["lines"] = [os.read(slave, 100).decode(), os.read(slave, 100).decode()]
        try:
            os.write(hung, b"x")
        except OSError as error:
            seen["hung"] = error.errno
        os.write(master, b"a whole line\nbegun")
        os.write(slave, b"some output\n")
        with open(report + ".new", "w") as file:
            json.dump(seen, file)
        os.rename(report + ".new", report)

    signal.signal(signal.SIGUSR1, look)
    open(report + ".ready", "w").close()
    while True:
        time.sleep(60)


def spawn(words):
    pid, fd = pty.fork()
    if pid == 0:
        os.closerange(3, 1000)
        os.execvp(words[0], words)
    return pid, fd


unread = {}


def read_until(fd, wanted, seconds=20):
    """What comes up to and with the bytes wanted; the rest is left for the next call."""
    seen = unread.pop(fd, b"")
    end = time.time() + seconds
    while wanted not in seen and time.time() < end:
        if select.select([fd], [], [], 0.1)[0]:
            try:
                seen += os.read(fd, 4096)
            except OSError:
                break
    at = seen.find(wanted)
    if at >= 0:
        unread[fd] = seen[at + len(wanted) :]
        seen = seen[: at + len(wanted)]
    return seen.decode("latin1")


def wait_for(condition, seconds=20):
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.02)


def foreground(pid):
    return open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[5]


def drive(image, crimg):
    prompt = b"$ " if os.getuid() else b"# "
    seen = {}
    pid, fd = spawn(["/bin/bash", "--norc", "--noprofile", "-i"])
    try:
        read_until(fd, prompt)
        os.write(fd, b"cat\n")
        wait_for(lambda: foreground(pid) != str(pid))
        job = int(foreground(pid))
        dumped = subprocess.run([*crimg, "dump", str(pid), "-o", image], capture_output=True, text=True, timeout=120)
        seen["dump"] = [dumped.returncode, dumped.stderr]
        if dumped.returncode != 0:
            return seen
        os.waitpid(pid, 0)
        os.close(fd)
        unread.clear()
        waiter, fd = spawn([image, *sys.argv[4:]])
        children = f"/proc/{waiter}/task/{waiter}/children"
        wait_for(lambda: os.path.exists(children) and open(children).read().strip() != "")
        os.write(fd, b"typed\n")
        seen["typed"] = "typed" in read_until(fd, b"typed\r\ntyped")
        os.write(fd, b"\x03")
        read_until(fd, prompt)
        os.write(fd, b"echo $((20+22)) $$ $(ps -o tty=,tpgid= -p $$)\n")
        seen["after"] = read_until(fd, b"\r42 ", 20) + read_until(fd, b"\n", 5)
        read_until(fd, prompt)
        os.write(fd, b"(: </dev/tty) && echo has-$((1+1))\n")
        seen["opens"] = "has-2" in read_until(fd, b"has-2")
        read_until(fd, prompt)
        os.write(fd, b"sleep 60\n")
        wait_for(lambda: foreground(pid) != str(pid))
        os.write(fd, b"\x1a")
        seen["stopped"] = "Stopped" in read_until(fd, b"Stopped")
        read_until(fd, prompt)
        os.write(fd, b"kill %1; exit 7\nexit 7\n")
        end = time.time() + 20
        while time.time() < end:
            read_until(fd, b"nothing", 0.1)
            gone, status = os.waitpid(waiter, os.WNOHANG)
            if gone:
                seen["status"] = os.waitstatus_to_exitcode(status)
                break
        return {**seen, "pid": pid, "job": job}
    finally:
        for one in (pid, locals().get("waiter")):
            try:
                one and os.kill(one, 9)
            except OSError:
                pass


if sys.argv[1] == "pair":
    pair(sys.argv[2])
else:
    print(json.dumps(drive(sys.argv[2], [sys.argv[3]])))
