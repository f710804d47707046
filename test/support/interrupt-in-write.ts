// SPDX-License-Identifier: Apache-2.0
/** Preloaded into crimg: sends it SIGINT as soon as the target stands frozen (its first pages are scanned). */
import { addon } from "../../src/native/addon.js";

const native = addon();
const original = native.findExtents.bind(native);
let isSent = false;
native.findExtents = (...args) => {
  if (!isSent) {
    isSent = true;
    process.kill(process.pid, "SIGINT");
  }
  return original(...args);
};
