// SPDX-License-Identifier: Apache-2.0
/** crimg report: what a bug report needs to say about the machine, a program, and what the dumper makes of it. */
import { readFileSync } from "node:fs";
import { assertDumpable } from "../../dump/admission.js";
import { hostFacts, type HostFacts } from "../../validate/host/facts.js";
import { hostRules } from "../../validate/host/host-rules.js";
import { pathLocator } from "../../validate/locate.js";
import { runRules } from "../../validate/run-rules.js";
import { type BuildInfo, buildInfo } from "../build-info.js";
import { capabilityNames } from "../show/names.js";
import { type ProcessFacts, treeFacts } from "./process-facts.js";
import { type Trial, tryDump } from "./trial.js";

export interface ReportOptions {
  /** The root of the tree; the machine alone if absent. */
  readonly pid?: number;
  /** False: the tree is not frozen. */
  readonly freeze: boolean;
  /** Classes that a dump would leave out, as `crimg dump --ignore` takes them. */
  readonly ignore: readonly string[];
}

export interface Report {
  readonly crimg: BuildInfo;
  readonly host: {
    readonly system: string;
    readonly uid: number;
    /** Names of crimg's effective capabilities. */
    readonly capabilities: string;
    /** Seccomp mode of crimg itself: 2 where a container's engine filters its system calls. */
    readonly seccomp: string;
    /** Security modules, as the kernel lists them. */
    readonly securityModules: string;
    readonly facts: Omit<HostFacts, "capabilities">;
    /** What does not work here, or works with limits. */
    readonly findings: readonly string[];
  };
  readonly processes?: readonly ProcessFacts[];
  readonly trial?: Trial;
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** @throws CrimgError `dump.no-process` and its like, if there is nothing to report on */
export function makeReport({ pid, freeze, ignore }: ReportOptions): Report {
  if (pid !== undefined) assertDumpable(pid);
  const { capabilities, ...facts } = hostFacts();
  const { findings } = runRules(hostRules, { ...facts, capabilities }, { source: "this host", locate: pathLocator });
  const status = text("/proc/self/status");
  return {
    crimg: buildInfo(),
    host: {
      system: /^PRETTY_NAME="?([^"\n]*)/m.exec(text("/etc/os-release"))?.[1] ?? "unknown",
      uid: facts.uid,
      capabilities: capabilityNames(capabilities),
      seccomp: /^Seccomp:\s*(\d)/m.exec(status)?.[1] ?? "?",
      securityModules: text("/sys/kernel/security/lsm").trim() || "not readable",
      facts,
      findings: findings.map(({ code, severity, message }) => `${severity} ${code}: ${message}`),
    },
    ...(pid === undefined ? {} : { processes: treeFacts(pid) }),
    ...(pid === undefined || !freeze ? {} : { trial: tryDump(pid, ignore) }),
  };
}
