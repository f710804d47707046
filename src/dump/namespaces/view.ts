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
  type FileStat,
  openFlag,
  SysError,
  tryCall,
  tryOpen,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
  tryStat,
} from "../../native/index.js";
import { decodeText } from "../../bytes/text.js";
import { CLONE } from "../../linux/clone-flags.js";
import type { DumpedProcess, Questioned } from "../context.js";
import { type MountInfo, mountInfoOf } from "./mountinfo.js";

const [AF_NETLINK, SOCK_RAW_CLOEXEC] = [16, 0o2000003];

export const namespaceFlag = { ipc: CLONE.newipc, net: CLONE.newnet } as const;

/**
 * Runs `work` in a namespace of a process; −errno if crimg may not go there (it takes CAP_SYS_ADMIN). Only this thread is there,
 * and only meanwhile.
 */
export function tryInNamespace<Result>(
  pid: number,
  kind: keyof typeof namespaceFlag,
  work: () => Result,
): { readonly result: Result } | number {
  const flag = namespaceFlag[kind];
  const path = `/proc/thread-self/ns/${kind}`;
  const own = check(tryOpen(path, openFlag.RDONLY), "open", path);
  try {
    const theirs = tryOpen(`/proc/${pid}/ns/${kind}`, openFlag.RDONLY);
    if (failed(theirs)) return theirs;
    const entered = tryCall("setns", theirs, flag);
    close(theirs);
    if (failed(entered)) return entered;
    try {
      return { result: work() };
    } finally {
      check(tryCall("setns", own, flag), "setns", `crimg's own ${kind} namespace`);
    }
  } finally {
    close(own);
  }
}

function inIpcOf<Result>(pid: number, work: () => Result): Result {
  const done = tryInNamespace(pid, "ipc", work);
  if (typeof done === "number") throw new SysError("setns", -done, `/proc/${pid}/ns/ipc`);
  return done.result;
}

/** Whether crimg may enter the ipc namespace of a process. */
export function mayEnterIpc(pid: number): boolean {
  try {
    return inIpcOf(pid, () => true);
  } catch (error) {
    if (error instanceof SysError && error.errno === errno.EPERM) return false;
    throw error;
  }
}

/** A mount namespace of the tree's own: whose root directory leads there, and what is mounted in it. */
export interface MountSpace {
  /** Its row. */
  readonly namespace: number;
  readonly process: DumpedProcess;
  /** Its mounts by id, in the order of mountinfo. */
  readonly mounts: ReadonlyMap<number, MountInfo>;
}

export class TreeView {
  /** That of the root of the tree first. */
  readonly #spaces: MountSpace[] = [];
  readonly #spaceOfTask = new Map<number, MountSpace>();
  #network: DumpedProcess | undefined;
  #ipc: DumpedProcess | undefined;

  /** Mount namespaces of the tree's own, that of its root first. */
  get spaces(): readonly MountSpace[] {
    return this.#spaces;
  }

  /** Paths of a mount namespace are reached through the root directory of this process; without another word, those of the first. */
  throughRootOf(process: DumpedProcess, namespace: number): MountSpace {
    const space = { process, namespace, mounts: new Map(mountInfoOf(process.pid).map((info) => [info.id, info])) };
    this.#spaces.push(space);
    return space;
  }

  /** Paths that a process knows are of this namespace. */
  setSpace(process: Questioned, space: MountSpace): void {
    this.#spaceOfTask.set(process.row, space);
  }

  /** Where a process lives; undefined for the first namespace. */
  spaceOfTask(process: Questioned): MountSpace | undefined {
    return this.#spaceOfTask.get(process.row);
  }

  /**
   * Where a file that a process maps or executes has its path: what it had before it left the first namespace is of that
   * still (unshare(2) gives it other mounts, but its files stay where they are).
   */
  spaceOfFile(process: Questioned, link: Buffer, stat: FileStat): MountSpace | undefined {
    const space = this.spaceOfTask(process);
    if (!this.isOther(space)) return undefined;
    const found = tryStat(this.path(decodeText(link)));
    return typeof found !== "number" && found.dev === stat.dev && found.ino === stat.ino ? undefined : space;
  }

  /** The namespace of a row. */
  spaceOf(namespace: number | undefined): MountSpace | undefined {
    return this.#spaces.find((space) => space.namespace === namespace);
  }

  /** The namespace that a mount is in. */
  spaceOfMount(id: number): MountSpace | undefined {
    return this.#spaces.find(({ mounts }) => mounts.has(id));
  }

  /** Whether a namespace is another one than the first. */
  isOther(space: MountSpace | undefined): space is MountSpace {
    return space !== undefined && space !== this.#spaces[0];
  }

  /** What of its filesystem a mount shows. */
  rootOfMount(id: number): string | undefined {
    return this.spaceOfMount(id)?.mounts.get(id)?.root;
  }

  /** Whether a mount is in a mount namespace of the tree. Everything is, where that is crimg's own. */
  hasMount(id: number): boolean {
    return this.#spaces.length === 0 || this.spaceOfMount(id) !== undefined;
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
    return this.#ipc === undefined ? work() : inIpcOf(this.#ipc.pid, work);
  }

  /** A path of the tree's as crimg reaches it. */
  path(path: string, space = this.#spaces[0]): string {
    return space === undefined || !path.startsWith("/") ? path : `/proc/${space.process.pid}/root${path}`;
  }

  /** The same of bytes. */
  pathBytes(path: Buffer, space = this.#spaces[0]): Buffer {
    const prefix = this.path("/", space);
    return prefix === "/" || path[0] !== 0x2f ? path : Buffer.concat([Buffer.from(prefix.slice(0, -1)), path]);
  }

  /** Whether the root directory of a task, by its folder in /proc, is the root of the mount namespace; undefined if that is crimg's own. */
  isRoot(path: string): boolean | undefined {
    return this.#spaces.length === 0 ? undefined : tryReadlink(`${path}/root`)?.toString("latin1") === "/";
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
