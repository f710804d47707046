/** The text of docs/trust.md. */
import type { FuzzSummary } from "../fuzz/tally.js";
import type { TrialResult } from "./faults.js";

export interface TrustNumbers {
  readonly kernel: string;
  readonly mutations?: FuzzSummary;
  readonly calls: number;
  readonly errnos: number;
  /** Every which call failed. */
  readonly step: number;
  readonly faults: TrialResult;
  readonly kills: TrialResult;
}

const percent = (part: number, whole: number): string => (whole === 0 ? "-" : `${((100 * part) / whole).toFixed(1)} %`);

function mutationPart(mutations: FuzzSummary | undefined): string[] {
  if (mutations === undefined) return ["", "## Hostile input", "", "Not measured in this run: no fixtures were at hand."];
  const { cases, outcomes, hangs, deaths, slowestMs, worstBytes, detection, byFormat, seed } = mutations;
  const rows = Object.entries(byFormat).map(([kind, own]) => {
    const changed = own.refused + own.found + own.unnoticed;
    const total = changed + own.same + own.crash + own.unlocated;
    return `| ${kind} | ${total} | ${own.crash + own.unlocated} | ${changed} | ${percent(own.refused + own.found, changed)} |`;
  });
  return [
    "", "## Hostile input", "",
    "Images of the real tools, and images that crimg makes of them in every format that it writes, are changed at places that",
    "hold numbers, then read, shown, validated and judged for every other format. A case must end in a model or in a located error,",
    "within two seconds and 64 MB.", "",
    "| | |", "|---|---|",
    `| mutations (seed ${seed}) | ${cases} |`, `| crashes | ${outcomes.crash + deaths} |`, `| hangs | ${hangs} |`,
    `| errors without a place | ${outcomes.unlocated} |`, `| slowest | ${slowestMs} ms |`, `| worst memory of a case | ${(worstBytes / 1048576).toFixed(1)} MB |`,
    `| refused by the reader | ${outcomes.refused} |`, `| found by validate | ${outcomes.found} |`, `| not noticed | ${outcomes.unnoticed} |`,
    `| without effect on the model | ${outcomes.same} |`, `| **detected, of those with an effect** | **${(100 * detection).toFixed(1)} %** |`, "",
    "What is not noticed is mostly a value that is as good as the one before: another register, another offset in a file, another",
    "time. Only a format that repeats itself can tell; the executable image does, since its restore program follows from its tables.", "",
    "| images | mutations | crashes | with an effect | detected |", "|---|---|---|---|---|", ...rows,
  ];
}

function trialRow(name: string, { tried, harmed, bugs, left, interrupted }: TrialResult): string {
  return `| ${name} | ${tried} | ${harmed.length} | ${bugs.length} | ${left.length} | ${interrupted} |`;
}

/** The page. */
export function trustPage({ kernel, mutations, calls, errnos, step, faults, kills }: TrustNumbers): string {
  return `${[
    "<!-- Made by `npm run trust`. -->",
    "# What crimg stands",
    "",
    `Numbers measured on Linux ${kernel}. \`npm run trust\` makes this page; \`node dist/tools/fuzz/main.js --count N --seed S\` only mutates.`,
    ...mutationPart(mutations),
    "", "## Faults while dumping", "",
    "The target has three threads that check their registers, memory, signal masks and interrupted calls all the time. While it is",
    `dumped, ${step === 1 ? "each" : `every ${step}th`} of the ${calls} system calls of the dump is made to fail in turn, with ${errnos} errors; and crimg is killed (SIGKILL) at random moments.`,
    "Afterwards the target must go on, untraced and with the same maps and signal state, and no file may be left.", "",
    "| | tried | targets harmed | unexpected exceptions | files left | waits ended by EINTR |", "|---|---|---|---|---|---|",
    trialRow("a system call fails", faults), trialRow("crimg is killed", kills), "",
    "A wait ended by EINTR: any stop makes epoll_wait and its kin return EINTR, and crimg puts that right as the first thing after the",
    "stop. If it is killed before that, the program sees what it would see after SIGSTOP and SIGCONT.",
  ].join("\n")}\n`;
}
