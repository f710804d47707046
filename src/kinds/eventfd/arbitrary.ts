// SPDX-License-Identifier: Apache-2.0
/** An eventfd of either mode. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { eventfdRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({ count: fc.bigInt({ min: 0n, max: (1n << 64n) - 2n }), isSemaphore: fc.nat(1) }),
  ({ tables, hold }, plan) => {
    const detail = tables.eventfds.push(eventfdRow(plan)) - 1;
    hold(tables.files.push(openFileRow({ kind: "eventfd", detail, flags: 2 })) - 1);
  },
);
