// SPDX-License-Identifier: Apache-2.0
/** The system calls that crimg makes, told to the log: names and results, never what arguments point to. */
import { logCall } from "../errors/log.js";
import { nr, syscallName } from "../linux/syscall-numbers.js";
import { type Addon, type RawArgument, wrapAddon } from "./addon.js";
import { requestName } from "./ptrace-requests.js";

/** `openat`, `ptrace(SEIZE)`. */
function nameOf(number: number, args: readonly RawArgument[]): string {
  return number === nr.ptrace ? `ptrace(${requestName(Number(args[0]))})` : syscallName(number);
}

/** The same addon, each of whose calls is told. */
function withCallLog(addon: Addon): Addon {
  return {
    ...addon,
    syscall(number, ...args) {
      const result = addon.syscall(number, ...args);
      logCall("crimg", nameOf(number, args), result);
      return result;
    },
    syscallBig(number, ...args) {
      const result = addon.syscallBig(number, ...args);
      logCall("crimg", nameOf(number, args), result);
      return result;
    },
    waitTimeout(pid, status, options, milliseconds) {
      const result = addon.waitTimeout(pid, status, options, milliseconds);
      logCall("crimg", "wait4", result);
      return result;
    },
  };
}

/** From here on each call is told. */
export function traceCalls(): void {
  wrapAddon(withCallLog);
}
