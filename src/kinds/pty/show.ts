// SPDX-License-Identifier: Apache-2.0
/** Pseudoterminals of the tree: which end of which. */
import type { FileShow } from "../../ops/show/file-kind.js";

export const show: FileShow = {
  saysMore: true,
  describe: ({ tables }, file) => {
    const terminal = file.detail === null ? undefined : tables.terminals[file.detail];
    if (terminal === undefined) return "pty";
    if (terminal.kind === "device") return `terminal ${file.object === null ? "" : (tables.objects[file.object]?.path ?? "")}`;
    if (terminal.kind === "hung_up") return `/dev/pts/${terminal.index}, hung up`;
    const isMaster = terminal.master !== null && tables.files[terminal.master] === file;
    const waiting = isMaster ? terminal.output.length : terminal.input.length;
    const size = `${terminal.columns}x${terminal.rows}`;
    return `${isMaster ? "master of " : ""}/dev/pts/${terminal.index}, ${size}${waiting > 0 ? `, ${waiting} bytes to read` : ""}`;
  },
};
