// SPDX-License-Identifier: Apache-2.0
/** A group with a mark on a file. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { fanotifyGroupRow, fanotifyMarkRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({
    mask: fc.constantFrom(2n, 0x20n, 0n),
    ignoredMask: fc.constantFrom(0n, 8n),
    kind: fc.constantFrom("inode" as const, "mount" as const),
  }),
  ({ tables, dataObject, hold }, { mask, ignoredMask, kind }) => {
    const detail = tables.fanotifyGroups.push(fanotifyGroupRow({ flags: 3, eventFlags: 0o100000 })) - 1;
    const file = tables.files.push(openFileRow({ kind: "fanotify", detail, flags: 0o4002 })) - 1;
    hold(file);
    tables.fanotifyMarks.push(
      fanotifyMarkRow({ file, kind, object: dataObject, mask: mask === 0n && ignoredMask === 0n ? 1n : mask, ignoredMask }),
    );
  },
);
