// SPDX-License-Identifier: Apache-2.0
/** Where in an executable image a row or field lies, so that findings about the model point into the file. */
import { FileBytes } from "../bytes/random-bytes.js";
import type { FieldSpec } from "../bytes/record-spec.js";
import { readElfHeader, readProgramHeaders, readSegment } from "../elf/headers.js";
import { readTableDirectory } from "../elf/table-directory.js";
import { tableSpecs } from "../gen/tables.js";
import type { RowPlace } from "./finding.js";

export interface FieldPlace {
  /** Such as `tasks[0].pgid`. */
  readonly path: string;
  /** Absolute offset of the field (or the row) in the file, where it is known. */
  readonly offset?: bigint;
  /** Bytes of it. */
  readonly length?: number;
}

/** Turns rows into places. */
export type Locator = (place: RowPlace) => FieldPlace;

/** PT_CKPT_TABLES (SPEC 2). */
const segmentTables = 0x61010105;

/** `regs.ip` is a field in a field. */
function fieldAt(fields: readonly FieldSpec[], id: string): { readonly offset: number; readonly size: number } | undefined {
  const [first, ...rest] = id.split(".");
  const field = fields.find((one) => one.id === first);
  if (field === undefined || rest.length === 0) return field;
  const inner = fieldAt(field.record?.fields ?? [], rest.join("."));
  return inner === undefined ? undefined : { offset: field.offset + inner.offset, size: inner.size };
}

/** Paths only: for formats whose rows lie nowhere as such. */
export const pathLocator: Locator = ({ table, row, field }) => {
  const id = tableSpecs.find((spec) => spec.table === table)?.tableId ?? table;
  return { path: `${id}[${row}]${field === undefined ? "" : `.${field}`}` };
};

/** Offsets in an image of format ckpt-elf; paths only if its tables cannot be found. */
export function imageLocator(path: string): Locator {
  const file = FileBytes.open(path);
  try {
    const segment = readProgramHeaders(file, readElfHeader(file)).find(({ pType }) => pType === segmentTables);
    if (segment === undefined) return pathLocator;
    const bytes = readSegment(file, segment, "tables");
    const directory = readTableDirectory(bytes, { source: path, base: segment.pOffset });
    return (place) => {
      const spec = tableSpecs.find((one) => one.table === place.table);
      const location = directory.tables.find((one) => one.kind === spec?.kind);
      const found = pathLocator(place);
      if (spec === undefined || location === undefined || place.row >= location.rowCount) return found;
      const field = place.field === undefined ? { offset: 0, size: location.rowLength } : fieldAt(spec.fields, place.field);
      const row = segment.pOffset + BigInt(location.offset + place.row * location.rowLength);
      return { ...found, offset: row + BigInt(field?.offset ?? 0), ...(field === undefined ? {} : { length: field.size }) };
    };
  } catch {
    return pathLocator;
  } finally {
    file.close();
  }
}
