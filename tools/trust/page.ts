// SPDX-License-Identifier: Apache-2.0
/** The text of docs/trust.md. */
import type { FuzzSummary } from "../fuzz/tally.js";
import type { TrialResult } from "./faults.js";
import type { HostileResult, Hostility } from "./hostile-images.js";
import type { OpFaultResult } from "./op-faults.js";

export interface TrustNumbers {
  readonly kernel: string;
  readonly mutations?: FuzzSummary;
  readonly calls: number;
  readonly errnos: number;
  /** Every which call failed. */
  readonly step: number;
  readonly faults: TrialResult;
  readonly kills: TrialResult;
  readonly ops: OpFaultResult;
  readonly hostile: Readonly<Record<Hostility, HostileResult>>;
}

const percent = (part: number, whole: number): string => (whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`);

function mutationPart(mutations: FuzzSummary | undefined): string[] {
  if (mutations === undefined) return ["", "## Hostile input", "", "Not measured in this run."];
  const { cases, outcomes, hangs, deaths, slowestMs, worstBytes, detection, byFormat, seed } = mutations;
  const rows = Object.entries(byFormat).map(([kind, own]) => {
    const changed = own.refused + own.found + own.unnoticed;
    const total = changed + own.same + own.crash + own.unlocated;
    return `| ${kind} | ${total} | ${own.crash + own.unlocated} | ${changed} | ${percent(own.refused + own.found, changed)} |`;
  });
  return [
    "",
    "## Hostile input",
    "",
    "Images of the real tools, and images that crimg makes of them in every format that it writes, are changed at places that",
    "hold numbers, then read, shown, validated and judged for every other format. A case must end in a model or in a located error,",
    "within two seconds and 64 MB.",
    "",
    "| | |",
    "|---|---|",
    `| mutations (seed ${seed}) | ${cases} |`,
    `| crashes | ${outcomes.crash + deaths} |`,
    `| hangs | ${hangs} |`,
    `| errors without a place | ${outcomes.unlocated} |`,
    `| slowest | ${slowestMs} ms |`,
    `| worst memory of a case | ${(worstBytes / 1048576).toFixed(1)} MB |`,
    `| refused by the reader | ${outcomes.refused} |`,
    `| found by validate | ${outcomes.found} |`,
    `| not noticed | ${outcomes.unnoticed} |`,
    `| without effect on the model | ${outcomes.same} |`,
    `| **detected, of those with an effect** | **${(100 * detection).toFixed(1)} %** |`,
    "",
    "What is not noticed is mostly a value that is as good as the one before: content of a vector register, a byte of the command",
    "line, or what another tool wrote and crimg only carries on. Only a format that repeats itself can tell; the executable image does,",
    "since its restore program follows from its tables.",
    "",
    "| images | mutations | crashes | with an effect | detected |",
    "|---|---|---|---|---|",
    ...rows,
  ];
}

function trialRow(name: string, { tried, harmed, bugs, left, interrupted }: TrialResult): string {
  return `| ${name} | ${tried} | ${harmed.length} | ${bugs.length} | ${left.length} | ${interrupted} |`;
}

function opPart({ ops, tried, named, resumed, wrong }: OpFaultResult, step: number): string[] {
  return [
    "",
    "## Faults while resuming",
    "",
    `The restore program of a tree with threads, a child, pipes, shared memory and a zombie has ${ops} ops. ` +
      `${step === 1 ? "Every" : `Every ${step}th`} op that can`,
    "fail is made to fail, with each of the errors instead of being done, and once more by being done and judged as wrong. The resume",
    "must end with status 125 and a message that names what failed, and nothing of the tree may be left. Where the op is not reached,",
    "or the program can do without it, the tree must come back with everything that it had.",
    "",
    "| tried | named and ended | resumed | anything else, or processes left |",
    "|---|---|---|---|",
    `| ${tried} | ${named} | ${resumed} | ${wrong.length} |`,
  ];
}

const hostileNames: Readonly<Record<Hostility, string>> = {
  damage: "bytes changed outside of pages",
  cut: "truncated, or bytes missing",
  program: "restore program changed, checksum made right",
};

function hostilePart(hostile: Readonly<Record<Hostility, HostileResult>>): string[] {
  const rows = Object.entries(hostile).map(([kind, { tried, endings, survivors, leftByKill }]) => {
    const { told, resumed, kernel, code, signal, late, other } = endings;
    return (
      `| ${hostileNames[kind as Hostility]} | ${tried} | ${told} | ${resumed} | ${kernel} | ${code} | ${signal} | ${late} | ` +
      `${other} | ${survivors} | ${leftByKill} |`
    );
  });
  return [
    "",
    "## Damaged images, executed",
    "",
    "The interpreter looks at a checksum over itself and the restore program, and whether every op stays within what the program has,",
    "before it does anything. Images are changed and executed, as a user without rights in namespaces of their own, five seconds at most.",
    "The columns say how they ended: with a message and status 125 to 127; as if nothing were wrong (what was changed is not needed to",
    "resume); refused or killed by the kernel, the ELF header being wrong; in any other way, the damage being in the interpreter itself,",
    "in the code that looks or the words that it says; by a signal; not in time; in any other way. Last, how many processes were left",
    "when the first one had ended, and when it had to be killed because it waited for ever.",
    "",
    "| | executed | told | resumed | kernel | code | signal | late | other | left | left by the kill |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
    ...rows,
    "",
    "A checksum detects accidental damage, not tampering. A restore program is code, as any executable is:",
    "who runs an image trusts who made it",
    "(`crimg validate` compares the program with the tables, `crimg explain` shows it).",
  ];
}

/** The page. */
export function trustPage({ kernel, mutations, calls, errnos, step, faults, kills, ops, hostile }: TrustNumbers): string {
  return `${[
    "<!-- Made by `npm run trust`. -->",
    "# Robustness: hostile images, injected faults, kills",
    "",
    `Numbers measured on Linux ${kernel}. \`npm run trust -- --mutations 1000000\` makes this page. \`npm run detection\` only mutates`,
    "(100,000 times; `-- --count N` for another number): what share of the changes of meaning was noticed, and which fields were not.",
    ...mutationPart(mutations),
    "",
    "## Faults while dumping",
    "",
    "The target has three threads that check their registers, memory, signal masks and interrupted calls all the time. While it is",
    `dumped, ${step === 1 ? "each" : `every ${step}th`} of the ${calls} system calls of the dump is made to fail in turn, with ` +
      `${errnos} errors; and crimg is killed (SIGKILL) at random moments.`,
    "Afterwards the target must go on, untraced and with the same maps and signal state, and no file may be left.",
    "",
    "| | tried | targets harmed | unexpected exceptions | files left | waits ended by EINTR |",
    "|---|---|---|---|---|---|",
    trialRow("a system call fails", faults),
    trialRow("crimg is killed", kills),
    "",
    "A wait ended by EINTR: any stop makes epoll_wait and its kin return EINTR, and crimg puts that right as the first thing after the",
    "stop. If it is killed before that, the program sees what it would see after SIGSTOP and SIGCONT.",
    ...opPart(ops, step),
    ...hostilePart(hostile),
  ].join("\n")}\n`;
}
