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
    "Images of the real tools, and images that crimg makes of them in every format that it writes, are changed in places that",
    "contain numbers. They are then read, shown, validated, and checked for every other format. A case must end in a model or in an error",
    "with a location, within two seconds and 64 MB.",
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
    `| not detected | ${outcomes.unnoticed} |`,
    `| without effect on the model | ${outcomes.same} |`,
    `| **detected, of those with an effect** | **${(100 * detection).toFixed(1)} %** |`,
    "",
    "Most undetected changes produce a value that is as valid as the one before: the content of a vector register, a byte of the command",
    "line, or data of another tool that crimg only copies. Only redundancy in a format reveals them; the executable image has it, since",
    "its restore program follows from its tables.",
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
    "fail is made to fail: once with each error instead of being executed, and once after it was executed. The resume must end",
    "with status 125 and a message that names what failed, and no process of the tree may be left. If the op is not reached, or the",
    "program can do without it, the tree must be resumed completely.",
    "",
    "| tried | ended with a message | resumed | other outcome, or processes left |",
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
    "Before it does anything, the interpreter verifies a checksum over itself and the restore program, and checks that every op stays",
    "within the program. Images are changed and executed by an unprivileged user in private namespaces, for at most five seconds.",
    "The columns tell how they ended: with a message and status 125 to 127 (told); normally, if the change does not affect the",
    "resume; refused or killed by the kernel because of the ELF header; in another way, with the damage in the interpreter's own checks",
    "or messages (code); by a signal; not in time (late); in any other way. The last columns count processes that were left when the first",
    "one had exited, and when it had to be killed because it did not exit.",
    "",
    "| | executed | told | resumed | kernel | code | signal | late | other | left | left by the kill |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
    ...rows,
    "",
    "A checksum detects accidental damage, not tampering. A restore program is code, like any executable: to run an image is to trust its",
    "author. (`crimg validate` compares the program with the tables, `crimg explain` shows it.)",
  ];
}

/** The page. */
export function trustPage({ kernel, mutations, calls, errnos, step, faults, kills, ops, hostile }: TrustNumbers): string {
  return `${[
    "<!-- Made by `npm run trust`. -->",
    "# Robustness: hostile images, injected faults, kills",
    "",
    `Numbers measured on Linux ${kernel}. \`npm run trust -- --mutations 1000000\` makes this page. \`npm run detection\` only mutates`,
    "(100,000 times, or `-- --count N`) and reports what share of the changes of meaning was detected, and which fields were not.",
    ...mutationPart(mutations),
    "",
    "## Faults while dumping",
    "",
    "The target has three threads that constantly check their registers, memory, signal masks and interrupted calls. While it is",
    `dumped, ${step === 1 ? "each" : `every ${step}th`} of the ${calls} system calls of the dump is made to fail in turn, with ` +
      `${errnos} errors; and crimg is killed (SIGKILL) at random moments.`,
    "Afterwards the target must run on, untraced, with the same mappings and signal state, and no file may be left.",
    "",
    "| | tried | targets harmed | unexpected exceptions | files left | waits ended by EINTR |",
    "|---|---|---|---|---|---|",
    trialRow("a system call fails", faults),
    trialRow("crimg is killed", kills),
    "",
    "Waits ended by EINTR: any stop makes epoll_wait and similar calls return EINTR. crimg corrects this immediately after the stop. If it",
    "is killed before that, the program sees what it would see after SIGSTOP and SIGCONT.",
    ...opPart(ops, step),
    ...hostilePart(hostile),
  ].join("\n")}\n`;
}
