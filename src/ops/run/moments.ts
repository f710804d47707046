// SPDX-License-Identifier: Apache-2.0
/** Watching a job for the moment at which it is to be frozen. */
import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { Socket } from "node:net";
import { listChildren, listThreads } from "../../dump/procfs.js";
import { pipe2, close } from "../../native/index.js";
import { writeAll } from "../write-all.js";

const pollMs = 50;
/** Output in which the pattern is looked for: that many characters at the end of what came. */
const windowLength = 65_536;

function treeOf(pid: number): number[] {
  const tree = [pid];
  for (const member of tree) for (const thread of listThreads(member) ?? []) tree.push(...(listChildren(member, thread) ?? []));
  return tree;
}

/** Inodes of the TCP sockets that listen on a port in the network namespace of a process. */
function listeners(pid: number, port: number): Set<string> {
  const found = new Set<string>();
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  for (const table of ["tcp", "tcp6"]) {
    let text = "";
    try {
      text = readFileSync(`/proc/${pid}/net/${table}`, "latin1");
    } catch {
      continue;
    }
    for (const line of text.split("\n").slice(1)) {
      // proc(5): sl local_address rem_address st … inode; state 0A is LISTEN.
      const fields = line.trim().split(/\s+/);
      if (fields[3] === "0A" && fields[1]?.endsWith(`:${wanted}`) && fields[9] !== undefined) found.add(fields[9]);
    }
  }
  return found;
}

function holdsSocket(pid: number, inodes: ReadonlySet<string>): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return inodes.has(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? "");
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** Whether a process of the tree listens on a TCP port. */
export function listensOn(root: number, port: number): boolean {
  const inodes = listeners(root, port);
  return inodes.size > 0 && treeOf(root).some((pid) => holdsSocket(pid, inodes));
}

/** Calls `reached` once when the tree listens. Returns what stops the watch. */
export function whenListening(root: () => number | undefined, port: number, reached: () => void): () => void {
  const timer = setInterval(() => {
    const pid = root();
    if (pid === undefined || !listensOn(pid, port)) return;
    clearInterval(timer);
    reached();
  }, pollMs);
  return () => clearInterval(timer);
}

/** Standard output and error of a job as they pass by. */
export class OutputWatch {
  /** Ends for the job. */
  readonly streams: readonly [number, number];
  readonly #done: Promise<unknown>;
  readonly #windows = ["", ""];
  #isOver = false;

  constructor(
    private readonly pattern: RegExp,
    private readonly reached: () => void,
  ) {
    const pipes = [pipe2(), pipe2()] as const;
    this.streams = [pipes[0][1], pipes[1][1]];
    this.#done = Promise.all(pipes.map(([reader], index) => this.#relay(reader, index)));
  }

  #relay(reader: number, index: number): Promise<void> {
    const socket = new Socket({ fd: reader, readable: true, writable: false });
    return new Promise((resolve) => {
      socket.on("data", (chunk: Buffer) => {
        try {
          writeAll(index + 1, chunk);
        } catch {
          // The reader of our output is gone: the job continues.
        }
        this.#look(index, chunk.toString("utf8"));
      });
      socket.once("error", () => resolve());
      socket.once("close", () => resolve());
    });
  }

  #look(index: number, text: string): void {
    if (this.#isOver) return;
    const seen = `${this.#windows[index] ?? ""}${text}`.slice(-windowLength);
    this.#windows[index] = seen;
    if (!this.pattern.test(seen)) return;
    this.#isOver = true;
    this.reached();
  }

  /** Our copies of the job's ends: to be closed once the job has them. */
  closeStreams(): void {
    for (const fd of this.streams) close(fd);
  }

  /** Waits until all that the job wrote has passed. */
  async drain(): Promise<void> {
    await this.#done;
  }
}
