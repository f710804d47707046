// SPDX-License-Identifier: Apache-2.0
/** Which kind a descriptor is, from what /proc and fstat say. Pure: no system calls. */

/** A kind that this folder collects. */
export type DescriptorKind =
  | "regular"
  | "directory"
  | "symlink"
  | "char_device"
  | "terminal"
  | "block_device"
  | "memfd"
  | "fifo"
  | "pipe"
  | "socket"
  | "namespace"
  | "bound_socket_path"
  | "eventfd"
  | "timerfd"
  | "signalfd"
  | "epoll"
  | "pidfd";

export interface Look {
  /** readlink of /proc/PID/fd/N. */
  readonly link: string;
  /** st_mode of fstat. */
  readonly mode: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** fstatfs f_type; 0 if unknown. */
  readonly fsMagic: bigint;
  readonly isPath: boolean;
}

export type Classified = { readonly kind: DescriptorKind } | { readonly refused: string; readonly code: string };

/** NSFS_MAGIC */
const namespaceFileSystem = 0x6e736673n;

/** f_type values (linux/magic.h) of file systems whose files are views of the kernel, not data. */
const kernelFileSystems = new Map<bigint, string>([[0xcafe4a11n, "a bpf object"]]);

/** Anonymous inodes that are kept, by the name in the link. */
const keptAnonymous = new Map<string, DescriptorKind>([
  ["[eventfd]", "eventfd"],
  ["[timerfd]", "timerfd"],
  ["[signalfd]", "signalfd"],
  ["[eventpoll]", "epoll"],
  ["[pidfd]", "pidfd"],
]);

/** Words for anonymous inodes that are refused; others are named as the link has them. */
const anonymousWords = new Map<string, string>([
  ["inotify", "inotify"],
  ["[fanotify]", "fanotify"],
  ["[io_uring]", "io_uring"],
  ["[userfaultfd]", "userfaultfd"],
  ["[perf_event]", "perf_event"],
  ["bpf-map", "a bpf map"],
  ["bpf-prog", "a bpf program"],
  ["bpf_link", "a bpf link"],
  ["seccomp notify", "a seccomp listener"],
  ["[landlock-ruleset]", "a landlock ruleset"],
  ["mount", "a detached mount"],
  ["[fscontext]", "a file system context"],
]);

const fileType = {
  mask: 0o170000,
  socket: 0o140000,
  link: 0o120000,
  regular: 0o100000,
  block: 0o060000,
  directory: 0o040000,
  char: 0o020000,
  fifo: 0o010000,
};

/** Major numbers of terminals: tty and console devices (4, 5), pty slaves (136 to 143). */
const isTerminal = (major: number, minor: number): boolean => major === 4 || (major === 5 && minor <= 1) || (major >= 136 && major <= 143);

/** Character devices of major 1 that hold no state: null, zero, full, random, urandom, kmsg is not among them. */
const statelessMinors = new Map<number, string>([
  [3, "/dev/null"],
  [5, "/dev/zero"],
  [7, "/dev/full"],
  [8, "/dev/random"],
  [9, "/dev/urandom"],
]);

/** Decides the kind, or the words of a refusal. */
export function classify(look: Look): Classified {
  const anonymous = /^anon_inode:(.*)$/.exec(look.link)?.[1];
  if (anonymous !== undefined) {
    const kind = keptAnonymous.get(anonymous);
    if (kind) return { kind };
    const word = anonymousWords.get(anonymous) ?? anonymous.replace(/^\[(.*)\]$/, "$1");
    return { refused: word, code: word.replace(/^an? /, "").replaceAll(/\W+/g, "_") };
  }
  if (look.link.startsWith("pidfd:")) return { kind: "pidfd" };
  if (look.fsMagic === namespaceFileSystem && !look.isPath) return { kind: "namespace" };
  const view = kernelFileSystems.get(look.fsMagic);
  if (view !== undefined && !look.isPath && (look.mode & fileType.mask) === fileType.regular) {
    return { refused: view, code: view.replace(/^an? /, "").replaceAll(/\W+/g, "_") };
  }
  switch (look.mode & fileType.mask) {
    case fileType.regular:
      return { kind: look.link.startsWith("/memfd:") && look.link.endsWith(" (deleted)") ? "memfd" : "regular" };
    case fileType.directory:
      return { kind: "directory" };
    case fileType.link:
      return { kind: "symlink" };
    case fileType.fifo:
      return { kind: /^pipe:\[\d+\]$/.test(look.link) ? "pipe" : "fifo" };
    case fileType.socket:
      return { kind: /^socket:\[\d+\]$/.test(look.link) ? "socket" : "bound_socket_path" };
    case fileType.char:
      return classifyCharDevice(look);
    case fileType.block:
      return look.isPath ? { kind: "block_device" } : { refused: `the block device ${look.link}`, code: "block_device" };
    default:
      return { refused: look.link, code: "unknown" };
  }
}

function classifyCharDevice(look: Look): Classified {
  if (look.isPath) return { kind: "char_device" };
  if (look.rdevMajor === 1 && statelessMinors.has(look.rdevMinor)) return { kind: "char_device" };
  if (look.rdevMajor === 5 && look.rdevMinor === 2) return { refused: "the master of a pseudoterminal", code: "pty_master" };
  if (isTerminal(look.rdevMajor, look.rdevMinor)) return { kind: "terminal" };
  return { refused: `the device ${look.link}`, code: "device" };
}
