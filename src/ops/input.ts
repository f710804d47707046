// SPDX-License-Identifier: Apache-2.0
/** What a command reads: a path, or standard input (`-`), which is first copied to a nameless file. */
import { closeSync, fstatSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { randomDigits } from "../linux/random-name.js";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CrimgError } from "../errors/crimg-error.js";

export interface Input {
  /** What to open. */
  readonly path: string;
  /** For messages. */
  readonly name: string;
  close(): void;
}

/** A path as it is; `-` as a seekable copy of standard input. */
export function resolveInput(path: string): Input {
  if (path !== "-") return { path, name: path, close: () => undefined };
  // A file on standard input needs no copy: its own descriptor can be opened again.
  if (fstatSync(0).isFile()) return { path: "/proc/self/fd/0", name: "standard input", close: () => undefined };
  const temporary = join(tmpdir(), `.crimg-${process.pid}-${randomDigits(8)}.tmp`);
  // Executable, so that an image need not be copied once more to be resumed.
  const fd = openSync(temporary, "wx+", 0o700);
  unlinkSync(temporary);
  const chunk = Buffer.alloc(1 << 20);
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    let count: number;
    try {
      count = readSync(0, chunk, 0, chunk.length, null);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EAGAIN") {
        Atomics.wait(pause, 0, 0, 5);
        continue;
      }
      closeSync(fd);
      throw code === "EISDIR"
        ? new CrimgError("input.kind", "standard input is a directory", { hint: "name the directory instead of -" })
        : error;
    }
    if (count === 0) break;
    for (let done = 0; done < count; ) done += writeSync(fd, chunk, done, count - done);
  }
  // execve refuses a file that somebody has open for writing (ETXTBSY).
  const readable = openSync(`/proc/self/fd/${fd}`, "r");
  closeSync(fd);
  return { path: `/proc/self/fd/${readable}`, name: "standard input", close: () => closeSync(readable) };
}
