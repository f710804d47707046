// SPDX-License-Identifier: Apache-2.0
/** Checkpoint ELF, version 2: one file that is document, pages and executable at once. */
import type { FormatAdapter, ProbeInput } from "../../src/adapter/format.js";
import { facetNames } from "../../src/adapter/format.js";
import { segmentTypeValues } from "../../src/gen/elf64.js";
import { bundleLosses } from "./bundle.js";
import { formatId } from "./image-header.js";
import { readImage } from "./read.js";

/** A 64-bit ELF file one of whose program headers is PT_CKPT_TABLES. */
function probe({ head }: ProbeInput): boolean {
  if (head.length < 64 || Buffer.from(head.subarray(0, 6)).toString("latin1") !== "\x7fELF\x02\x01") return false;
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const offset = view.getBigUint64(32, true);
  const [size, count] = [view.getUint16(54, true), view.getUint16(56, true)];
  if (size !== 56 || offset > BigInt(head.length)) return false;
  for (let index = 0; index < count; index++) {
    const at = Number(offset) + index * size;
    if (at + size > head.length) return false;
    if (view.getUint32(at, true) === segmentTypeValues.ckpt_tables) return true;
  }
  return false;
}

export const format: FormatAdapter = {
  id: formatId,
  title: "checkpoint ELF, version 2 (an executable image)",
  shape: "file",
  isExecutable: true,
  knowsZeroPages: true,
  canHaveParent: true,
  facets: Object.fromEntries(facetNames.map((name) => [name, "exact" as const])) as FormatAdapter["facets"],
  probe,
  read: async (path, options) => readImage(path, options),
  losses: (checkpoint, { bundle }) => (bundle === true ? bundleLosses(checkpoint) : []),
  pagesBegin: async () => (await import("./write.js")).pagesBegin(),
  practise: async (checkpoint) => (await import("./write.js")).practise(checkpoint),
  async write(checkpoint, output, options) {
    // Lowering is a third of crimg's code: who only reads an image should not wait for it.
    const { writeImage } = await import("./write.js");
    await writeImage(checkpoint, output, options);
  },
};
