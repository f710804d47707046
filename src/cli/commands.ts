// SPDX-License-Identifier: Apache-2.0
/** The commands, in the order of help. Modules are loaded only when their command is used. */
import type { CommandEntry } from "./parse.js";

export const commandEntries: readonly CommandEntry[] = [
  {
    name: "dump",
    describe: "Freeze a process and its descendants into an image",
    load: async () => (await import("./commands/dump.js")).command,
  },
  { name: "exec", describe: "Resume a checkpoint, in any format", load: async () => (await import("./commands/exec.js")).command },
  {
    name: "run",
    describe: "Run a command as a job that can be frozen and resumed",
    load: async () => (await import("./commands/run.js")).command,
  },
  {
    name: "explain",
    describe: "Show what an image does when it is executed, one line for each operation",
    load: async () => (await import("./commands/explain.js")).command,
  },
  {
    name: "convert",
    describe: "Convert a checkpoint to another format",
    load: async () => (await import("./commands/convert.js")).command,
  },
  {
    name: "formats",
    describe: "List the formats and what each can hold",
    load: async () => (await import("./commands/formats.js")).command,
  },
  { name: "show", describe: "Show what is in a checkpoint, in any format", load: async () => (await import("./commands/show.js")).command },
  { name: "diff", describe: "Show how two checkpoints differ", load: async () => (await import("./commands/diff.js")).command },
  {
    name: "validate",
    describe: "Check that images are intact and consistent",
    load: async () => (await import("./commands/validate.js")).command,
  },
  {
    name: "check",
    describe: "Check whether this host can dump and resume, or whether an image can be resumed here",
    load: async () => (await import("./commands/check.js")).command,
  },
  {
    name: "report",
    describe: "Collect what a bug report needs: versions, kernel features, and what a dump of a process does",
    load: async () => (await import("./commands/report.js")).command,
  },
  {
    name: "binfmt",
    describe: "Let the kernel execute images of 2011 (ET_CKPT) directly",
    load: async () => (await import("./commands/binfmt.js")).command,
  },
  {
    name: "completion",
    describe: "Print a completion script for bash, zsh or fish",
    load: async () => (await import("./commands/completion.js")).command,
  },
];
