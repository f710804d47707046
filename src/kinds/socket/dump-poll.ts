// SPDX-License-Identifier: Apache-2.0
/** What poll(2) says of a socket at once. */
import { tryCall } from "../../native/index.js";

/** Bits of poll.h. */
export const pollEvent = { PRI: 2, RDHUP: 0x2000 } as const;

export function polls(fd: number, event: number): boolean {
  // struct pollfd: s4 descriptor, s2 events, s2 what is there of them
  const pollfd = Buffer.alloc(8);
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(event, 4);
  return tryCall("poll", pollfd, 1, 0) > 0 && (pollfd.readInt16LE(6) & event) !== 0;
}
