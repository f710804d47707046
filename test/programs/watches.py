# SPDX-License-Identifier: Apache-2.0
"""
Holds inotify instances in unusual states in the directory argv[1], with events that nobody has read. On SIGUSR1 it writes
what it finds to the file `seen` of its current directory: the events of each instance, the numbers and masks of the
watches, the event of a file without a name, and the number of a new watch.
"""
import ctypes
import json
import os
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)
IN_ALL = 0xFFF


def inotify():
    return libc.inotify_init1(0o4000)


def watch(fd, path, mask):
    wd = libc.inotify_add_watch(fd, path.encode(), ctypes.c_uint32(mask))
    assert wd > 0, os.strerror(ctypes.get_errno())
    return wd


def events(fd):
    found, cookies = [], {}
    while True:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return found
        at = 0
        while at < len(data):
            wd, mask, cookie, length = struct.unpack_from("iIII", data, at)
            name = data[at + 16:at + 16 + length].split(b"\0")[0].decode()
            # What a cookie is does not matter, but that it is the same.
            number = cookies.setdefault(cookie, len(cookies)) if cookie else "-"
            found.append(f"{wd}:{mask:x}:{number}:{name}")
            at += 16 + length


def watches(fd):
    with open(f"/proc/self/fdinfo/{fd}") as info:
        lines = [line.split() for line in info if line.startswith("inotify")]
    return sorted(f"{words[1]} {words[4]}" for words in lines)


top = os.getcwd()
os.chdir(sys.argv[1])
for name in ("dir", "gone"):
    os.mkdir(name)
for name in ("file", "old", "unlinked", "linkee", "one", "two"):
    open(name, "w").close()
os.symlink("file", "link")
fd = inotify()
first = watch(fd, "file", IN_ALL)
watch(fd, "dir", IN_ALL)
third = watch(fd, "old", 0x2)
watch(fd, "gone", 0x400 | 0x1)
unlinked = os.open("unlinked", os.O_RDWR)
watch(fd, "unlinked", 0x2)
watch(fd, "linkee" if "named" in sys.argv else "link", 0x2 | 0x02000000)
watch(fd, "two" if "named" in sys.argv else "linkee", 0x80000002)
# Numbers with gaps.
libc.inotify_rm_watch(fd, first)
libc.inotify_rm_watch(fd, third)
watch(fd, "file", IN_ALL)
os.rename("file", "dir/renamed")
if "named" not in sys.argv:
    os.unlink("unlinked")
events(fd)
full = inotify()
watch(full, "one", 0x4)
watch(full, "two", 0x4)
if "full" in sys.argv:
    for _ in range(8200):
        os.chmod("one", 0o600)
        os.chmod("two", 0o600)
for number in range(3):
    open(f"dir/new{number}", "w").close()
os.rename("dir/new0", "dir/moved")
os.mkdir("dir/sub")
os.listdir("dir/sub")
os.rmdir("dir/sub")
os.chmod("dir", 0o755)
os.rename("dir/new1", "outside")
with open("dir/renamed", "a") as file:
    file.write("x")
with open("dir/renamed") as file:
    file.read()
os.rmdir("gone")
os.rename("dir", "moved")
os.chdir(top)


def look():
    seen = {"events": events(fd), "watches": watches(fd)}
    waiting = events(full)
    seen["full"] = [len(waiting), waiting[-1] if waiting else "-"]
    os.write(unlinked, b"x")
    seen["unlinked"] = events(fd)
    new = watch(fd, "/", 0x2)
    seen["next"] = new
    libc.inotify_rm_watch(fd, new)
    seen["end"] = events(fd)
    with open("seen.new", "w") as file:
        json.dump(seen, file)
    os.rename("seen.new", "seen")


signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
open("ready", "w").close()
while True:
    signal.sigwait({signal.SIGUSR1})
    look()
