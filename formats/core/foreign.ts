// SPDX-License-Identifier: Apache-2.0
/** Keys of `foreign` rows: what a core says and the model has no field for, so that it can be written again. */
export const foreignKey = {
  /** On a thread: the first 112 bytes of NT_PRSTATUS (signal, times, ids). */
  prstatus: "prstatus",
  /** On a thread: NT_SIGINFO. */
  siginfo: "siginfo",
  /** On a thread that is not the leader: its notes come first (it crashed). */
  first: "first",
  /** On a task: NT_PRPSINFO. */
  prpsinfo: "prpsinfo",
  /** On a task: why no host can resume it, as text (src/model/resumable.ts). */
  unresumable: "unresumable",
} as const;
