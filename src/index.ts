// SPDX-License-Identifier: Apache-2.0
/**
 * crimg as a library: open checkpoints of any format, look at tasks and memory, convert, and see what is lost.
 *
 * @module crimg
 * @example
 * ```js
 * import { open, convert, formats } from "crimg";
 * ```
 */
import { registry } from "../formats/registry.js";
import { formatInfo, type FormatInfo } from "./adapter/format-info.js";
import { fromSystemError } from "./errors/render.js";
import { convert as convertWith, type ConvertOptions as ConvertWith, type ConvertReport } from "./ops/convert.js";
import { openCheckpoint, type OpenedCheckpoint, type OpenOptions } from "./ops/open.js";

export { type FacetName, type FacetSupport, facetNames, type Loss } from "./adapter/format.js";
export type { FormatInfo } from "./adapter/format-info.js";
export type { EnumSpec, FieldFormat, FieldSpec, RecordSpec, WireType } from "./bytes/record-spec.js";
export { CrimgError, type CrimgErrorFields, type ExitStatus, exitStatus, type Location } from "./errors/crimg-error.js";
export type * from "./gen/tables.js";
export type { StoredChunks } from "./model/stored-chunks.js";
export { Checkpoint, type CheckpointParts, type ExtentOwner, type UnknownTable } from "./model/checkpoint.js";
export type { ByteRange, CopyWatch, PageSource } from "./model/page-source.js";
export type { ConvertReport } from "./ops/convert.js";
export { OpenedCheckpoint, Task } from "./ops/open.js";
export type { DescriptorInfo, MappingInfo, OpenOptions, TaskMemory, ThreadInfo } from "./ops/open.js";
export type { AbsentRun, FileRun, MemoryRun, RunOrigin, StoredRun, ZeroRun } from "./pages/memory-view.js";

/** What {@link convert} takes beside input and output; each has its option of `crimg convert`. */
export interface ConvertOptions extends Omit<ConvertWith, "registry"> {}

/** What the system refuses (no space, no permission) becomes a CrimgError too. */
async function inWords<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    throw fromSystemError(error);
  }
}

/**
 * Opens a checkpoint of any format, which is recognised by content. Reads what describes the processes, never their pages.
 * Close it when done.
 * @param path a file or a directory; compressed files and members of archives are opened too
 * @throws {@link CrimgError} `input.*` (not there, not readable, of no known format), `<format>.*` with the place in the file
 */
export function open(path: string, options: OpenOptions = {}): Promise<OpenedCheckpoint> {
  return inWords(openCheckpoint(path, { ...options, registry }));
}

/**
 * Turns a checkpoint into another format. The format of the output follows from its name, or from `to`. The output gets its
 * name when it is whole.
 * @returns formats and losses: what the output does not hold
 * @throws {@link CrimgError} `convert.loss` under `strict`, `output.*`, and what {@link open} throws
 */
export function convert(input: string, output: string, options: ConvertOptions = {}): Promise<ConvertReport> {
  return inWords(convertWith(input, output, { ...options, registry }));
}

/** The formats of this build, and how each holds the parts of a checkpoint. */
export async function formats(): Promise<readonly FormatInfo[]> {
  const adapters = await Promise.all(registry.ids.map((id) => registry.load(id)));
  return adapters.map(formatInfo);
}
