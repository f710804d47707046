// SPDX-License-Identifier: Apache-2.0
/** What this crimg is: for scripts, and for bug reports. */
import { release } from "node:os";
import { isSingleExecutable } from "../resources/resources.js";
import { crimgVersion } from "./version.js";

export interface BuildInfo {
  readonly version: string;
  readonly node: string;
  readonly v8: string;
  readonly arch: string;
  readonly kernel: string;
  /** The C library that Node was built with: "glibc 2.36", or "other". */
  readonly libc: string;
  readonly isSingleExecutable: boolean;
}

export function buildInfo(): BuildInfo {
  const report: unknown = process.report?.getReport();
  const header: unknown = typeof report === "object" && report !== null ? Reflect.get(report, "header") : undefined;
  const glibc: unknown = typeof header === "object" && header !== null ? Reflect.get(header, "glibcVersionRuntime") : undefined;
  return {
    version: crimgVersion(),
    node: process.versions.node,
    v8: process.versions.v8,
    arch: process.arch,
    kernel: release(),
    libc: typeof glibc === "string" ? `glibc ${glibc}` : "other",
    isSingleExecutable: isSingleExecutable(),
  };
}
