// SPDX-License-Identifier: Apache-2.0
/** A pidfd of the task itself, or of a process that is gone. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(fc.boolean(), ({ tables, pid, hold }, isAlive) => {
  hold(tables.files.push(openFileRow({ kind: "pidfd", detail: isAlive ? pid : null, flags: 2 })) - 1);
});
