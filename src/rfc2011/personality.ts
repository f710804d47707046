// SPDX-License-Identifier: Apache-2.0
/**
 * task_personality as the tool of 2011 wrote it: it gave the hexadecimal text of /proc/PID/personality to atoi(), so
 * 0x00040000 became the decimal number 40000. Reading takes the digits back; bits above 9 in a digit are lost.
 */

/** What atoi() makes of the eight hexadecimal digits: their leading decimal ones. */
export function encodePersonality(personality: number): number {
  const digits = personality.toString(16).padStart(8, "0");
  return Number(/^\d*/.exec(digits)?.[0] || "0");
}

/** Bits that a personality can have: the execution domain, and the flags from UNAME26 to ADDR_LIMIT_3GB. */
const knownBits = 0x0ffe00ff;

/** The personality of a stored number; 0 if it is not a valid one. */
export function decodePersonality(stored: number): number {
  const personality = Number.parseInt(String(stored), 16);
  return personality <= 0xffff_ffff && (personality & ~knownBits) === 0 ? personality : 0;
}
