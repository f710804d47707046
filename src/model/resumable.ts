// SPDX-License-Identifier: Apache-2.0
/** What a checkpoint must have before anybody tries to resume it, whatever format it came from. */
import { CrimgError } from "../errors/crimg-error.js";
import { strandedThreads } from "./absent.js";
import { decodeText } from "../bytes/text.js";
import { tableSpecs } from "../gen/tables.js";
import type { Checkpoint } from "./checkpoint.js";

const taskKind = tableSpecs.find(({ table }) => table === "tasks")?.kind;

/**
 * Throws CrimgError `model.unresumable`, `model.absent` where the page of a thread's stack pointer or instruction pointer is not known,
 * and `model.registers` where threads have no registers: some formats (DMTCP) keep them where only
 * their own tools find them. The code segment selector of a thread in user space is never 0.
 */
export function assertResumable(checkpoint: Checkpoint): void {
  assertStanding(checkpoint);
  assertNothingSaid(checkpoint);
  const { tables } = checkpoint;
  const without = tables.threads.filter(({ task, regs }) => tables.tasks[task]?.state !== "zombie" && regs.cs === 0n);
  const first = without[0];
  if (!first) return;
  const format = tables.checkpoint[0]?.sourceFormat ?? "";
  throw new CrimgError(
    "model.registers",
    `the ${format || "image"} holds no registers of thread ` +
      `${first.tid}${without.length > 1 ? ` and ${without.length - 1} others` : ""}, so the process cannot be resumed from it`,
    {
      hint:
        format === "dmtcp"
          ? "dmtcp_restart resumes it; crimg shows it and converts it to core and json"
          : "it can be shown, and converted to core and json",
    },
  );
}

function assertStanding(checkpoint: Checkpoint): void {
  const [stranded] = strandedThreads(checkpoint);
  if (!stranded) return;
  const { thread, register, address, region } = stranded;
  const what = register === "sp" ? "the stack" : "the instructions";
  throw new CrimgError(
    "model.absent",
    `${what} of thread ${checkpoint.tables.threads[thread]?.tid ?? 0} (at 0x${address.toString(16)}) ` +
      `${register === "sp" ? "is" : "are"} not in the checkpoint, so the process cannot be resumed from it: ${region.reason}`,
    { hint: "it can be shown, and converted to core and json" },
  );
}

/** A reader may know that a process is none that any host can resume: `foreign` rows of tasks with the key "unresumable". */
function assertNothingSaid(checkpoint: Checkpoint): void {
  const said = checkpoint.tables.foreign.find(({ key, table }) => key === "unresumable" && table === taskKind);
  if (!said) return;
  throw new CrimgError("model.unresumable", `the process cannot be resumed: ${decodeText(said.value)}`, {
    hint: "it can be shown, and converted to core and json",
  });
}
