// SPDX-License-Identifier: Apache-2.0
/** The three standard streams. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(fc.constant("0, 1, 2"), ({ tables, hold }) => {
  for (let fd = 0; fd < 3; fd++)
    hold(tables.files.push(openFileRow({ kind: "inherited", detail: fd, flags: fd === 0 ? 0 : 1 })) - 1, { fd });
});
