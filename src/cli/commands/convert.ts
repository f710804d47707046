// SPDX-License-Identifier: Apache-2.0
import { renderLosses } from "../../adapter/losses.js";
import { exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { compressOption, dedupOption, parseCompress } from "../compress.js";
import { clockOption, parseClock } from "../clock.js";
import { lazyOptions, parseLazy } from "../lazy.js";
import { parseRoot, rootOptions } from "../own-root.js";
import { defineCommand } from "../command.js";
import { parsePid } from "../pid.js";
import { progressOn } from "../progress.js";

export const command = defineCommand({
  name: "convert",
  describe: "Convert a checkpoint to another format",
  notes: [
    "IN is recognised by its content. The format of OUT follows from its name (.elf, .json, core.N, …criu…, .tar.zst) or from --to.",
    "Anything that the target format cannot hold is reported, one line for each kind; --strict refuses instead (exit status 3).",
  ],
  positionals: {
    in: { describe: "Checkpoint to read, a file or a directory; - is standard input", isFile: true },
    out: { describe: "File or directory to write; - is standard output for formats of one file", isFile: true },
  },
  options: {
    from: { type: "string", value: "FORMAT", describe: "Format of IN, instead of recognising it" },
    to: { type: "string", value: "FORMAT", describe: "Format of OUT" },
    pid: { type: "string", value: "PID", describe: "Only this process" },
    strict: { type: "boolean", describe: "Refuse if anything would be lost" },
    bundle: {
      type: "boolean",
      describe: "Also store the files that the tree maps, executes or reads: the image then needs none of the originals",
    },
    compress: compressOption,
    dedup: dedupOption,
    clock: clockOption("If the resume of OUT does not choose"),
    ...lazyOptions("If the resume of OUT does not choose"),
    ...rootOptions,
    flatten: {
      type: "boolean",
      describe: "Merge an image and its parents (dump --parent) into one that needs no other: convert always does",
    },
    full: { type: "boolean", describe: "Core files: all memory instead of what the kernel's coredump_filter selects" },
    like: {
      type: "string",
      value: "ARCHIVE",
      isFile: true,
      describe: "Archives (.tar, .tar.gz, .tar.zst): what a container engine put beside this other checkpoint of the same container",
    },
    inlinePages: { type: "boolean", describe: "JSON: store pages in the document, as base64" },
    force: { type: "boolean", alias: "f", describe: "Replace OUT if it exists" },
    noVerify: { type: "boolean", describe: "Do not verify the checksums of stored bytes" },
    sync: { type: "boolean", describe: "Flush OUT to the disk before it gets its name" },
    json: { type: "boolean", describe: "Report as JSON" },
  },
  examples: [
    { command: "crimg convert criu-dir image.elf", text: "make a CRIU image executable" },
    { command: "crimg convert image.elf core.4711 --pid 4711", text: "open one process in gdb" },
    { command: "crimg convert image.elf - --to json | jq .", text: "look at it as JSON" },
  ],
  async run(args, terminal) {
    const [{ convert }, { registry }] = await Promise.all([import("../../ops/convert.js"), import("../../../formats/registry.js")]);
    const progress = progressOn(terminal, "converting");
    try {
      const report = await convert(args.in, args.out, {
        registry,
        ...(args.from === undefined ? {} : { from: args.from }),
        ...(args.to === undefined ? {} : { to: args.to }),
        ...(args.pid === undefined ? {} : { pid: parsePid(args.pid) }),
        strict: args.strict,
        bundle: args.bundle,
        ...parseClock(args.clock),
        ...parseCompress(args.compress),
        dedup: args.dedup,
        ...parseLazy(args),
        ...parseRoot(args),
        force: args.force,
        sync: args.sync,
        verify: !args.noVerify,
        extra: { full: args.full, "inline-pages": args.inlinePages, ...(args.like === undefined ? {} : { like: args.like }) },
        onProgress: (done, total) => progress.update(done, total),
        onLosses: (losses) => {
          if (!args.json || args.out === "-") terminal.note(renderLosses(losses));
        },
      });
      progress.end();
      if (args.json && args.out !== "-") terminal.print(toJsonText(report));
      return exitStatus.ok;
    } finally {
      progress.end();
    }
  },
});
