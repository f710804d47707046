// SPDX-License-Identifier: Apache-2.0
import { existsSync } from "node:fs";
import type { ContainerFacts } from "../../adapter/container-facts.js";
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { type SectionName, sectionNames } from "../../ops/show/document.js";
import { defineCommand } from "../command.js";
import { parsePid } from "../pid.js";
import type { Terminal } from "../terminal.js";

/** Sections that take a word more. */
const takesOperand: ReadonlySet<SectionName> = new Set(["mem", "strings", "grep"]);

/** Sections about the content of memory. For all others, memory that is packed in an archive stays there. */
const readsMemory: ReadonlySet<SectionName> = new Set(["mem", "strings", "grep", "env", "auxv"]);

interface Wanted {
  readonly images: readonly string[];
  readonly section: SectionName;
  readonly operand?: string;
}

/** Images come first; then a section, unless it is the name of a file, and its operand. */
function sort(words: readonly string[]): Wanted {
  const place = words.findIndex((word, index) => index > 0 && sectionNames.some((name) => name === word) && !existsSync(word));
  const section = sectionNames.find((name) => name === words[place]);
  if (place < 0 || section === undefined) {
    const last = words.at(-1) ?? "";
    if (words.length > 1 && last !== "-" && !/[./]/.test(last) && !existsSync(last)) {
      throw new CrimgError("usage.bad", `there is nothing called "${last}" to show`, {
        expected: sectionNames.join(", "),
        hint: "crimg show --help explains them; a checkpoint of that name is not there",
      });
    }
    return { images: words, section: "overview" };
  }
  const rest = words.slice(place + 1);
  if (rest.length > (takesOperand.has(section) ? 1 : 0)) {
    throw new CrimgError("usage.bad", `show ${section}: what is "${rest.at(-1)}"?`, { hint: "crimg show --help shows the options" });
  }
  return { images: words.slice(0, place), section, ...(rest[0] === undefined ? {} : { operand: rest[0] }) };
}

export const command = defineCommand({
  name: "show",
  describe: "Show what is in a checkpoint, in any format",
  notes: [
    "Without a section: an overview, and whether the checkpoint can be resumed here. " +
      "Pages are read only for command lines, env, mem, strings and grep, so that " +
      "checkpoints of any size are shown quickly.",
    "mem ADDR[:LEN] shows memory of the root process, or of --pid (sp and ip are addresses too). " +
      "strings [N] shows printable strings of at least N characters in stored pages, " +
      "grep REGEX those that match (exit status 1 if none does).",
    "bt writes a core file for each process to a temporary folder and prints the backtraces of gdb, eu-stack or lldb.",
    "--html writes a self-contained page: process tree, address space to scale, descriptors, threads, findings.",
  ],
  positionals: {
    image: { describe: "Checkpoint, a file or a directory; - is standard input; several are shown one after the other", isFile: true },
    what: {
      describe: "More checkpoints, then the section to show; an overview if absent",
      optional: true,
      many: true,
      suggests: [...sectionNames, "bt"],
    },
  },
  options: {
    pid: { type: "string", value: "PID", describe: "Only this process" },
    from: { type: "string", value: "FORMAT", describe: "Format, instead of recognising it" },
    html: { type: "string", value: "FILE", describe: "Write a page for a browser to FILE", isFile: true },
    force: { type: "boolean", alias: "f", describe: "Replace FILE of --html if it exists" },
    json: { type: "boolean", describe: "As JSON, valid against spec/schema/show.schema.json; an array for several checkpoints" },
  },
  examples: [
    { command: "crimg show image.elf", text: "an overview" },
    { command: "crimg show image.elf maps --pid 4711", text: "the memory map of one process" },
    { command: "crimg show criu-dir fds --json", text: "descriptors as data" },
    { command: "crimg show core.4711.zst bt", text: "backtraces of all threads" },
    { command: "crimg show image.elf grep 'password='", text: "search the memory" },
    { command: "crimg show image.elf --html report.html", text: "a page for a browser" },
  ],
  async run(args, terminal) {
    const [{ collect, renderText, renderJson }, { readCheckpoint }, { resolveInput }, { registry }] = await Promise.all([
      import("../../ops/show.js"),
      import("../../ops/convert.js"),
      import("../../ops/input.js"),
      import("../../../formats/registry.js"),
    ]);
    if (args.what.length === 1 && args.what[0] === "bt" && !existsSync("bt")) return showBacktraces(args, terminal);
    const { images, section, operand } = sort([args.image, ...args.what]);
    const pid = args.pid === undefined ? undefined : parsePid(args.pid);
    if (args.html !== undefined && images.length > 1) throw new CrimgError("usage.bad", "--html shows one checkpoint");
    const documents: unknown[] = [];
    let status: number = exitStatus.ok;
    for (const image of images) {
      const input = resolveInput(image);
      try {
        let container: ContainerFacts | undefined;
        const { checkpoint, format } = await readCheckpoint(input, {
          registry,
          onContainer: section === "overview" ? (facts) => void (container = facts) : undefined,
          extra: { "without-memory": args.html === undefined && !readsMemory.has(section) },
          ...(args.from === undefined ? {} : { from: args.from }),
        });
        try {
          if (args.html !== undefined) {
            const { writeReport } = await import("../../ops/html/report.js");
            writeReport(checkpoint, { source: input.name, format, output: args.html, force: args.force });
            continue;
          }
          const document = collect(checkpoint, {
            source: input.name,
            format: format.id,
            section,
            checkHost: !args.json,
            ...(pid === undefined ? {} : { pid }),
            ...(operand === undefined ? {} : { operand }),
            ...(container === undefined ? {} : { container }),
          });
          if (section === "grep" && document.found === 0) status = exitStatus.findings;
          if (args.json) documents.push(renderJson(document, checkpoint));
          else {
            const text = renderText(document, { color: terminal.color });
            const isHeaded = images.length > 1 && section !== "overview";
            terminal.print(`${image === images[0] ? "" : "\n"}${isHeaded ? `== ${input.name}\n` : ""}${text}`);
          }
        } finally {
          checkpoint.close();
        }
      } finally {
        input.close();
      }
    }
    if (args.json) terminal.print(toJsonText(images.length === 1 ? documents[0] : documents));
    return status;
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
