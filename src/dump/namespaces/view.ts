// SPDX-License-Identifier: Apache-2.0
/**
 * How crimg reaches what the tree sees from namespaces of its own: files through /proc/PID/root, network and host name by
 * calls in one of its processes. None of it takes a privilege that a dump has not.
 */
import {
  check,
  close,
  errno,
  failed,
  openFlag,
  SysError,
  tryCall,
  tryOpen,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
} from "../../native/index.js";
import type { DumpedProcess } from "../context.js";
import { mountInfoOf } from "./mountinfo.js";

const [AF_NETLINK, SOCK_RAW_CLOEXEC] = [16, 0o2000003];

const CLONE_NEWIPC = 0x0800_0000;

function openNamespace(path: string): number {
  return check(tryOpen(path, openFlag.RDONLY), "open", path);
}

function enterNamespace(path: string): void {
  const fd = openNamespace(path);
  try {
    check(tryCall("setns", fd, CLONE_NEWIPC), "setns", path);
  } finally {
    close(fd);
  }
}

/** Whether crimg may enter the ipc namespace of a process: it takes CAP_SYS_ADMIN. */
export function mayEnterIpc(pid: number): boolean {
  const own = openNamespace("/proc/thread-self/ns/ipc");
  try {
    enterNamespace(`/proc/${pid}/ns/ipc`);
    check(tryCall("setns", own, CLONE_NEWIPC), "setns", "crimg's own ipc namespace");
    return true;
  } catch (error) {
    if (error instanceof SysError && error.errno === errno.EPERM) return false;
    throw error;
  } finally {
    close(own);
  }
}

export class TreeView {
  #root: DumpedProcess | undefined;
  #mounts: ReadonlySet<number> | undefined;
  #network: DumpedProcess | undefined;
  #ipc: DumpedProcess | undefined;

  /** From here on paths are those of this process's mount namespace. */
  throughRootOf(process: DumpedProcess): void {
    this.#root = process;
    this.#mounts = new Set(mountInfoOf(process.pid).map(({ id }) => id));
  }

  /** Whether a mount is in the tree's mount namespace. Everything is, where that is crimg's own. */
  hasMount(id: number): boolean {
    return this.#mounts === undefined || this.#mounts.has(id);
  }

  /** From here on network questions are asked where this process lives. */
  throughNetworkOf(process: DumpedProcess): void {
    this.#network = process;
  }

  /** From here on System V IPC is that of this process. */
  throughIpcOf(process: DumpedProcess): void {
    this.#ipc = process;
  }

  /** Whether the tree has an ipc namespace of its own, which is not left out. */
  get ownsIpc(): boolean {
    return this.#ipc !== undefined;
  }

  /** Runs `work` in the ipc namespace of the tree. Only this thread is there, and only meanwhile. */
  inIpc<Result>(work: () => Result): Result {
    const process = this.#ipc;
    if (process === undefined) return work();
    const own = openNamespace("/proc/thread-self/ns/ipc");
    try {
      enterNamespace(`/proc/${process.pid}/ns/ipc`);
      try {
        return work();
      } finally {
        check(tryCall("setns", own, CLONE_NEWIPC), "setns", "crimg's own ipc namespace");
      }
    } finally {
      close(own);
    }
  }

  /** A path of the tree's as crimg reaches it. */
  path(path: string): string {
    return this.#root === undefined || !path.startsWith("/") ? path : `/proc/${this.#root.pid}/root${path}`;
  }

  /** The same of bytes. */
  pathBytes(path: Buffer): Buffer {
    const prefix = this.path("/");
    return prefix === "/" || path[0] !== 0x2f ? path : Buffer.concat([Buffer.from(prefix.slice(0, -1)), path]);
  }

  /** Whether the root directory of a task, by its folder in /proc, is the root of the mount namespace; undefined if that is crimg's own. */
  isRoot(path: string): boolean | undefined {
    return this.#root === undefined ? undefined : tryReadlink(`${path}/root`)?.toString("latin1") === "/";
  }

  /** `/proc/self/net` of the tree. */
  get networkFiles(): string {
    return `/proc/${this.#network?.pid ?? "self"}/net`;
  }

  /** A netlink socket of the tree's network; undefined if that is crimg's own. Whoever asks closes it. */
  netlink(protocol: number): number | undefined {
    const process = this.#network;
    if (process === undefined) return undefined;
    const who = `process ${process.pid} (${process.name})`;
    const injector = process.injector();
    const theirs = injector.call("socket", AF_NETLINK, SOCK_RAW_CLOEXEC, protocol);
    if (failed(theirs)) throw new SysError("socket", -theirs, `a netlink socket in ${who}`);
    try {
      const pidfd = check(tryPidfdOpen(process.pid), "pidfd_open", who);
      try {
        return check(tryPidfdGetfd(pidfd, theirs), "pidfd_getfd", who);
      } finally {
        close(pidfd);
      }
    } finally {
      injector.call("close", theirs);
    }
  }
}
