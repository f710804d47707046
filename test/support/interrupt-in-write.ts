// SPDX-License-Identifier: Apache-2.0
/** Preloaded into crimg: sends it SIGINT as soon as the target stands frozen (its first pages are scanned). */
import { addon } from "../../src/native/addon.js";

const native = addon();
const original = native.syscall.bind(native);
const PAGEMAP_SCAN = 0xc0606610;
let isSent = false;
native.syscall = (number, ...args) => {
  if (!isSent && args[1] === PAGEMAP_SCAN) {
    isSent = true;
    process.kill(process.pid, "SIGINT");
  }
  return original(number, ...args);
};
