// SPDX-License-Identifier: Apache-2.0
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";
import { parsePid } from "../pid.js";

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
  notes: ["Page content is never read, so that a checkpoint of any size is shown at once."],
  positionals: {
    image: { describe: "Checkpoint, a file or a directory; - is standard input", isFile: true },
    what: { describe: "What to show; an overview if absent", optional: true, choices: sections },
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
  ],
  async run(args, terminal) {
    const [{ collect, renderText, renderJson }, { readCheckpoint }, { resolveInput }, { registry }] = await Promise.all([
      import("../../ops/show.js"),
      import("../../ops/convert.js"),
      import("../../ops/input.js"),
      import("../../../formats/registry.js"),
    ]);
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
