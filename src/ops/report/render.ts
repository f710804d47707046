// SPDX-License-Identifier: Apache-2.0
/** A report as text to be pasted into a bug report. */
import { printable } from "../../errors/render.js";
import type { ProcessFacts } from "./process-facts.js";
import type { Report } from "./report.js";
import type { Trial } from "./trial.js";

/** What a report may hold, said in the report itself: who sends it is to know. */
export const contents = [
  "This report holds: versions of crimg, Node, the kernel and the system; users, capabilities and security settings; of the",
  "processes their ids, names, executables, and how many mappings and descriptors of which kind they have; what a dump would",
  "refuse, which may name files, addresses and ports; names and results of system calls.",
  "It holds no memory, no registers, no command lines, no environments, and nothing that is in files, pipes or sockets.",
  "Read it before you send it. --hide-paths replaces the names of files.",
];

const listed = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ") || "none, or not readable";

function processLines(one: ProcessFacts): string[] {
  const { pid, parent, name, state, threads, executable, uid, capabilities, seccomp, noNewPrivileges, namespaces } = one;
  const settings = `seccomp ${seccomp}, ${noNewPrivileges ? "" : "no "}no_new_privs`;
  return [
    `${pid} (${name}), child of ${parent}, state ${state}, ${threads} threads, ${one.residentKib} KiB resident`,
    `  executable: ${executable ?? "not readable"}`,
    `  uid ${uid}, capabilities ${capabilities}, ${settings}`,
    `  namespaces of its own: ${namespaces.join(", ") || "none"}`,
    `  mappings: ${listed(one.mappings)}`,
    `  descriptors: ${listed(one.descriptors)}`,
  ];
}

function trialLines({ steps, refusals, losses, calls }: Trial): string[] {
  const call = ({ by, name, count, errors }: Trial["calls"][number]): string => {
    const failures = Object.entries(errors).map(([error, times]) => `${error} ${times}`);
    return `${by === "tree" ? "in the tree: " : ""}${name} ${count}${failures.length === 0 ? "" : ` (${failures.join(", ")})`}`;
  };
  return [
    "",
    "## What the dumper did (nothing was written; the tree goes on)",
    ...steps.map(({ ms, text }) => `${ms.toFixed(1).padStart(8)} ms  ${text}`),
    "",
    "## What a dump would refuse",
    ...(refusals.length === 0 ? ["nothing"] : refusals.map(({ code, message }) => `${code}: ${message}`)),
    ...(losses.length === 0 ? [] : ["", "## What would be lost", ...losses.map((loss) => `${loss.code}: ${loss.text}`)]),
    "",
    "## System calls of the dumper",
    ...calls.map(call),
  ];
}

/** The report as lines of text. */
export function renderReport({ crimg, host, processes, trial }: Report): string {
  const { facts } = host;
  const lines = [
    "# crimg report",
    ...contents,
    "",
    "## Versions",
    `crimg ${crimg.version}${crimg.isSingleExecutable ? " (single executable)" : ""}, Node ${crimg.node}, V8 ${crimg.v8}, ${crimg.libc}`,
    `Linux ${crimg.kernel} on ${facts.machine}, ${host.system}`,
    "",
    "## Host",
    `uid ${host.uid}, capabilities ${host.capabilities}, seccomp ${host.seccomp}, security modules ${host.securityModules}`,
    `kernel features: ${featuresOf(facts)}`,
    `ptrace_scope ${facts.ptraceScope}, user namespaces ${facts.userNamespaces}, xfeatures 0x${facts.xfeatures.toString(16)}`,
    ...(host.findings.length === 0 ? ["no findings"] : host.findings),
  ];
  if (processes !== undefined) lines.push("", "## Processes", ...processes.flatMap(processLines));
  if (trial !== undefined) lines.push(...trialLines(trial));
  return `${lines.map(printable).join("\n")}\n`;
}

function featuresOf(facts: Report["host"]["facts"]): string {
  const named = Object.entries(facts).filter(([name]) => name.startsWith("has"));
  return named.map(([name, value]) => `${name.slice(3)} ${value === true ? "yes" : "no"}`).join(", ");
}
