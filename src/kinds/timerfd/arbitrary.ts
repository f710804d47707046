// SPDX-License-Identifier: Apache-2.0
/** A timerfd, armed or not. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow, timerfdRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({
    clock: fc.constantFrom(0, 1, 7),
    ticks: fc.bigInt({ min: 0n, max: 9n }),
    valueNs: fc.bigInt({ min: 0n, max: 10n ** 12n }),
    intervalNs: fc.bigInt({ min: 0n, max: 10n ** 12n }),
  }),
  ({ tables, hold }, plan) => {
    const detail = tables.timerfds.push(timerfdRow(plan)) - 1;
    hold(tables.files.push(openFileRow({ kind: "timerfd", detail, flags: 2 })) - 1);
  },
);
