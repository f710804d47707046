// SPDX-License-Identifier: Apache-2.0
/** Values of rows as text, by the metadata that the spec gives each field. */
import type { FieldSpec, RecordSpec } from "../../bytes/record-spec.js";
import { signalName, signalSetNames, sockaddrText } from "./names.js";

/** Bytes shown of a byte string in text; JSON has all. */
const shownBytes = 24;

function bytesText(bytes: Uint8Array, format: FieldSpec["format"]): string {
  if (bytes.length === 0) return "-";
  if (format === "sockaddr") return sockaddrText(bytes);
  if (format === "u4_array") {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Array.from({ length: bytes.length >> 2 }, (_, index) => view.readUInt32LE(4 * index)).join(",");
  }
  const hex = Buffer.from(bytes.subarray(0, shownBytes)).toString("hex");
  return bytes.length > shownBytes ? `${hex}… (${bytes.length} bytes)` : hex;
}

/** ISO time of nanoseconds since 1970; `-` for 0. */
export function timeText(ns: bigint): string {
  if (ns === 0n) return "-";
  const date = new Date(Number(ns / 1_000_000n));
  return Number.isNaN(date.getTime()) ? String(ns) : date.toISOString();
}

/** Names of the bits set; unknown bits as a hex rest; `-` for none. */
export function flagsText(value: bigint, flags: Readonly<Record<string, number>>): string {
  let rest = value;
  const names: string[] = [];
  for (const [name, bit] of Object.entries(flags)) {
    if ((value >> BigInt(bit)) & 1n) {
      names.push(name);
      rest &= ~(1n << BigInt(bit));
    }
  }
  if (rest !== 0n) names.push(`0x${rest.toString(16)}`);
  return names.length === 0 ? "-" : names.join(" ");
}

/** One value of a field. */
export function valueText(field: FieldSpec, value: unknown): string {
  if (value === null || value === undefined) return "-";
  if (Array.isArray(value)) return value.map((one: unknown) => valueText(field, one)).join(" ");
  if (value instanceof Uint8Array) return bytesText(value, field.format);
  if (typeof value === "string") return value === "" ? "-" : value;
  if (field.record !== undefined && typeof value === "object") {
    return recordText(field.record, value as Readonly<Record<string, unknown>>);
  }
  if (typeof value !== "number" && typeof value !== "bigint") return String(value);
  if (field.ref !== undefined) return `#${value}`;
  const big = BigInt(value);
  if (field.flags !== undefined) return flagsText(big, field.flags);
  switch (field.format) {
    case "hex":
      return big < 0n ? String(big) : `0x${big.toString(16)}`;
    case "octal":
      return `0${big.toString(8)}`;
    case "signal":
      return signalName(Number(big));
    case "signal_set":
      return signalSetNames(big);
    case "time_ns":
      return timeText(big);
    default:
      return String(value);
  }
}

/** `a=1 b=2` of a nested record. */
export function recordText(record: RecordSpec, value: Readonly<Record<string, unknown>>): string {
  return record.fields.map((field) => `${field.id}=${valueText(field, value[field.name])}`).join(" ");
}
