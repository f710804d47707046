// SPDX-License-Identifier: Apache-2.0
/** A set that watches an eventfd. */
import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { epollParametersRow, epollWatchRow, eventfdRow, openFileRow } from "../../gen/tables.js";

export const arbitrary = fileArbitrary(
  fc.record({
    events: fc.constantFrom(1, 0x8000_0005, 0x4000_0001),
    data: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    busyPollUsecs: fc.nat(1),
  }),
  ({ tables, hold }, { busyPollUsecs, ...plan }) => {
    const epoll = tables.files.push(openFileRow({ kind: "epoll", flags: 2 })) - 1;
    hold(epoll);
    if (busyPollUsecs > 0) tables.epollParameters.push(epollParametersRow({ epoll, busyPollUsecs, busyPollBudget: 16 }));
    const detail = tables.eventfds.push(eventfdRow()) - 1;
    const file = tables.files.push(openFileRow({ kind: "eventfd", detail, flags: 2 })) - 1;
    tables.epollWatches.push(epollWatchRow({ epoll, fd: hold(file), file, ...plan }));
  },
);
