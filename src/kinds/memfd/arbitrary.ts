// SPDX-License-Identifier: Apache-2.0
/** An empty memfd. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { objectRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ name: fc.stringMatching(/^[a-z ]{1,9}$/), seals: fc.constantFrom(0, 1) }),
  ({ tables, hold }, { name, seals }) => {
    const ino = BigInt(7000 + tables.objects.length);
    const object = tables.objects.push(objectRow({ kind: "memfd", path: name, mode: 0o100777, ino, seals })) - 1;
    hold(tables.files.push(openFileRow({ kind: "memfd", object, flags: 2 })) - 1);
  },
);
