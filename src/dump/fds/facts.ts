// SPDX-License-Identifier: Apache-2.0
/** What /proc and fstat say of a description, and what follows from that whatever the kind. Pure. */

/** By which kinds recognise their own. */
export interface DescriptorFacts {
  /** readlink of /proc/PID/fd/N. */
  readonly link: string;
  /** st_mode of fstat. */
  readonly mode: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** fstatfs f_type; 0 if unknown. */
  readonly fsMagic: bigint;
  /** O_PATH: only the name is open, not what it names. */
  readonly isPath: boolean;
}

/** st_mode's types, and what fstat cannot tell apart from a regular file. */
export type InodeType =
  | "regular"
  | "directory"
  | "symlink"
  | "char_device"
  | "block_device"
  | "fifo"
  | "socket"
  /** anon_inode: eventfd, epoll and many more. */
  | "anonymous"
  | "pidfd"
  | "namespace"
  /** Something of the kernel that is no data, such as a bpf object or a message queue. */
  | "kernel_object"
  | "unknown";

/** NSFS_MAGIC */
const namespaceFileSystem = 0x6e736673n;

/** What a regular file of one of the kernel's own file systems is. */
export interface KernelObject {
  /** Stable, for codes. */
  readonly code: string;
  readonly words: string;
}

/** f_type values (linux/magic.h) of file systems whose regular files are no data that could be read and written again. */
const kernelFileSystems: ReadonlyMap<bigint, KernelObject> = new Map([
  [0xcafe4a11n, { code: "bpf_object", words: "a bpf object" }],
  [0x19800202n, { code: "mqueue", words: "a POSIX message queue" }],
  [0x5345434dn, { code: "secret_memory", words: "secret memory (memfd_secret), which nobody but the program can read" }],
]);

const modeType = 0o170000;
const types = new Map<number, InodeType>([
  [0o140000, "socket"],
  [0o120000, "symlink"],
  [0o100000, "regular"],
  [0o060000, "block_device"],
  [0o040000, "directory"],
  [0o020000, "char_device"],
  [0o010000, "fifo"],
]);

export function inodeType(facts: DescriptorFacts): InodeType {
  if (anonymousName(facts) !== undefined) return "anonymous";
  if (facts.link.startsWith("pidfd:")) return "pidfd";
  if (facts.fsMagic === namespaceFileSystem && !facts.isPath) return "namespace";
  const type = types.get(facts.mode & modeType) ?? "unknown";
  return type === "regular" && kernelObject(facts) !== undefined ? "kernel_object" : type;
}

/** `[eventfd]` of `anon_inode:[eventfd]`. */
export function anonymousName({ link }: DescriptorFacts): string | undefined {
  return /^anon_inode:(.*)$/.exec(link)?.[1];
}

/** What a file of the kernel's own is; undefined for others. */
export function kernelObject({ fsMagic, isPath }: DescriptorFacts): KernelObject | undefined {
  return isPath ? undefined : kernelFileSystems.get(fsMagic);
}

type DeviceNumbers = Pick<DescriptorFacts, "rdevMajor" | "rdevMinor">;

/** Terminals: tty and console devices (4, 5), pty slaves (136 to 143). */
export function isTerminal({ rdevMajor, rdevMinor }: DeviceNumbers): boolean {
  return rdevMajor === 4 || (rdevMajor === 5 && rdevMinor <= 1) || (rdevMajor >= 136 && rdevMajor <= 143);
}

/** Character devices of major 1 that hold no state; kmsg is not among them. */
const statelessMinors: ReadonlySet<number> = new Set([
  3, // /dev/null
  5, // /dev/zero
  7, // /dev/full
  8, // /dev/random
  9, // /dev/urandom
]);

export function isStatelessDevice({ rdevMajor, rdevMinor }: DeviceNumbers): boolean {
  return rdevMajor === 1 && statelessMinors.has(rdevMinor);
}
