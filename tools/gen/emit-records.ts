/** src/gen/<spec>.ts of specs without tables: types and factories. */
import type { RecordType, Spec } from "./ir.js";
import { emitEnumsAndConstants, emitFlagMasks, emitRecordType, needsNoBytes } from "./emit-types.js";
import { header, sourceOf } from "./source.js";

export function emitRecords(spec: Spec): string {
  const records: readonly RecordType[] = spec.records;
  let text = header([sourceOf(spec)]);
  if (needsNoBytes(records)) text += "const noBytes = new Uint8Array(0);\n";
  text += "\n" + emitEnumsAndConstants(spec);
  for (const record of records) text += emitFlagMasks(record);
  return text + "\n" + records.map(emitRecordType).join("\n");
}
