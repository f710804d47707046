// SPDX-License-Identifier: Apache-2.0
/** An instance that watches a file. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { inotifyEventRow, inotifyWatchRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ wd: fc.integer({ min: 1, max: 0x7fff_fffe }), mask: fc.constantFrom(2, 0xfff, 0x8000_0002), hasEvent: fc.boolean() }),
  ({ tables, dataObject, hold }, { wd, mask, hasEvent }) => {
    const file = tables.files.push(openFileRow({ kind: "inotify", flags: 0o4000 })) - 1;
    hold(file);
    tables.inotifyWatches.push(inotifyWatchRow({ file, wd, mask, object: dataObject }));
    if (hasEvent) tables.inotifyEvents.push(inotifyEventRow({ file, wd, mask: 2 }));
  },
);
