// SPDX-License-Identifier: Apache-2.0
/** What every image of this format begins with: ids, and the recognition of its segments. */
import type { ProgramHeader } from "../../src/gen/elf64.js";
import { segmentTypeValues } from "../../src/gen/elf64.js";

export const formatId = "ckpt-elf";
export const pageSize = 4096n;

export interface ImageSegments {
  readonly tables: ProgramHeader | undefined;
  readonly program: ProgramHeader | undefined;
  readonly extents: ProgramHeader | undefined;
}

export function segmentsOf(headers: readonly ProgramHeader[]): ImageSegments {
  const find = (type: number) => headers.find((header) => header.pType === type);
  return {
    tables: find(segmentTypeValues.ckpt_tables),
    program: find(segmentTypeValues.ckpt_program),
    extents: find(segmentTypeValues.ckpt_extents),
  };
}
