// SPDX-License-Identifier: Apache-2.0
/** Names that nobody else has. */
import { closeSync, openSync, readSync } from "node:fs";
import { randomBytes } from "node:crypto";

/**
 * Random hexadecimal digits, two for each byte. The kernel gives them at once; Node's cryptography takes as long to start as the
 * dump of a small program, and is asked only where there is no /dev/urandom.
 */
export function randomDigits(bytes: number): string {
  const buffer = Buffer.alloc(bytes);
  try {
    const fd = openSync("/dev/urandom", "r");
    try {
      if (readSync(fd, buffer) === bytes) return buffer.toString("hex");
    } finally {
      closeSync(fd);
    }
  } catch {
    // A private /dev need not have it.
  }
  return randomBytes(bytes).toString("hex");
}
