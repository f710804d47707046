// SPDX-License-Identifier: Apache-2.0
/**
 * Compressed checkpoints are read directly: cores as systemd-coredump (.zst, .lz4, .xz), apport and people (.gz) keep them, and
 * minicoredumper's tar. They are expanded into a nameless file in $TMPDIR, which goes when the checkpoint is closed.
 */
import { readSync, statSync } from "node:fs";
import { probeFormat, probeInputOf } from "../../adapter/detect.js";
import type { ProbeInput } from "../../adapter/format.js";
import { looksLike } from "../../adapter/looks-like.js";
import type { FormatRegistry } from "../../adapter/registry.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { FileBytes } from "../../bytes/random-bytes.js";
import type { Input } from "../input.js";
import { contentBound } from "./bound.js";
import { type Compression, compressionOf, expand } from "./compression.js";
import { SparseFile } from "./sparse-file.js";
import { extractCore, isTar } from "./tar-member.js";

const headBytes = 65536;
/** Program headers that are looked at for the bound; a core of 65,534 mappings has 3.5 MiB. */
const maxHeadBytes = 4 << 20;

/** The input itself, or what is in it if it is compressed (or a tar) and no format wants it as it is. The caller closes it. */
export async function expandInput(input: Input, registry: FormatRegistry): Promise<Input> {
  const probe = probeInputOf(input.path);
  const compression = probe.isDirectory ? undefined : compressionOf(probe.head);
  const isPlainTar = compression === undefined && isTar(probe.head);
  if ((compression === undefined && !isPlainTar) || (await probeFormat(probe, registry)) !== undefined) return input;
  const file = new SparseFile(input.name);
  try {
    if (compression === undefined) fromTar(inputReader(input), statSync(input.path, { bigint: true }).size, file, input.name);
    else await fill(file, input, compression, probe.head, registry);
    file.finish();
    if (compression === undefined || !isTar(readAt(file.fd, 0n, headBytes))) return asInput(file, input);
    const core = new SparseFile(input.name);
    try {
      fromTar((position, length) => readAt(file.fd, position, length), file.size, core, input.name);
      core.finish();
      return asInput(core, input);
    } catch (error) {
      core.close();
      throw error;
    } finally {
      file.close();
    }
  } catch (error) {
    file.close();
    throw error;
  }
}

function asInput(file: SparseFile, { name }: Input): Input {
  return { path: `/proc/self/fd/${file.fd}`, name, close: () => file.close() };
}

/** Expands into the file. What is in it is judged as soon as its first bytes are there, and its length as it grows. */
async function fill(file: SparseFile, input: Input, compression: Compression, head: Uint8Array, registry: FormatRegistry): Promise<void> {
  const { size } = statSync(input.path, { bigint: true });
  const formats = await Promise.all(registry.ids.map((id) => registry.load(id)));
  let start = Buffer.alloc(0);
  let isJudged = false;
  let bound: bigint | undefined;
  const judge = (): void => {
    const probe: ProbeInput = { path: input.path, isDirectory: false, head: start.subarray(0, headBytes), entries: [] };
    if (!isTar(start) && !formats.some((format) => format.probe(probe))) {
      throw new CrimgError(
        "input.unrecognised",
        `${input.name} is compressed (${compression}), and what is in it is in no format that crimg reads: ${looksLike(probe)}`,
        {
          source: input.name,
          hint: "crimg formats lists the formats",
        },
      );
    }
    isJudged = true;
  };
  await expand(input.path, input.name, compression, head, (piece) => {
    if (bound === undefined) {
      start = Buffer.concat([start, piece.subarray(0, maxHeadBytes - start.length)]);
      if (!isJudged && start.length >= headBytes) judge();
      bound = contentBound(start, size) ?? (start.length === maxHeadBytes ? 1n << 30n : undefined);
    }
    file.append(piece);
    if (file.size > (bound ?? BigInt(maxHeadBytes))) {
      throw new CrimgError("expand.bound", `the ${compression} file expands beyond the ${bound} bytes that its beginning promises`, {
        source: input.name,
        hint: "it is damaged, or made to fill disks; nothing of it was kept",
      });
    }
  });
  if (!isJudged) judge();
}

function inputReader({ path }: Input): (position: bigint, length: number) => Buffer {
  const bytes = FileBytes.open(path);
  return (position, length) => {
    const left = bytes.size - position;
    return Buffer.from(left <= 0n ? new Uint8Array(0) : bytes.read(position, left < BigInt(length) ? Number(left) : length));
  };
}

function fromTar(read: (position: bigint, length: number) => Buffer, size: bigint, output: SparseFile, name: string): void {
  if (extractCore(read, size, output, name)) return;
  throw new CrimgError("input.unrecognised", `${name} is a tar archive without a core or an image set that crimg knows`, {
    source: name,
    hint: "unpack it and name what is to be read",
  });
}

function readAt(fd: number, position: bigint, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, Number(position)));
}
