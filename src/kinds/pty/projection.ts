// SPDX-License-Identifier: Apache-2.0
/** The end, and what can be read from it. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, file) => {
  const terminal = tables.terminals[file.detail ?? -1];
  const isMaster = terminal?.master != null && tables.files[terminal.master] === file;
  const bytes = isMaster ? terminal.output : terminal?.input;
  return { index: terminal?.index, isMaster, bytes: Buffer.from(bytes ?? []).toString("latin1"), rows: terminal?.rows };
};
