// SPDX-License-Identifier: Apache-2.0
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";
import { parsePid } from "../pid.js";
import type { Terminal } from "../terminal.js";

const sections = [
  "overview",
  "tree",
  "threads",
  "regs",
  "maps",
  "pages",
  "files",
  "fds",
  "pipes",
  "sockets",
  "signals",
  "timers",
  "creds",
  "limits",
  "state",
] as const;

export const command = defineCommand({
  name: "show",
  describe: "Show what is in a checkpoint, in any format",
  notes: [
    "Page content is never read, so that a checkpoint of any size is shown at once.",
    "Only bt reads it: a core of each process is made in a temporary folder, and gdb, eu-stack or lldb asked for all backtraces.",
  ],
  positionals: {
    image: { describe: "Checkpoint, a file or a directory; - is standard input", isFile: true },
    what: { describe: "What to show; an overview if absent", optional: true, choices: [...sections, "bt"] },
  },
  options: {
    pid: { type: "string", value: "PID", describe: "Only this process" },
    from: { type: "string", value: "FORMAT", describe: "Format, instead of recognising it" },
    json: { type: "boolean", describe: "As JSON, valid against spec/schema/show.schema.json" },
  },
  examples: [
    { command: "crimg show image.elf", text: "an overview" },
    { command: "crimg show image.elf maps --pid 4711", text: "the memory map of one process" },
    { command: "crimg show criu-dir fds --json", text: "descriptors as data" },
    { command: "crimg show core.4711.zst bt", text: "backtraces of all threads" },
  ],
  async run(args, terminal) {
    const [{ collect, renderText, renderJson }, { readCheckpoint }, { resolveInput }, { registry }] = await Promise.all([
      import("../../ops/show.js"),
      import("../../ops/convert.js"),
      import("../../ops/input.js"),
      import("../../../formats/registry.js"),
    ]);
    if (args.what === "bt") return showBacktraces(args, terminal);
    const section = sections.find((name) => name === (args.what ?? "overview"));
    if (section === undefined) throw new CrimgError("usage.bad", `there is nothing called "${args.what}" to show`);
    const pid = args.pid === undefined ? undefined : parsePid(args.pid);
    const input = resolveInput(args.image);
    try {
      const { checkpoint, format } = await readCheckpoint(input, { registry, ...(args.from === undefined ? {} : { from: args.from }) });
      try {
        const document = collect(checkpoint, { source: input.name, format: format.id, section, ...(pid === undefined ? {} : { pid }) });
        terminal.print(args.json ? toJsonText(renderJson(document, checkpoint)) : renderText(document, { color: terminal.color }));
      } finally {
        checkpoint.close();
      }
    } finally {
      input.close();
    }
    return exitStatus.ok;
  },
});

/** What every thread was doing, as a debugger tells it. */
async function showBacktraces(
  args: { readonly image: string; readonly pid: string | undefined; readonly from: string | undefined; readonly json: boolean },
  terminal: Terminal,
): Promise<number> {
  const [{ backtraces }, { readCheckpoint }, { resolveInput }, { registry }] = await Promise.all([
    import("../../ops/backtrace.js"),
    import("../../ops/convert.js"),
    import("../../ops/input.js"),
    import("../../../formats/registry.js"),
  ]);
  const pid = args.pid === undefined ? undefined : parsePid(args.pid);
  const input = resolveInput(args.image);
  try {
    const { checkpoint, format } = await readCheckpoint(input, { registry, ...(args.from === undefined ? {} : { from: args.from }) });
    try {
      const found = await backtraces(checkpoint, { registry, ...(pid === undefined ? {} : { pid }) });
      if (args.json) {
        const document = {
          source: input.name,
          format: format.id,
          section: "bt",
          ...(pid === undefined ? {} : { pid }),
          rows: {},
          tables: {},
        };
        terminal.print(toJsonText({ ...document, backtraces: found.map(({ lines, ...rest }) => ({ ...rest, lines: [...lines] })) }));
      } else terminal.print(found.map(({ pid, name, by, lines }) => `${pid} (${name}), by ${by}\n${lines.join("\n")}\n`).join("\n"));
    } finally {
      checkpoint.close();
    }
  } finally {
    input.close();
  }
  return exitStatus.ok;
}
