// SPDX-License-Identifier: Apache-2.0
/**
 * crimg as a library. See docs/library.md.
 *
 *     import { open, convert, formats } from "crimg";
 */
import { registry } from "../formats/registry.js";
import type { FacetName, FacetSupport } from "./adapter/format.js";
import { fromSystemError } from "./errors/render.js";
import { convert as convertWith, type ConvertOptions as ConvertWith, type ConvertReport } from "./ops/convert.js";
import { openCheckpoint, type OpenedCheckpoint, type OpenOptions } from "./ops/open.js";

export type { FacetName, FacetSupport, Loss } from "./adapter/format.js";
export { CrimgError, type CrimgErrorFields, type Location } from "./errors/crimg-error.js";
export type * from "./gen/tables.js";
export { Checkpoint } from "./model/checkpoint.js";
export type { ByteRange, PageSource } from "./model/page-source.js";
export type { ConvertReport } from "./ops/convert.js";
export { OpenedCheckpoint, Task } from "./ops/open.js";
export type { DescriptorInfo, MappingInfo, OpenOptions, TaskMemory, ThreadInfo } from "./ops/open.js";
export type { MemoryRun, RunOrigin } from "./pages/memory-view.js";

export type ConvertOptions = Omit<ConvertWith, "registry">;

/** What a format is and can. */
export interface FormatInfo {
  /** What `from` and `to` take. */
  readonly id: string;
  readonly title: string;
  readonly canRead: boolean;
  readonly canWrite: boolean;
  readonly facets: Readonly<Record<FacetName, FacetSupport>>;
}

/** What the system refuses (no space, no permission) becomes a CrimgError too. */
async function inWords<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    throw fromSystemError(error);
  }
}

/** Opens a checkpoint of any format. Close it when done. Throws CrimgError. */
export function open(path: string, options: OpenOptions = {}): Promise<OpenedCheckpoint> {
  return inWords(openCheckpoint(path, { ...options, registry }));
}

/**
 * Turns a checkpoint into another format. The format of the output follows from its name, or from `to`.
 * @returns what was lost, among others. Throws CrimgError, `convert.loss` under `strict`.
 */
export function convert(input: string, output: string, options: ConvertOptions = {}): Promise<ConvertReport> {
  return inWords(convertWith(input, output, { ...options, registry }));
}

/** The formats of this build. */
export async function formats(): Promise<readonly FormatInfo[]> {
  const adapters = await Promise.all(registry.ids.map((id) => registry.load(id)));
  return adapters.map(({ id, title, facets, read, write }) => ({
    id,
    title,
    facets,
    canRead: read !== undefined,
    canWrite: write !== undefined,
  }));
}
