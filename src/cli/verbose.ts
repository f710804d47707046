// SPDX-License-Identifier: Apache-2.0
/** `-v`: each step with its time, and a table of the system calls when a command is over. */
import { setLog } from "../errors/log.js";
import { buildInfo } from "../ops/build-info.js";
import { CallCounts, recordSteps } from "../ops/report/recorder.js";
import type { Terminal } from "./terminal.js";

/** Starts the log on standard error. What is returned ends it. Arguments are not logged: they may hold secrets. */
export async function startVerbose(command: string, options: readonly string[], terminal: Terminal): Promise<() => void> {
  const { traceCalls } = await import("../native/call-log.js");
  const counts = new CallCounts();
  setLog(recordSteps((ms, text) => terminal.say(`crimg: [${ms.toFixed(1).padStart(7)} ms] ${text}\n`), counts));
  traceCalls();
  const { version, node, libc, kernel } = buildInfo();
  const given = options.length === 0 ? "" : ` with ${options.join(" ")}`;
  terminal.say(`crimg: crimg ${version}, Node ${node}, ${libc}, Linux ${kernel}, uid ${process.getuid?.() ?? "?"}: ${command}${given}\n`);
  return () => {
    setLog(undefined);
    terminal.say(`crimg: system calls: ${counts.lines().join("; ") || "none"}\n`);
  };
}
