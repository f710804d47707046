// SPDX-License-Identifier: Apache-2.0
/** Profile `lkml`: what the kernel loader of October 2011 would have done with a file, and at which step it would have refused. */
import { FileBytes } from "../bytes/random-bytes.js";
import type { Problem, RuleInfo } from "./finding.js";

const step = (code: string, summary: string): RuleInfo => ({ code, severity: "error", profile: "lkml", spec: "SPEC 12", summary });

/** One rule a step of the loader, in its order. */
export const lkmlRules = {
  headers: step("lkml.headers", "The file is ET_CKPT for x86-64, and its program headers fit in 64 KiB; else ENOEXEC."),
  core: step("lkml.core", "There is a CORE segment of version 1 for architecture 1; else ENOEXEC."),
  segments: step("lkml.segments", "There are VMA headers, before all others, and a PAGES header; else ENOEXEC."),
  "special-areas": step(
    "lkml.special-areas",
    "Some VMA has the VDSO bit and some the STACK bit; else the process is killed, the old program being gone.",
  ),
  map: step("lkml.map", "mmap takes every VMA with the REGULAR bit; else the process is killed."),
  pages: step("lkml.pages", "Pages lie in mapped VMAs, and an entry with va 0 ends them; else the process is killed."),
  finish: step("lkml.finish", "Name, mm fields, vDSO, registers and TLS are put back."),
  remark: {
    code: "lkml.remark",
    severity: "warning",
    profile: "lkml",
    spec: "SPEC 12",
    summary: "The loader accepts what is probably not intended, such as mapping anonymous memory for a file without a descriptor.",
  },
} as const satisfies Readonly<Record<string, RuleInfo>>;

/** What the replay found, as problems of those rules. Reads the file; throws CrimgError only if it cannot be opened. */
export async function replayLkml(path: string): Promise<readonly (readonly [RuleInfo, Problem])[]> {
  const { replayLkmlLoader } = await import("../../formats/ckpt-elf-v1/lkml.js");
  const file = FileBytes.open(path);
  try {
    const { steps, refusal } = replayLkmlLoader(file);
    const found: (readonly [RuleInfo, Problem])[] = steps.flatMap(({ remark, offset, path: place }) => {
      return remark === undefined ? [] : [[lkmlRules.remark, { message: remark, place: { offset, path: place } }] as const];
    });
    if (refusal !== undefined) {
      const end =
        refusal.outcome === "ENOEXEC" ? "execve would fail with ENOEXEC" : "the process would be killed, after its old program is gone";
      found.push([
        lkmlRules[refusal.step],
        {
          message: `the loader stops at step "${refusal.step}": ${refusal.reason}; ${end}`,
          place: { offset: refusal.offset, path: refusal.path },
        },
      ]);
    }
    return found;
  } finally {
    file.close();
  }
}
