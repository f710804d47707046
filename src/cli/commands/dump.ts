// SPDX-License-Identifier: Apache-2.0
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { compressOption, dedupOption, parseCompress } from "../compress.js";
import { clockOption, parseClock } from "../clock.js";
import { defineCommand } from "../command.js";
import { dumpOnlyOptionSpecs, externalOptionSpecs, externalOptions, externalOptionsNote } from "../external-options.js";
import { parsePid } from "../pid.js";
import { parseSeconds } from "../seconds.js";
import { progressOn } from "../progress.js";
import { expectShortRun } from "../short-run.js";

export const command = defineCommand({
  name: "dump",
  describe: "Freeze a process and its descendants into an image",
  notes: [
    "The tree is ended once the image is complete and has its name; with --leave-running it continues, with --leave-stopped it stays " +
      "stopped. If anything fails, the tree continues and no file is left.",
    "Resources that cannot be dumped are refused by name (exit status 4). --ignore CLASS leaves them out and records the loss.",
    "The driver (570 or later) first locks a program that uses NVIDIA GPUs and moves its state into memory. It moves the state back " +
      "if anything fails, and when the image is resumed.",
    "Without --sync the image is complete after a crash of crimg, but not necessarily after a power failure.",
    externalOptionsNote,
  ],
  positionals: { pid: { describe: "The root of the tree to dump" } },
  options: {
    output: { type: "string", alias: "o", value: "FILE", describe: "The image; PID.elf if absent", isFile: true },
    leaveRunning: { type: "boolean", describe: "Let the tree continue" },
    leaveStopped: { type: "boolean", describe: "Leave the tree stopped" },
    parent: {
      type: "string",
      value: "IMAGE",
      describe: "Store only pages that IMAGE, an earlier one of the same tree, does not have; resuming needs both",
      isFile: true,
    },
    noFork: {
      type: "boolean",
      describe: "With --leave-running: fork nothing to keep the memory; the tree stands still until what was not copied before is written",
    },
    hugePages: {
      type: "boolean",
      describe: "First make huge pages of the tree's memory, while it runs: it is then frozen for less time, and a dump takes longer",
    },
    tree: { type: "boolean", describe: "With descendants (the default)" },
    noTree: { type: "boolean", describe: "Only this process, without its descendants" },
    force: { type: "boolean", alias: "f", describe: "Replace FILE if it exists" },
    to: { type: "string", value: "FORMAT", describe: "Write this format instead of an executable image" },
    sync: { type: "boolean", describe: "Flush the image to the disk before the tree is ended" },
    bundle: {
      type: "boolean",
      describe: "Also store the files that the tree maps, executes or reads: the image then needs none of the originals",
    },
    ignore: { type: "strings", value: "CLASS", describe: "Leave resources of this class out instead of refusing; may be repeated" },
    compress: compressOption,
    dedup: dedupOption,
    clock: clockOption("If the resume does not choose"),
    lazy: { type: "boolean", describe: "If the resume does not choose, the program runs before its memory is there" },
    rehearse: {
      type: "boolean",
      describe: "Before the tree is ended, resume the image in private namespaces and discard the copy; refuse the dump if that fails",
    },
    forceLoss: { type: "boolean", describe: "With --ignore: also leave out what the program cannot work without" },
    noCuda: { type: "boolean", describe: "Refuse programs that use GPUs, like others that use devices" },
    gpuTimeout: { type: "string", value: "SECONDS", describe: "How long to wait for running GPU work; 10 if absent" },
    json: { type: "boolean", describe: "Report as JSON" },
    ...externalOptionSpecs,
    ...dumpOnlyOptionSpecs,
  },
  examples: [
    { command: "crimg dump 4711 -o image.elf", text: "freeze; ./image.elf resumes" },
    { command: "crimg dump $(pidof redis-server) --leave-running", text: "a snapshot of a running server" },
    { command: "crimg dump 4711 --leave-running --parent image.elf -o next.elf", text: "only what has changed since" },
    { command: "crimg dump 4711 -o criu-dir --to criu", text: "for CRIU" },
  ],
  async run(args, terminal) {
    const pid = parsePid(args.pid);
    if (args.leaveRunning && args.leaveStopped)
      throw new CrimgError("usage.bad", "--leave-running and --leave-stopped cannot both be given");
    expectShortRun(pid);
    const [{ dump }, { registry }, { renderLosses }] = await Promise.all([
      import("../../ops/dump.js"),
      import("../../../formats/registry.js"),
      import("../../adapter/losses.js"),
    ]);
    const progress = progressOn(terminal, "writing");
    try {
      const report = await dump({
        ...externalOptions(args),
        registry,
        pid,
        output: args.output ?? `${pid}.elf`,
        ...(args.to === undefined ? {} : { to: args.to }),
        after: args.leaveRunning ? "leave-running" : args.leaveStopped ? "leave-stopped" : "kill",
        isTree: !args.noTree,
        force: args.force,
        sync: args.sync,
        fork: !args.noFork,
        hugePages: args.hugePages,
        ...(args.parent === undefined ? {} : { parent: args.parent }),
        bundle: args.bundle,
        rehearse: args.rehearse,
        ...parseClock(args.clock),
        ...parseCompress(args.compress),
        dedup: args.dedup,
        isLazy: args.lazy,
        ignore: args.ignore,
        forceLoss: args.forceLoss,
        cuda: !args.noCuda,
        ...(args.gpuTimeout === undefined ? {} : { gpuTimeoutMs: parseSeconds("--gpu-timeout", args.gpuTimeout) * 1000 }),
        onProgress: (done, total) => progress.update(done, total),
      });
      progress.end();
      if (args.json) terminal.print(toJsonText(report));
      else {
        terminal.note(renderLosses(report.losses));
        if (terminal.errIsTerminal) {
          const { counted, formatBytes } = await import("../../ops/units.js");
          terminal.note(
            `${report.output}: ${counted(report.processes, "process", "processes")}, ${counted(report.threads, "thread")}, ` +
              `${formatBytes(report.pageBytes)} of pages, frozen ${Math.round(report.frozenMs)} ms\n`,
          );
        }
      }
      return exitStatus.ok;
    } finally {
      progress.end();
    }
  },
});
