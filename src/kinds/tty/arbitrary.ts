// SPDX-License-Identifier: Apache-2.0
/** A second description of the terminal on standard input. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { objectRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(fc.nat(9), ({ tables, hold }, minor) => {
  const path = `/dev/pts/${minor}`;
  const object =
    tables.objects.push(objectRow({ kind: "char_device", path, mode: 0o020620, nlink: 1, rdevMajor: 136, rdevMinor: minor })) - 1;
  hold(tables.files.push(openFileRow({ kind: "tty", detail: 0, object, flags: 2 })) - 1);
});
