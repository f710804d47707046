// SPDX-License-Identifier: Apache-2.0
/**
 * Whether something may write to the memory of a running process without the page tables being asked. The kernel and devices do
 * so with pages that they have pinned: a read with O_DIRECT has the disk write to them, an io_uring or an AIO context keeps them
 * while nobody waits, drivers as long as they like. Who pins a page after it was write-protected counts as writing to it; who
 * did before is not seen. So memory is read early only where nothing can have pages for longer than a system call takes, and
 * after each thread has been seen not to be in such a call since.
 */
import { decodeText } from "../bytes/text.js";
import {
  close,
  failed,
  kcmpType,
  nr,
  tryGetsockopt,
  tryKcmp,
  tryListDirectory,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
  tryReadSmall,
  tryStat,
} from "../native/index.js";
import { isStatelessDevice, isTerminal } from "./fds/facts.js";
import { SOL_SOCKET } from "./fds/socket-options.js";
import { listChildren, listThreads } from "./procfs.js";

const S_IFMT = 0o170000;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
/** Of /dev/tty, the console, and the masters of pseudo-terminals. */
const terminalsMajor = 5;
const harmlessInodes = /^anon_inode:(\[eventpoll\]|\[eventfd\]|\[timerfd\]|\[signalfd\]|inotify|\[pidfd\])$/;
const SO_DOMAIN = 39;
/** AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: they copy. */
const copyingFamilies: ReadonlySet<number> = new Set([1, 2, 10, 16]);
/** Mappings of what may have pages: AIO rings, queues of io_uring, buffers of packet sockets, memory of devices. */
const unfitMapping = /^(\/\[aio\]|anon_inode:|socket:|\/dev\/(?!shm\/|zero\b))/;
const nameInMaps = /^\S+ \S+ \S+ \S+ \d+ +(.*)$/;
/** Threads and descriptors that are looked at; a larger program is frozen as it is. */
const mostThreads = 256;
const mostDescriptors = 4096;

/** Waits that have no page of the program. */
const harmlessWaits: ReadonlySet<number> = new Set([
  nr.nanosleep,
  nr.clock_nanosleep,
  nr.restart_syscall,
  nr.futex,
  nr.futex_waitv,
  nr.epoll_wait,
  nr.epoll_pwait,
  nr.epoll_pwait2,
  nr.poll,
  nr.ppoll,
  nr.select,
  nr.pselect6,
  nr.wait4,
  nr.waitid,
  nr.pause,
  nr.rt_sigtimedwait,
  nr.rt_sigsuspend,
  nr.accept,
  nr.accept4,
]);

/** What may write to the memory of a process without being seen, for the log; undefined: nothing but calls of its threads. */
export function unseenWriter(pid: number): string | undefined {
  const tids = listThreads(pid);
  if (tids === undefined) return "it has ended";
  if (tids.length > mostThreads) return `it has ${tids.length} threads`;
  for (const tid of tids) {
    // Whoever shares the memory of a process is its child, as a rule.
    if ((listChildren(pid, tid) ?? []).length > 0) return "it has children";
    if (tid !== pid && tryKcmp(pid, tid, kcmpType.FILES) !== 0) return "its threads have several descriptor tables";
  }
  const maps = tryReadSmall(`/proc/${pid}/maps`);
  if (maps === undefined) return "its mappings cannot be read";
  for (const line of decodeText(maps).split("\n")) {
    const name = nameInMaps.exec(line)?.[1] ?? "";
    if (unfitMapping.test(name)) return `it has mapped ${name}`;
  }
  return unfitDescriptor(pid);
}

function unfitDescriptor(pid: number): string | undefined {
  const fds = tryListDirectory(`/proc/${pid}/fd`);
  if (typeof fds === "number") return "its descriptors cannot be listed";
  if (fds.length > mostDescriptors) return `it has ${fds.length} descriptors`;
  const pidfd = tryPidfdOpen(pid);
  if (failed(pidfd)) return "it has ended";
  try {
    for (const fd of fds) {
      const path = `/proc/${pid}/fd/${fd}`;
      const link = tryReadlink(path);
      // Closed meanwhile.
      if (link === undefined) continue;
      const name = decodeText(link);
      if (!isHarmless(name, path, pidfd, Number(fd))) return `descriptor ${fd} is ${name}`;
    }
  } finally {
    close(pidfd);
  }
  return undefined;
}

function isHarmless(name: string, path: string, pidfd: number, fd: number): boolean {
  if (name.startsWith("anon_inode:")) return harmlessInodes.test(name);
  if (name.startsWith("socket:")) return copyingFamilies.has(familyOf(pidfd, fd));
  if (name.startsWith("pipe:")) return true;
  const stat = tryStat(path);
  if (typeof stat === "number") return false;
  const kind = stat.mode & S_IFMT;
  if (kind === S_IFBLK) return false;
  if (kind !== S_IFCHR) return true;
  return isTerminal(stat) || stat.rdevMajor === terminalsMajor || isStatelessDevice(stat);
}

/** 0 where it cannot be asked. */
function familyOf(pidfd: number, fd: number): number {
  const own = tryPidfdGetfd(pidfd, fd);
  if (failed(own)) return 0;
  try {
    const value = tryGetsockopt(own, SOL_SOCKET, SO_DOMAIN, 4);
    return typeof value === "number" ? 0 : value.readInt32LE();
  } finally {
    close(own);
  }
}

/** Whether a thread is just now in a wait that has no page of the program, or gone. */
export function isWaiting(pid: number, tid: number): boolean {
  const failure = { errno: 0 };
  const told = tryReadSmall(`/proc/${pid}/task/${tid}/syscall`, failure);
  if (told === undefined) return listThreads(pid)?.includes(tid) !== true;
  const word = /^\d+/.exec(told.toString("latin1"))?.[0];
  return word !== undefined && harmlessWaits.has(Number(word));
}
