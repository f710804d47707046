// SPDX-License-Identifier: Apache-2.0
/** A pseudoterminal with both ends, and something to read on each. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { termiosLength } from "../../linux/termios.js";
import { objectRow, openFileRow, terminalRow } from "../../gen/tables.js";

const parts = fc.record({
  input: fc.uint8Array({ maxLength: 30 }),
  output: fc.uint8Array({ maxLength: 30 }),
  termios: fc.uint8Array({ minLength: termiosLength, maxLength: termiosLength }),
  rows: fc.nat(200),
});

export const arbitrary = fileArbitrary(parts, ({ tables, hold }, fields) => {
  const index = 100 + tables.terminals.length;
  const device = (path: string, rdevMajor: number, rdevMinor: number): number =>
    tables.objects.push(objectRow({ kind: "char_device", path, mode: 0o020620, nlink: 1, rdevMajor, rdevMinor })) - 1;
  const detail = tables.terminals.push(terminalRow({ kind: "pty", index, mode: 0o020620, ...fields })) - 1;
  const master = tables.files.push(openFileRow({ kind: "pty", detail, object: device("/dev/ptmx", 5, 2), flags: 2 })) - 1;
  const slave = tables.files.push(openFileRow({ kind: "pty", detail, object: device(`/dev/pts/${index}`, 136, index), flags: 2 })) - 1;
  tables.terminals[detail] = terminalRow({ kind: "pty", index, mode: 0o020620, ...fields, master });
  hold(master);
  hold(slave);
});
