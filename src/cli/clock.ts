// SPDX-License-Identifier: Apache-2.0
/** --clock of dump, convert and exec. */
import { CrimgError } from "../errors/crimg-error.js";
import type { ClockPolicy } from "../gen/tables.js";

const policies = ["continue", "host"] as const satisfies readonly ClockPolicy[];

/** The option; `when` begins its description. */
export function clockOption(when: string): { readonly type: "string"; readonly value: string; readonly describe: string } {
  return {
    type: "string",
    value: "MODE",
    describe:
      `${when}: continue (the default), the monotonic and boot-time clocks continue from their values at the dump; ` +
      "host, they are those of the machine",
  };
}

/** @throws CrimgError `usage.clock` */
export function parseClock(text: string | undefined): { readonly clock?: ClockPolicy } {
  if (text === undefined) return {};
  const clock = policies.find((policy) => policy === text);
  if (clock === undefined) throw new CrimgError("usage.clock", `--clock ${text}: there is no such mode`, { expected: policies.join(", ") });
  return { clock };
}
