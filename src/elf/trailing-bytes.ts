// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes behind the fields that this version knows of a row's record. They belong to the row object: a row that is
 * carried into another checkpoint as it is keeps them; a copy with changed fields loses them, since nobody here can
 * say whether they would still be true.
 */
const trailing = new WeakMap<object, Uint8Array>();
let areAny = false;

/** Whether any row ever had such bytes: if none had, thousands need not be asked. */
export function haveTrailingBytes(): boolean {
  return areAny;
}

/** What a newer writer put behind the known fields of this row; undefined if nothing. */
export function trailingBytesOf(row: object): Uint8Array | undefined {
  return trailing.get(row);
}

export function setTrailingBytes(row: object, bytes: Uint8Array): void {
  areAny = true;
  trailing.set(row, bytes);
}
