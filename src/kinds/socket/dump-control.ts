// SPDX-License-Identifier: Apache-2.0
/** Control messages of what was received (cmsg(3)). */
import type { ReceivedMessage } from "../../native/index.js";

export interface ControlMessage {
  readonly level: number;
  readonly type: number;
  readonly data: Buffer;
}

export function* controlMessages({ control }: ReceivedMessage): Generator<ControlMessage> {
  // struct cmsghdr: u8 length with itself, s4 level, s4 type
  for (let at = 0; at + 16 <= control.length; ) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < 16 || at + length > control.length) return;
    yield { level: control.readInt32LE(at + 8), type: control.readInt32LE(at + 12), data: control.subarray(at + 16, at + length) };
    at += (length + 7) & ~7;
  }
}
