// SPDX-License-Identifier: Apache-2.0
/** Both ends of a pipe with bytes in flight. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, pipeRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(fc.uint8Array({ maxLength: 40 }), ({ tables, hold }, data) => {
  const detail = tables.pipes.push(pipeRow({ ino: BigInt(9000 + tables.pipes.length), capacity: 65536, data })) - 1;
  for (const flags of [0, 1]) hold(tables.files.push(openFileRow({ kind: "pipe", detail, flags })) - 1);
});
