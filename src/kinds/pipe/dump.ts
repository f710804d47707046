// SPDX-License-Identifier: Apache-2.0
/** Pipes and FIFOs: the bytes in flight (copied by tee, so that they stay), capacity, packet mode, missing ends. */
import { openFlags } from "../../linux/open-flags.js";
import { decodeText } from "../../bytes/text.js";
import { pipeRow } from "../../gen/tables.js";
import {
  close,
  check,
  errno,
  failed,
  fcntlCommand,
  openFlag,
  pipe2,
  SPLICE_F_NONBLOCK,
  SysError,
  tryCall,
  tryFcntl,
  tryIoctl,
  tryTee,
} from "../../native/index.js";
import { type Collecting, type Description, nameOf, refuseDescription } from "../../dump/fds/context.js";
import { type DescriptorFacts, inodeType } from "../../dump/fds/facts.js";
import { internPath, reopen } from "../../dump/fds/files.js";
import type { FileCollector, FileDump, FileFields } from "../../dump/fds/kind.js";
import { inherited } from "../inherited/dump.js";

const accessMode = 3;
const FIONREAD = 0x541b;

const canRead = ({ flags }: Description): boolean => (flags & accessMode) !== openFlag.WRONLY;
const canWrite = ({ flags }: Description): boolean => (flags & accessMode) !== openFlag.RDONLY;

/** One pipe and all the descriptions of the tree that are its ends. */
interface PipeEnds {
  readonly ends: Description[];
  /** Row in `pipes` once the content is taken. */
  row?: number;
}

export const dump: FileDump = { recognises: isPipe, collector: (collecting) => new PipeCollector(collecting) };

/** A pipe, or a FIFO that is open itself (not only its name, by O_PATH). */
export function isPipe(facts: DescriptorFacts): boolean {
  return inodeType(facts) === "fifo" && (isNameless(facts.link) || !facts.isPath);
}

const isNameless = (link: string): boolean => /^pipe:\[\d+\]$/.test(link);

/** Groups the ends of pipes (and FIFOs) by inode. */
class PipeCollector implements FileCollector {
  readonly #pipes = new Map<string, PipeEnds>();

  constructor(private readonly collecting: Collecting) {}

  /** Every end must be known before the first is collected. */
  note(end: Description): void {
    const key = `${end.stat.dev}:${end.stat.ino}`;
    const pipe = this.#pipes.get(key);
    if (pipe) pipe.ends.push(end);
    else this.#pipes.set(key, { ends: [end] });
  }

  /** The row of an end: part of a pipe of the tree, or inherited as standard input or output. */
  collect(end: Description): FileFields {
    const isFifo = !isNameless(decodeText(end.link));
    const pipe = this.#pipes.get(`${end.stat.dev}:${end.stat.ino}`) as PipeEnds;
    if (!isFifo && reachesOutside(pipe)) {
      const hint = "Dump the tree that holds both ends.";
      return inherited(end) ?? refuseDescription(end, "outside_pipe", "a pipe whose other end is outside the tree", hint);
    }
    const object = isFifo ? internPath(this.collecting, end, false) : null;
    pipe.row ??= this.#row(pipe);
    return { kind: "pipe", detail: pipe.row, object };
  }

  #row(pipe: PipeEnds): number {
    const [end] = pipe.ends as [Description];
    const isPacket = pipe.ends.some((member) => canWrite(member) && (member.flags & openFlags.DIRECT) !== 0);
    const content = readContent(end, isPacket);
    return (
      this.collecting.context.tables.pipes.push(
        pipeRow({
          ino: end.stat.ino,
          capacity: check(tryFcntl(end.fd, fcntlCommand.GETPIPE_SZ), "fcntl(F_GETPIPE_SZ)", nameOf(end)),
          isPacket: isPacket ? 1 : 0,
          data: content.data,
          packets: content.packets,
        }),
      ) - 1
    );
  }
}

/**
 * True if an end that the tree lacks exists somewhere: poll says POLLHUP on a read end without writers, POLLERR on a
 * write end without readers. (Our own copies are of the tree's ends and change nothing.)
 */
function reachesOutside({ ends }: PipeEnds): boolean {
  const reader = ends.find(canRead);
  const writer = ends.find(canWrite);
  if (reader && writer) return false;
  const end = (reader ?? writer) as Description;
  const pollfd = Buffer.alloc(8);
  pollfd.writeInt32LE(end.fd, 0);
  pollfd.writeInt16LE(0, 4);
  check(tryCall("poll", pollfd, 1, 0), "poll", nameOf(end));
  const POLLERR = 8;
  const POLLHUP = 16;
  return (pollfd.readInt16LE(6) & (reader ? POLLHUP : POLLERR)) === 0;
}

/** Copies what is in the pipe. Packets come out of a packet-mode pipe one by one, so their lengths are known. */
function readContent(end: Description, isPacket: boolean): { data: Uint8Array; packets: Uint8Array } {
  const empty = { data: new Uint8Array(0), packets: new Uint8Array(0) };
  // Our copy may be a write end: the inode can be opened for reading once more, and that reader goes again at once.
  const reader = reopen(end.fd);
  if (failed(reader)) throw new SysError("open", -reader, nameOf(end));
  const count = new Int32Array(1);
  const capacity = check(tryFcntl(reader, fcntlCommand.GETPIPE_SZ), "fcntl(F_GETPIPE_SZ)", nameOf(end));
  const [copyOut, copyIn] = pipe2(openFlag.NONBLOCK | (isPacket ? openFlags.DIRECT : 0));
  try {
    check(tryIoctl(reader, FIONREAD, count), "ioctl(FIONREAD)", nameOf(end));
    const length = count[0] ?? 0;
    if (length === 0) return empty;
    check(tryFcntl(copyIn, fcntlCommand.SETPIPE_SZ, capacity), "fcntl(F_SETPIPE_SZ)", nameOf(end));
    const copied = check(tryTee(reader, copyIn, length, SPLICE_F_NONBLOCK), "tee", nameOf(end));
    if (copied !== length) {
      refuseDescription(end, "pipe_content", `a pipe with ${length} bytes of which ${copied} can be copied`);
    }
    return drain(copyOut, length, isPacket, end);
  } finally {
    for (const fd of [reader, copyOut, copyIn]) close(fd);
  }
}

function drain(fd: number, length: number, isPacket: boolean, end: Description): { data: Uint8Array; packets: Uint8Array } {
  const data = Buffer.alloc(length);
  const lengths: number[] = [];
  let done = 0;
  while (done < length) {
    const got = tryCall("read", fd, data.subarray(done), length - done);
    if (got === -errno.EINTR) continue;
    check(got, "read", nameOf(end));
    if (got === 0) break;
    done += got;
    lengths.push(got);
  }
  return {
    data: data.subarray(0, done),
    packets: isPacket ? new Uint8Array(Uint32Array.from(lengths).buffer) : new Uint8Array(0),
  };
}
