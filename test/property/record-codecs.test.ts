// SPDX-License-Identifier: Apache-2.0
/** Every record of every spec obeys the laws of codecs (test/support/codec-laws.ts). fast-check prints the seed of a failure. */
import test from "node:test";
import { allCodecCases } from "../support/gen/all.js";

for (const { name, readsWhatItWrote, writesWhatItRead, judgesAnyBytes, refusesShortInput } of allCodecCases) {
  test(`${name}: read after write is the row`, readsWhatItWrote);
  test(`${name}: write after read is the bytes`, writesWhatItRead);
  test(`${name}: any bytes are judged`, judgesAnyBytes);
  test(`${name}: short input is refused`, refusesShortInput);
}
