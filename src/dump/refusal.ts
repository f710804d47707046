// SPDX-License-Identifier: Apache-2.0
/** Refusals: what cannot be dumped is named before anything is written, and the target runs on. */
import { CrimgError, exitStatus, type CrimgErrorFields } from "../errors/crimg-error.js";

/** An error `dump.<what>` that ends a dump with the exit status for refusals. */
export function refusal(what: string, text: string, fields: CrimgErrorFields = {}): CrimgError {
  return new CrimgError(`dump.${what}`, text, fields, exitStatus.refused);
}

/** Classes that `--ignore` accepts: what is left out is then recorded as a loss. */
export const ignorableClasses = {
  cgroup: "membership in another control group than crimg's; the resumed tree is in that of whoever resumes it",
  seccomp: "the seccomp filter of a task",
  locks: "file locks and leases",
  "syscall-user-dispatch": "syscall user dispatch",
  descriptor: "descriptors of kinds that crimg does not know; they are closed in the resumed program",
} as const;

export type IgnorableClass = keyof typeof ignorableClasses;
