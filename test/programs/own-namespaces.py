# SPDX-License-Identifier: Apache-2.0
"""Makes what namespaces of its own can hold, and reports every 50 ms what it sees. Arguments: a directory, and a place for a tmpfs."""
import ctypes, json, os, socket, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
directory, place = sys.argv[1:3]


def check(result, what):
    if result is None or result == -1:
        raise OSError(ctypes.get_errno(), what)
    return result


def mount(source, target, kind, flags, data=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), target)


os.chdir("/")
socket.sethostname("box")
for words in (["link", "set", "lo", "up"], ["address", "add", "10.9.8.7/24", "dev", "lo"], ["route", "add", "10.77.0.0/16", "dev", "lo"]):
    subprocess.run(["ip", *words], check=True)
mount("none", place, "tmpfs", 0, "size=4m,mode=755")
os.makedirs(place + "/a/b")
with open(place + "/a/b/file", "w") as out:
    out.write("x" * 5000)
os.link(place + "/a/b/file", place + "/hard")
os.symlink("a/b", place + "/link")
os.mkfifo(place + "/fifo")
open(place + "/empty", "w").close()
os.chmod(place + "/a", 0o711)
os.mkdir(place + "/bound")
mount(place + "/a", place + "/bound", "", 0x1000)
mount("none", place + "/bound", "", 0x1021)
held = open(place + "/a/b/file", "r+")
held.seek(7)

SHM, KEY = 12288, 0x4711
memory = check(libc.shmget(KEY, SHM, 0o1640), "shmget")
attached = check(libc.shmat(memory, None, 0), "shmat")
ctypes.memmove(attached, bytes(range(256)) * 48, SHM)
other = check(libc.shmget(0, 5000, 0o1600), "shmget")
for_a_moment = check(libc.shmat(other, None, 0), "shmat")
ctypes.memmove(for_a_moment, b"y" * 5000, 5000)
libc.shmdt(ctypes.c_void_p(for_a_moment))
semaphores = check(libc.semget(KEY, 3, 0o1600), "semget")
for number, value in enumerate((5, 0, 32767)):
    check(libc.semctl(semaphores, number, 16, value), "semctl")
queue = check(libc.msgget(KEY, 0o1622), "msgget")
for kind, text in ((3, b"first"), (1 << 40, b"a second, longer one"), (7, b"")):
    check(libc.msgsnd(queue, kind.to_bytes(8, "little") + text, len(text), 0), "msgsnd")

server = socket.socket()
server.bind(("10.9.8.7", 4711))
server.listen()
child = os.fork()
if child == 0:
    while True:
        time.sleep(1)
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()


def messages():
    """The messages of the queue, copied (MSG_COPY)."""
    buffer = ctypes.create_string_buffer(8192)
    found = []
    while True:
        length = libc.msgrcv(queue, buffer, 8000, len(found), 0o44000)
        if length < 0:
            return found
        found.append([int.from_bytes(buffer.raw[:8], "little"), buffer.raw[8 : 8 + length].decode()])


def unattached():
    address = check(libc.shmat(other, None, 0o10000), "shmat")
    content = ctypes.string_at(address, 5000)
    libc.shmdt(ctypes.c_void_p(address))
    return content == b"y" * 5000


def connect():
    client = socket.create_connection(("10.9.8.7", 4711))
    server.accept()[0].close()
    client.close()
    return "connected"


def listed(kind, columns):
    lines = open("/proc/sysvipc/" + kind).read().splitlines()
    return sorted(line.split()[:columns] for line in lines[1:])


count = asked = 0
tcp = ""
while True:
    count += 1
    if os.path.exists(directory + "/ask"):
        # A connection that is just being made would be in a dump's way.
        os.unlink(directory + "/ask")
        asked += 1
        tcp = connect()
    report = dict(
        count=count, asked=asked, pid=os.getpid(), parent=os.getppid(), child=child, session=os.getsid(0), tcp=tcp,
        host=socket.gethostname(),
        processes=sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        maps=[open("/proc/self/" + name).read().split() for name in ("uid_map", "gid_map")],
        mounts=[line.split(" ")[3:6] + line.split(" - ")[1].split(" ")[:1] for line in open("/proc/self/mountinfo") if place in line],
        files=sorted((path[len(place) :], oct(os.lstat(os.path.join(path, name)).st_mode), name)
            for path, folders, names in os.walk(place) for name in names + folders),
        text=open(place + "/bound/b/file").read() == "x" * 5000, links=os.stat(place + "/hard").st_nlink, link=os.readlink(place + "/link"),
        held=[held.tell(), os.fstat(held.fileno()).st_ino == os.stat(place + "/hard").st_ino],
        address="10.9.8.7\n" in open("/proc/net/fib_trie").read(), routes=open("/proc/net/route").read().split("\n"),
        memory=ctypes.string_at(attached, SHM) == bytes(range(256)) * 48, unattached=unattached(), messages=messages(),
        semaphores=[libc.semctl(semaphores, number, 12, 0) for number in range(3)],
        ipc=[listed("shm", 4), listed("sem", 8), listed("msg", 5)],
    )
    with open(directory + "/report.new", "w") as out:
        json.dump(report, out)
    os.rename(directory + "/report.new", directory + "/report")
    time.sleep(0.05)
