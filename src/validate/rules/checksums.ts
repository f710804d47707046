// SPDX-License-Identifier: Apache-2.0
/** Rules about the checksums of a version 2 image (SPEC 7.1): they cover the whole file, and they are right. */
import { checksumOf } from "../../pages/checksum.js";
import { segmentsOf } from "../../../formats/ckpt-elf/image-header.js";
import { innerRanges, sumOfRest, sumOfTables } from "../../../formats/ckpt-elf/sums.js";
import type { ExtentRow } from "../../gen/tables.js";
import { endOfFrames } from "../../model/stored-frames.js";
import type { StoredChunks } from "../../model/stored-chunks.js";
import type { Problem, Rule } from "../finding.js";
import { hex } from "../model-context.js";
import type { Container } from "./container.js";

type ContainerRule = Rule<Container>;

function checksumRule(
  rule: Pick<ContainerRule, "code" | "severity" | "summary">,
  check: (container: Container) => Iterable<Problem>,
): ContainerRule {
  return { ...rule, spec: "SPEC 7.1", profile: "format", check };
}

const sumText = (sum: number): string => `0x${sum.toString(16).padStart(8, "0")}`;
const hint = "copy the image again from where it is whole, or dump again";
const pageSize = 4096;
/** Longest chunk, bytes. */
const maxChunk = 1 << 20;

function* sumProblem(container: Container, path: string, offset: bigint, what: string, stored: number, actual: number): Generator<Problem> {
  if (stored === actual) return;
  const at = (segmentsOf(container.segments).tables?.pOffset ?? 0n) + offset;
  yield {
    message: `${what}: the checksum is wrong`,
    place: { path: `tables_header.${path}`, offset: at },
    expected: sumText(stored),
    actual: sumText(actual),
    hint,
  };
}

/** What the chunks say that cannot be, by chunk. */
function* shapeProblems({ segments, plain, frames }: Container, chunks: StoredChunks): Generator<Problem> {
  const extents = segmentsOf(segments).extents;
  const start = Number(extents?.pOffset ?? 0n);
  const end = frames.length > 0 ? endOfFrames(frames) : start + Number(extents?.pFilesz ?? 0n);
  const place = (index: number): Problem["place"] => ({ path: `checksums[${index}]` });
  let next = start;
  for (let index = 0; index < chunks.count; index++) {
    const [offset, length] = [chunks.offsets[index] ?? 0, chunks.lengths[index] ?? 0];
    if (length === 0 || length % pageSize !== 0 || length > maxChunk) {
      yield {
        message: `chunk ${index} has an odd length`,
        place: place(index),
        expected: "whole pages, at most 1 MiB",
        actual: String(length),
      };
      return;
    }
    if (offset !== next) {
      yield {
        message: `chunk ${index} does not follow the one before it`,
        place: place(index),
        expected: hex(BigInt(next)),
        actual: hex(BigInt(offset)),
      };
      return;
    }
    next += length;
  }
  if (next !== end || BigInt(end) > plain.size)
    yield {
      message: "the chunks do not cover the stored bytes",
      place: { path: "checksums" },
      expected: hex(BigInt(end)),
      actual: hex(BigInt(next)),
    };
}

/** The extent that an offset of the file belongs to. */
function extentAt(extents: readonly ExtentRow[], offset: bigint): string {
  const row = extents.findIndex(
    (extent) => extent.source === 0 && extent.fileOffset <= offset && offset < extent.fileOffset + extent.length,
  );
  const extent = extents[row];
  if (extent === undefined) return "no extent";
  const address = extent.address + (offset - extent.fileOffset);
  return (
    `${extent.ownerKind === "mm" ? `address ${hex(address)} of mms` : `offset ${address} of objects`}[${extent.owner}] ` +
    `(extents[${row}])`
  );
}

export const checksumRules: readonly ContainerRule[] = [
  checksumRule(
    { code: "checksum.absent", severity: "warning", summary: "The image has checksums of its tables, its stored bytes, and the rest." },
    function* ({ sums, checkpoint }) {
      const hasAll = sums !== undefined && sums.tables !== 0 && sums.rest !== 0 && (sums.chunks || checkpoint.tables.extents.length === 0);
      if (!hasAll)
        yield {
          message: "the image has no checksums: damage of it is not noticed",
          place: { path: "tables_header" },
          hint: "crimg convert OLD NEW makes them",
        };
    },
  ),
  checksumRule(
    { code: "checksum.tables", severity: "error", summary: "The checksum of the tables segment is right." },
    function* (container) {
      const { tables, sums } = container;
      if (!sums || sums.tables === 0) return;
      yield* sumProblem(container, "sum_tables", 24n, "the tables", sums.tables, sumOfTables(tables));
    },
  ),
  checksumRule(
    { code: "checksum.rest", severity: "error", summary: "The checksum of all that is neither tables nor stored bytes is right." },
    function* (container) {
      const { file, segments, sums } = container;
      if (!sums || sums.rest === 0) return;
      const actual = sumOfRest(file, innerRanges(segmentsOf(segments)));
      yield* sumProblem(container, "sum_rest", 28n, "headers, interpreter, restore program, or what is between", sums.rest, actual);
    },
  ),
  checksumRule(
    {
      code: "checksum.chunks",
      severity: "error",
      summary: "Chunks are whole pages, ascend without gaps, and cover the stored bytes from first to last.",
    },
    function* (container) {
      if (container.sums?.chunks) yield* shapeProblems(container, container.sums.chunks);
    },
  ),
  checksumRule(
    { code: "checksum.pages", severity: "error", summary: "The checksum of each chunk of stored bytes is right." },
    function* (container) {
      const { plain, sums, checkpoint, onProgress } = container;
      const chunks = sums?.chunks;
      if (!chunks) return;
      const total = BigInt(chunks.lengths.reduce((sum, length) => sum + length, 0));
      let done = 0n;
      for (let index = 0; index < chunks.count; index++) {
        const [offset, length, stored] = [BigInt(chunks.offsets[index] ?? 0), chunks.lengths[index] ?? 0, chunks.sums[index] ?? 0];
        if (length > maxChunk || offset + BigInt(length) > plain.size) continue;
        const actual = checksumOf(plain.read(offset, length));
        done += BigInt(length);
        onProgress?.(done, total);
        if (actual === stored) continue;
        yield {
          message: `${length} stored bytes are damaged, from ${extentAt(checkpoint.tables.extents, offset)} on`,
          place: { path: `checksums[${index}]`, offset },
          expected: sumText(stored),
          actual: sumText(actual),
          hint,
        };
      }
    },
  ),
];
