// SPDX-License-Identifier: Apache-2.0
/** Standard streams that are the caller's to give again when the image is run. */
import { type Description, stdioNumber } from "../../dump/fds/context.js";
import type { DerivedKind, FileFields } from "../../dump/fds/kind.js";

export const dump: DerivedKind = { madeBy: ["path", "pipe", "socket", "tty"] };

/** Fields of a description that is standard input, output or error of some task; undefined if it is not. */
export function inherited(description: Description, fields: Partial<FileFields> = {}): FileFields | undefined {
  const number = stdioNumber(description);
  return number === undefined ? undefined : { ...fields, kind: "inherited", detail: number };
}
