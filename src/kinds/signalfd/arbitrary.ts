// SPDX-License-Identifier: Apache-2.0
/** A signalfd of any mask. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, signalfdRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), ({ tables, hold }, mask) => {
  const detail = tables.signalfds.push(signalfdRow({ mask })) - 1;
  hold(tables.files.push(openFileRow({ kind: "signalfd", detail, flags: 2 })) - 1);
});
