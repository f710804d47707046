// SPDX-License-Identifier: Apache-2.0
/**
 * Rewrites an image set of CRIU 4.2 as the versions of 2026 do with compression: pages in blocks, most of them LZ4 (see
 * formats/criu/pages/page-blocks.ts for the forms).
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { PagemapEntrySchema, PagemapHeadSchema } from "../../formats/criu/gen/memory_pb.js";
import { InventorySchema } from "../../formats/criu/gen/tree_pb.js";
import { messagesOf, writeImage } from "./old-criu-set.js";

export interface BlockForm {
  /** The message of the merged change, or the fields of its drafts. */
  readonly form: "message" | "draft";
  readonly pagesPerBlock: number;
  /** Each entry's bytes begin at a whole page of the file. */
  readonly isAligned: boolean;
}

const pageBytes = 4096;

/** Puts all pages of the set's processes and objects into blocks. Returns how many blocks are zeros, raw and LZ4. */
export function compressSet(directory: string, how: BlockForm): { zeros: number; raw: number; lz4: number } {
  const counts = { zeros: 0, raw: 0, lz4: 0 };
  const inventory = join(directory, "inventory.img");
  const message = fromBinary(InventorySchema, readFileSync(inventory).subarray(8));
  message.imgVersion = 3;
  message.$unknown = [...(message.$unknown ?? []), varint(15, 2), varint(16, how.pagesPerBlock * pageBytes)];
  const bytes = toBinary(InventorySchema, message);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  writeFileSync(inventory, Buffer.concat([readFileSync(inventory).subarray(0, 4), length, bytes]));
  for (const name of readdirSync(directory).filter((one) => one.startsWith("pagemap-"))) compressMap(directory, name, how, counts);
  return counts;
}

function compressMap(
  directory: string,
  name: string,
  { form, pagesPerBlock, isAligned }: BlockForm,
  counts: { zeros: number; raw: number; lz4: number },
): void {
  const [head, ...entries] = messagesOf(join(directory, name));
  const { pagesId } = fromBinary(PagemapHeadSchema, head as Buffer);
  const file = join(directory, `pages-${pagesId}.img`);
  const pages = readFileSync(file);
  const written: Buffer[] = [];
  let position = 0;
  let size = 0;
  const changed = entries.map((one) => {
    const entry = fromBinary(PagemapEntrySchema, one);
    if ((entry.flags & 4) === 0) return one;
    if (isAligned) {
      entry.flags |= 8;
      const padding = (pageBytes - (size % pageBytes)) % pageBytes;
      written.push(Buffer.alloc(padding));
      size += padding;
    }
    const count = Number(entry.nrPages) || entry.compatNrPages;
    const sizes: number[] = [];
    for (let page = 0; page < count; page += pagesPerBlock) {
      const raw = pages.subarray(position, (position += Math.min(pagesPerBlock, count - page) * pageBytes));
      const stored = storedAs(raw);
      counts[stored.length === 0 ? "zeros" : stored === raw ? "raw" : "lz4"]++;
      written.push(stored);
      sizes.push(stored.length);
      size += stored.length;
    }
    const total = sizes.reduce((sum, length) => sum + length, 0);
    if (form === "draft") entry.$unknown = [...sizes.map((length) => varint(6, length)), varint(7, total), varint(8, pagesPerBlock)];
    else {
      const packed = new BinaryWriter().tag(1, WireType.LengthDelimited).fork();
      for (const length of sizes) packed.uint32(length);
      const inner = packed.join().tag(2, WireType.Varint).uint64(total).tag(3, WireType.Varint).uint32(pagesPerBlock).finish();
      entry.$unknown = [{ no: 6, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(inner).finish() }];
    }
    return toBinary(PagemapEntrySchema, entry);
  });
  writeFileSync(file, Buffer.concat(written));
  writeImage(join(directory, name), name.startsWith("pagemap-shmem-") ? "pagemap-shmem" : "pagemap", [head as Buffer, ...changed]);
}

function varint(no: number, value: number): { no: number; wireType: WireType; data: Uint8Array } {
  return { no, wireType: WireType.Varint, data: new BinaryWriter().uint32(value).finish() };
}

/** Nothing for zeros, an LZ4 block where that is shorter, else the bytes as they are. */
function storedAs(raw: Buffer): Buffer {
  if (raw.every((byte) => byte === 0)) return Buffer.alloc(0);
  const block = lz4BlockOf(raw);
  return block.length < raw.length ? block : raw;
}

/** A plain LZ4 compressor: runs of one byte become matches of distance 1, all else literals. */
export function lz4BlockOf(raw: Uint8Array): Buffer {
  const parts: number[] = [];
  const lengthOf = (value: number): number[] => {
    if (value < 15) return [];
    const more: number[] = [];
    let rest = value - 15;
    for (; rest >= 255; rest -= 255) more.push(255);
    return [...more, rest];
  };
  let literals = 0;
  let at = 0;
  // The last five bytes are literals, and the last match begins twelve before the end.
  while (at < raw.length - 12) {
    let end = at + 1;
    while (end < raw.length - 5 && raw[end] === raw[at]) end++;
    const match = end - at - 1;
    if (match < 16) {
      at++;
      continue;
    }
    const count = at + 1 - literals;
    parts.push((Math.min(count, 15) << 4) | Math.min(match - 4, 15), ...lengthOf(count), ...raw.subarray(literals, at + 1), 1, 0);
    parts.push(...lengthOf(match - 4));
    at = literals = end;
  }
  const count = raw.length - literals;
  return Buffer.from([...parts, Math.min(count, 15) << 4, ...lengthOf(count), ...raw.subarray(literals)]);
}
