// SPDX-License-Identifier: Apache-2.0
/** Two ends of one TCP connection, which were looked at one after the other, agree afterwards. */
import assert from "node:assert/strict";
import test from "node:test";
import { type TcpConnectionRow, tcpConnectionRow, type TcpState } from "../../src/gen/tables.js";
import { asPeerHasIt, firstBytes } from "../../src/state/tcp.js";

const bytes = Buffer.from("0123456789");

/** Ten bytes in the send queue, the first of them number `first`; four have not been sent. */
const sender = (first: number, tcpState: TcpState = "established"): TcpConnectionRow =>
  tcpConnectionRow({ tcpState, sendSeq: (first + 10) >>> 0, sendQueue: bytes, numUnsent: 4 });
const receiver = (next: number): TcpConnectionRow => tcpConnectionRow({ tcpState: "established", receiveSeq: next >>> 0 });

for (const first of [1000, 0xffff_fffc]) {
  test(`what the peer has received is acknowledged, and the rest not sent (from ${first})`, () => {
    for (const received of [0, 1, 6, 9, 10]) {
      const agreed = asPeerHasIt(sender(first), receiver(first + received));
      assert.equal(Buffer.from(agreed.sendQueue).toString(), bytes.subarray(received).toString());
      assert.equal(agreed.numUnsent, 10 - received);
      assert.equal(agreed.sendSeq, sender(first).sendSeq);
      assert.equal(firstBytes(agreed).send, (first + received) >>> 0);
    }
  });
}

test("an end stays as it is whose peer is outside, or tells what cannot be, or that has sent its last byte", () => {
  const row = sender(1000);
  assert.equal(asPeerHasIt(row, undefined), row);
  assert.equal(asPeerHasIt(row, receiver(999)), row);
  assert.equal(asPeerHasIt(row, receiver(1011)), row);
  const ending = sender(1000, "fin_wait1");
  assert.equal(asPeerHasIt(ending, receiver(1005)), ending);
});
