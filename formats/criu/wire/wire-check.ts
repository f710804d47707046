// SPDX-License-Identifier: Apache-2.0
/**
 * Judges a protobuf message before it is decoded: lengths against the bytes that are there, and the number of
 * values, since a decoder turns two hostile bytes into an object of a hundred.
 */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** What is wrong, and where in the message. */
export interface WireFault {
  /** Offset in the message. */
  readonly offset: number;
  /** Field names from the message down, such as `thread_core.creds`; numbers for unknown fields. */
  readonly path: string;
  readonly problem: string;
}

/** Values (fields and elements) that one message may have. */
export const maxValues = 4_000_000;

/** Undefined if the message can be decoded safely. */
export function checkWire(schema: DescMessage, bytes: Uint8Array): WireFault | undefined {
  const budget = { left: maxValues };
  return walk(schema, bytes, 0, bytes.length, "", budget);
}

function walk(
  schema: DescMessage,
  bytes: Uint8Array,
  start: number,
  end: number,
  prefix: string,
  budget: { left: number },
): WireFault | undefined {
  let at = start;
  while (at < end) {
    const tagAt = at;
    const tag = readVarint(bytes, at, end);
    if (tag === undefined) return { offset: tagAt, path: prefix, problem: "a field tag is cut off" };
    at = tag.next;
    const number = Math.floor(tag.value / 8);
    const wireType = tag.value % 8;
    const field = schema.fields.find((candidate) => candidate.number === number);
    const path = prefix === "" ? (field?.name ?? String(number)) : `${prefix}.${field?.name ?? number}`;
    const fault = (problem: string): WireFault => ({ offset: tagAt, path, problem });
    if (number < 1 || number > 0x1fffffff) return fault(`field number ${number} does not exist`);
    if (--budget.left < 0) return fault(`more than ${maxValues} values`);
    if (field && !acceptsWireType(field, wireType)) return fault(`wire type ${wireType} is not that of the field`);
    switch (wireType) {
      case 0: {
        const value = readVarint(bytes, at, end);
        if (value === undefined) return fault("an integer is cut off or too long");
        at = value.next;
        break;
      }
      case 1:
        at += 8;
        break;
      case 5:
        at += 4;
        break;
      case 2: {
        const length = readVarint(bytes, at, end);
        if (length === undefined) return fault("a length is cut off");
        at = length.next;
        if (length.value > end - at) return fault(`length ${length.value} reaches ${length.value - (end - at)} bytes past the end`);
        if (field?.message) {
          const inner = walk(field.message, bytes, at, at + length.value, path, budget);
          if (inner) return inner;
        } else if (field?.fieldKind === "list" && field.listKind === "scalar") {
          budget.left -= length.value;
          if (budget.left < 0) return fault(`more than ${maxValues} values`);
        }
        at += length.value;
        break;
      }
      default:
        return fault(`wire type ${wireType} is not used in images`);
    }
    if (at > end) return fault("a value is cut off");
  }
  return undefined;
}

/** Wire types of a field: 2 for what has a length (packed lists among it), 1 for eight bytes, 0 for integers. */
function acceptsWireType(field: DescField, wireType: number): boolean {
  if (field.message) return wireType === 2;
  if (field.fieldKind === "list" && wireType === 2) return true;
  switch (field.scalar) {
    case ScalarType.BYTES:
    case ScalarType.STRING:
      return wireType === 2;
    case ScalarType.FIXED64:
      return wireType === 1;
    default:
      return wireType === 0;
  }
}

/** A varint as a number (saturating: only lengths and tags are looked at). */
function readVarint(bytes: Uint8Array, at: number, end: number): { value: number; next: number } | undefined {
  let value = 0;
  let scale = 1;
  for (let index = at; index < end && index < at + 10; index++) {
    const byte = bytes[index] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, next: index + 1 };
    scale *= 128;
  }
  return undefined;
}
