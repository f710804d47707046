// SPDX-License-Identifier: Apache-2.0
/**
 * The core in a tar of minicoredumper: one member "core", in GNU's old sparse form (GNU tar manual, "Basic Tar Format":
 * typeflag S, a map of four runs in the header, more of 21 each in blocks behind it), or a plain one.
 */
import { CrimgError } from "../../errors/crimg-error.js";
import type { SparseFile } from "./sparse-file.js";

const block = 512;
const maxRuns = 1 << 20;
const maxMembers = 64;

/** Reads bytes of the tar; fewer at its end. */
export type ReadTar = (position: bigint, length: number) => Buffer;

export function isTar(head: Uint8Array): boolean {
  return head.length >= block && Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
}

interface Run {
  readonly offset: bigint;
  readonly length: bigint;
}

/**
 * Writes the first member whose name is "core" or ends in ".core" to `output`, holes as holes.
 * @returns false if there is none
 * @throws CrimgError `expand.tar`
 */
export function extractCore(read: ReadTar, size: bigint, output: SparseFile, name: string): boolean {
  let at = 0n;
  for (let member = 0; member < maxMembers && at + BigInt(block) <= size; member++) {
    const header = read(at, block);
    const path = header.toString("latin1", 0, 100).replace(/\0.*$/s, "");
    if (path === "") return false;
    const length = numberAt(header, 124, 12, name, at);
    const isSparse = header[156] === 0x53;
    const isPlain = header[156] === 0x30 || header[156] === 0;
    let data = at + BigInt(block);
    let runs: Run[] = [{ offset: 0n, length }];
    let realSize = length;
    if (isSparse) {
      runs = runsOf(header, 386, 4, name, at);
      realSize = numberAt(header, 483, 12, name, at);
      for (let more = header[482] !== 0; more; data += BigInt(block)) {
        const extension = read(data, block);
        if (extension.length < block) throw wrong("the map of a sparse member is cut off", name, data);
        runs.push(...runsOf(extension, 0, 21, name, data));
        if (runs.length > maxRuns) throw wrong("a sparse member has too many runs", name, data);
        more = extension[504] !== 0;
      }
    }
    if ((isSparse || isPlain) && /(^|\/)core$|\.core$/.test(path)) {
      copy(read, data, runs, realSize, output, name);
      return true;
    }
    at = data + ((length + BigInt(block) - 1n) / BigInt(block)) * BigInt(block);
  }
  return false;
}

function copy(read: ReadTar, start: bigint, runs: readonly Run[], realSize: bigint, output: SparseFile, name: string): void {
  let data = start;
  for (const { offset, length } of runs) {
    if (length === 0n) continue;
    if (offset < output.size || offset + length > realSize) throw wrong("the map of a sparse member points outside", name, start);
    output.skip(offset - output.size);
    for (let done = 0n; done < length; ) {
      const left = length - done;
      const piece = read(data + done, left < 1n << 20n ? Number(left) : 1 << 20);
      if (piece.length === 0) throw wrong("the archive is cut off", name, data + done);
      output.append(piece);
      done += BigInt(piece.length);
    }
    data += length;
  }
  output.skip(realSize - output.size);
}

function runsOf(header: Buffer, start: number, count: number, name: string, at: bigint): Run[] {
  return Array.from({ length: count }, (_, index) => ({
    offset: numberAt(header, start + index * 24, 12, name, at),
    length: numberAt(header, start + index * 24 + 12, 12, name, at),
  })).filter((run) => run.length > 0n);
}

/** Octal, or base-256 with the top bit of the first byte set. */
function numberAt(header: Buffer, start: number, length: number, name: string, at: bigint): bigint {
  const field = header.subarray(start, start + length);
  if (((field[0] ?? 0) & 0x80) !== 0) {
    const value = BigInt(`0x${field.toString("hex")}`) & ((1n << BigInt(length * 8 - 1)) - 1n);
    if (value >= 1n << 62n) throw wrong("a size is out of bounds", name, at);
    return value;
  }
  const text = field.toString("latin1").replace(/[\0 ].*$/s, "");
  if (!/^[0-7]*$/.test(text)) throw wrong("a number of a header is none", name, at);
  return text === "" ? 0n : BigInt(`0o${text}`);
}

function wrong(message: string, source: string, offset: bigint): CrimgError {
  return new CrimgError("expand.tar", `the tar in the file is damaged: ${message}`, { source, offset });
}
