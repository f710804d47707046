// SPDX-License-Identifier: Apache-2.0
/** What the collectors of this folder share. */
import { decodeText } from "../../bytes/text.js";
import { type DescriptorOrder, openFlag, tryReadSmall, type FileStat } from "../../native/index.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { classOfDescriptor, waysOn } from "./left-out.js";
import type { DescriptorFacts } from "./facts.js";
import type { FdInfo } from "./fdinfo.js";

/** What the user asked for that concerns descriptors. */
export interface DescriptorOptions {
  /** Content of unlinked files up to this many bytes is kept; no limit if absent. */
  readonly ghostLimit?: bigint;
  /** Connections nobody has accepted yet may be dropped. */
  readonly skipInFlight?: boolean;
  /** TCP connections with peers outside the tree are kept. */
  readonly tcpEstablished?: boolean;
  /** Format id of the image; the executable image if absent. */
  readonly to?: string;
  /** How packets of those are held back: nftables, or skip (not at all). */
  readonly networkLock?: string;
  /** TCP connections may come back as ones that are over. */
  readonly tcpClose?: boolean;
  /** Unix datagram sockets may be connected to named sockets outside the tree. */
  readonly extUnixSk?: boolean;
  /** Standard streams that are crimg's own too are those of whoever resumes the image, whatever they are. */
  readonly inheritStreams?: boolean;
  /** The order that the descriptors of a process had shortly before. */
  readonly order?: DescriptorOrder | undefined;
}

/** A number in a task's table. */
export interface Holder {
  readonly process: DumpedProcess;
  readonly fd: number;
  readonly isCloexec: boolean;
}

/** What is known of a description but for who has it. Those that tell the very same (a file opened often) share one. */
export interface Told {
  readonly stat: FileStat;
  /** readlink of /proc/PID/fd/N. */
  readonly link: Buffer;
  readonly info: FdInfo;
  /** F_GETFL: the flags of the description, without close-on-exec. */
  readonly flags: number;
  readonly fsMagic: bigint;
  /** F_GETSIG and F_GETOWN_EX (type, id), where they are known already; −errno, or absent, where they cannot be had. */
  readonly signals?: { readonly signal: number; readonly owner?: readonly [number, number] } | undefined;
}

/** An open file description of the tree. */
export interface Description extends Told {
  readonly told: Told;
  /** Whoever has it, in the order found; empty only for one that travels in a message. */
  readonly holders: Holder[];
  /** The socket in whose queue it was found (SCM_RIGHTS). */
  readonly inFlightIn?: Description | undefined;
  /** Our copy (pidfd_getfd), made when it is first asked for. It shares position and flags with the target: do not change them. */
  readonly fd: number;
  /** Unix sockets: the waiting messages, once they were looked at. */
  queue?: readonly QueuedMessage[] | undefined;
  /** Row in `files`, once it is added. */
  row?: number | undefined;
}

/** A message in the queue of a unix socket; for streams, a run of bytes. */
export interface QueuedMessage {
  readonly data: Uint8Array;
  /** sockaddr of the sender; empty if it has no name. */
  readonly sender: Uint8Array;
  /** SCM_CREDENTIALS, where the receiver asks for them. */
  readonly credentials?: { readonly pid: number; readonly uid: number; readonly gid: number };
  /** Descriptions that travel with it. */
  readonly files: readonly Description[];
}

/** The collectors' view of a dump. */
export interface Collecting {
  readonly context: DumpContext;
  readonly options: DescriptorOptions;
  readonly descriptions: readonly Description[];
  /** Descriptions that `--ignore` leaves out: what refers to them loses that too. */
  readonly leftOut?: ReadonlySet<Description>;
}

/** `fd 12 of 4711 (nginx)`. */
export function nameOf(description: Description): string {
  const [holder] = description.holders;
  if (holder) return `fd ${holder.fd} of ${holder.process.pid} (${holder.process.name})`;
  return description.inFlightIn ? `a descriptor in flight to ${nameOf(description.inFlightIn)}` : "a descriptor";
}

/** A refusal that knows which description it is about, so that the others can still be looked at. */
export class DescriptorRefusal extends CrimgError {
  constructor(
    readonly description: Description,
    /** What follows `dump.fd.` in the code. */
    readonly what: string,
    text: string,
    hint?: string,
  ) {
    super(
      `dump.fd.${what}`,
      `${nameOf(description)}: ${text}`,
      { ignore: classOfDescriptor(what), hint: waysOn(what, hint) },
      exitStatus.refused,
    );
  }
}

/** Refuses one description: `fd 12 of 4711 (nginx): io_uring`. */
export function refuseDescription(description: Description, code: string, text: string, hint?: string): never {
  throw new DescriptorRefusal(description, code, text, hint);
}

/** The number under which a description is standard input, output or error of some task; undefined if it is not. */
export function stdioNumber({ holders }: Description): number | undefined {
  let least: number | undefined;
  for (let index = 0; index < holders.length; index++) {
    const { fd } = holders[index] as Holder;
    if (fd <= 2 && (least === undefined || fd < least)) least = fd;
  }
  return least;
}

/** Names as text: the descriptions of a file share the bytes of its name. */
const linkTexts = new WeakMap<Buffer, string>();

/** The name of what a description is of, as text. */
export function linkTextOf({ link }: Pick<Description, "link">): string {
  let text = linkTexts.get(link);
  if (text === undefined) {
    text = decodeText(link);
    linkTexts.set(link, text);
  }
  return text;
}

/** What kinds recognise a description by. */
export function factsOf({ stat, link, fsMagic, flags }: Description): DescriptorFacts {
  return {
    link: linkTextOf({ link }),
    mode: stat.mode,
    rdevMajor: stat.rdevMajor,
    rdevMinor: stat.rdevMinor,
    fsMagic,
    isPath: (flags & openFlag.PATH) !== 0,
  };
}

/** The file offset; 0 where the kernel shows none. */
export function positionOf({ info }: Description): bigint {
  return info.pos > 0n ? info.pos : 0n;
}

/** Answers of `pidAsSeen` while the tree stands still: the sockets of a server have all been made by the same few. */
let seenPids: Map<number, number | undefined> | undefined;

/** Runs `work`, during which no pid is asked for twice. */
export function rememberingPids(work: () => void): void {
  seenPids = new Map();
  try {
    work();
  } finally {
    seenPids = undefined;
  }
}

/**
 * A pid of crimg's own namespace as the tasks see it: the last number of NSpid. Undefined if nobody has it any more.
 * Works for threads, process group leaders and processes outside the tree too.
 */
export function pidAsSeen(pid: number): number | undefined {
  if (seenPids?.has(pid) === true) return seenPids.get(pid);
  const text = tryReadSmall(`/proc/${pid}/status`)?.toString("latin1");
  const numbers = text === undefined ? undefined : /^NSpid:\s*(.*)$/m.exec(text)?.[1]?.trim().split(/\s+/);
  const last = numbers?.at(-1);
  const seen = last === undefined || last === "" ? undefined : Number(last);
  seenPids?.set(pid, seen);
  return seen;
}
