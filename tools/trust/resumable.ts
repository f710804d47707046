// SPDX-License-Identifier: Apache-2.0
/** An image of tree.c to be changed and resumed, and where its parts are. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readInterpreter } from "../../formats/ckpt-elf/interpreter.js";
import { segmentsOf } from "../../formats/ckpt-elf/image-header.js";
import { registry } from "../../formats/registry.js";
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders } from "../../src/elf/headers.js";
import { type Op, type ProgramHeader, opSize, readOp, readProgramHeader } from "../../src/gen/restore-program.js";
import { putChecksum } from "../../src/lower/checksum.js";
import { rowId } from "../../src/lower/operands.js";
import { unrolled } from "../../src/lower/unroll.js";
import { dump } from "../../src/ops/dump.js";
import { compileTool } from "./jail.js";

/** tree.c exits with this if all is as it was. */
export const wholeStatus = 42;

export interface Resumable {
  readonly bytes: Buffer;
  /** Bytes of the file that are pages of the program. */
  readonly pages: { readonly start: number; readonly end: number };
  /** The restore program. */
  readonly program: { readonly start: number; readonly end: number };
  readonly header: ProgramHeader;
  readonly ops: readonly Op[];
}

/** Starts the tree in `directory`, dumps and ends it. */
export async function makeResumable(source: string, directory: string): Promise<Resumable> {
  const home = join(directory, "home");
  mkdirSync(home);
  // The image is run as another user.
  for (const path of [directory, home]) chmodSync(path, 0o755);
  const program = compileTool(source, directory);
  const script = 'for path in /proc/$$/fd/*; do fd=${path##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done; exec "$@"';
  const child = spawn("bash", ["-c", script, "bash", program, home], { stdio: "ignore", detached: true });
  // The dump, which traces it, waits for its end in node's stead.
  child.unref();
  try {
    for (let tries = 0; tries < 500 && !existsSync(join(home, "ready")); tries += 1) await new Promise((done) => setTimeout(done, 10));
    const image = join(directory, "tree.elf");
    await dump({
      registry,
      pid: child.pid ?? 0,
      output: image,
      after: "kill",
      isTree: true,
      force: true,
      sync: false,
      bundle: false,
      ignore: [],
    });
    chmodSync(image, 0o755);
    writeFileSync(join(home, "go"), "");
    return readResumable(image);
  } finally {
    child.kill("SIGKILL");
  }
}

export function readResumable(image: string): Resumable {
  const bytes = readFileSync(image);
  const file = FileBytes.open(image);
  try {
    const { extents, program } = segmentsOf(readProgramHeaders(file, readElfHeader(file, "ckpt-elf")));
    if (program === undefined || extents === undefined) throw new Error(`${image} has no program`);
    const span = (segment: { readonly pOffset: bigint; readonly pFilesz: bigint }) => ({
      start: Number(segment.pOffset),
      end: Number(segment.pOffset + segment.pFilesz),
    });
    const place = span(program);
    const reader = new ByteReader(bytes.subarray(place.start, place.end), { source: image });
    const header = readProgramHeader(reader);
    reader.pos = Number(header.ofsOps);
    const ops = Array.from({ length: header.numOps }, () => readOp(reader));
    return { bytes, pages: span(extents), program: place, header, ops };
  } finally {
    file.close();
  }
}

/** Makes the checksum of a changed image right, as whoever means harm would. */
export function mendChecksum(image: Buffer, { program }: Resumable): void {
  if (image.length >= program.end) putChecksum(image.subarray(program.start, program.end), readInterpreter().checksum);
}

/** Offset in the file of an op. */
export function opOffset({ program, header }: Resumable, index: number): number {
  return program.start + Number(header.ofsOps) + index * opSize;
}

/** A text of op `index` as it is said; of one that is run for rows, as for the first of them. */
export function textOf({ bytes, program, header, ops }: Resumable, index: number, text: "message" | "subject"): string {
  const start = program.start + Number(header.ofsData);
  for (const step of unrolled(ops, bytes.subarray(start, start + Number(header.lenData)))) {
    if (step.index !== index) continue;
    const at = start + step.op[text];
    const said = at === start ? "" : bytes.toString("utf8", at, bytes.indexOf(0, at));
    return step.id === undefined ? said : said.replaceAll(rowId, String(step.id));
  }
  return "";
}

/** Writes an image, hands it to `use`, removes it. */
export async function withImage<T>(directory: string, name: string, bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
  const path = join(directory, name);
  writeFileSync(path, bytes, { mode: 0o755 });
  try {
    return await use(path);
  } finally {
    rmSync(path, { force: true });
  }
}
