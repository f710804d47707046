// SPDX-License-Identifier: Apache-2.0
/** A file of the host at some position. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ pos: fc.nat(60_000), isCloexec: fc.boolean() }),
  ({ tables, dataObject, hold }, { pos, isCloexec }) => {
    const file = tables.files.push(openFileRow({ kind: "path", object: dataObject, flags: 0o100000, pos: BigInt(pos) })) - 1;
    hold(file, { isCloexec });
  },
);
