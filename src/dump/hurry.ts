// SPDX-License-Identifier: Apache-2.0
/**
 * The priority of crimg while a program stands still that will run on. On a busy machine crimg would wait for its turn several times
 * in the few milliseconds that it needs, and the program with it. It takes CAP_SYS_NICE; failure only costs time.
 */
import { failed, tryCall } from "../native/index.js";

const PRIO_PROCESS = 0;
const highest = -20;
/** getpriority(2) returns 20 less the nice value, so that nothing looks like an error. */
const niceOf = (returned: number): number => 20 - returned;

/** Goes before others, as far as the system allows; returns how that ends. Only this thread does. */
export function hurry(): () => void {
  const before = tryCall("getpriority", PRIO_PROCESS, 0);
  if (failed(before) || failed(tryCall("setpriority", PRIO_PROCESS, 0, highest))) return () => undefined;
  let isOver = false;
  return () => {
    if (!isOver) tryCall("setpriority", PRIO_PROCESS, 0, niceOf(before));
    isOver = true;
  };
}
