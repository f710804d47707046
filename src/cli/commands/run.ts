// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../../errors/crimg-error.js";
import type { Moment, PidMode } from "../../ops/run/options.js";
import { defineCommand } from "../command.js";
import { dumpOnlyOptionSpecs, externalOptions, externalOptionSpecs, externalOptionsNote } from "../external-options.js";

const modes = ["namespace", "same", "any"] as const;
/** HTCondor's example for self-checkpointing jobs uses it, and few programs do. */
const frozenStatus = 85;

function onlyOne(given: readonly (Moment | undefined)[]): Moment | undefined {
  const moments = given.filter((one) => one !== undefined);
  if (moments.length > 1) throw new CrimgError("usage.bad", "--at, --when-listening and --when-output exclude one another");
  return moments[0];
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, "mu");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CrimgError("usage.pattern", `--when-output: ${reason}`, { expected: "a regular expression as JavaScript has them" });
  }
}

function port(value: number): number {
  if (value < 1 || value > 65535)
    throw new CrimgError("usage.port", `--when-listening ${value}: not a TCP port`, { expected: "1 to 65535" });
  return value;
}

export const command = defineCommand({
  name: "run",
  describe: "Run a command as a job that can be frozen and resumed",
  notes: [
    "If the image exists, the job is resumed from it and CMD is ignored. Otherwise CMD is started in a new session and a new pid " +
      "namespace, with descriptors above 2 closed. The same command line therefore starts the job and resumes it, on this or " +
      "another machine with the same files.",
    "On a signal of --on the job is frozen into the image and ended. The new image is written to a temporary file, flushed to the " +
      "disk, rehearsed (resumed in private namespaces and discarded, as by crimg dump --rehearse), and renamed. If the job cannot be " +
      "dumped, or the rehearsal fails, the job continues, the last image stays, and the reason is printed. All other signals are " +
      "passed on to the job.",
    "Where no rehearsal is possible (no namespaces, no memory for a second copy of the job, a program on a GPU) crimg prints the " +
      "reason and takes the image without it.",
    "The job uses standard output and error of crimg, also after a resume: redirect with >> in a shell, use --open-mode=append with " +
      "Slurm.",
    "Exit status: that of the job, or 128 plus the signal that ended it; --requeue-status after a freeze (0 after --at, " +
      "--when-listening and --when-output); 125 if the job could not be resumed. The image is removed when the job has exited by " +
      "itself, and kept when a signal ended it.",
    "docs/jobs.md has a recipe for each scheduler.",
    externalOptionsNote,
  ],
  positionals: {},
  rest: { name: "cmd", describe: "The command and its arguments" },
  options: {
    image: { type: "string", value: "FILE", describe: "The image: resumed if it exists, written when the job is frozen", isFile: true },
    on: { type: "string", value: "SIGNALS", describe: "Freeze on these signals, separated by commas; SIGTERM if absent" },
    every: { type: "string", value: "TIME", describe: "Also take an image every TIME (30s, 10m, 2h) while the job runs" },
    at: { type: "string", value: "TIME", describe: "Freeze a new job once, after TIME" },
    whenListening: { type: "number", value: "PORT", describe: "Freeze a new job once, when it listens on this TCP port" },
    whenOutput: { type: "string", value: "REGEX", describe: "Freeze a new job once, when its output matches" },
    requeueStatus: { type: "number", value: "N", describe: `Exit status after a freeze; ${frozenStatus} if absent` },
    afterFreeze: {
      type: "string",
      value: "COMMAND",
      describe: "Shell command to run after a freeze, such as 'scontrol requeue $SLURM_JOB_ID'",
    },
    output: { type: "string", alias: "o", value: "FILE", describe: "Append the job's standard output and error to FILE", isFile: true },
    keep: { type: "boolean", describe: "Keep the image when the job has exited (implied by --at, --when-listening, --when-output)" },
    pid: {
      type: "string",
      value: "MODE",
      describe:
        "namespace: process ids in a new pid namespace, the same at each resume (the default where one can be created); " +
        "same: process ids of this system; any: new ids at each resume",
    },
    noRehearse: {
      type: "boolean",
      describe: "Replace the last image without rehearsing the new one",
    },
    bundle: {
      type: "boolean",
      describe: "Also store the files that the job maps, executes or reads: the image then needs none of the originals",
    },
    ignore: { type: "strings", value: "CLASS", describe: "Leave resources of this class out instead of refusing; may be repeated" },
    ...externalOptionSpecs,
    ...dumpOnlyOptionSpecs,
  },
  examples: [
    { command: "crimg run --image job.elf -- python3 job.py", text: "freeze it with SIGTERM; the same line resumes it" },
    { command: "crimg run --image job.elf --every 10m -- ./solve", text: "lose at most ten minutes" },
    { command: "crimg run --image app.elf --when-listening 8080 -- node app.js", text: "an image of the warmed-up server" },
  ],
  async run(args, terminal) {
    if (args.image === undefined) throw new CrimgError("usage.bad", "no image is named: --image FILE");
    const pidMode: PidMode | undefined = modes.find((mode) => mode === args.pid);
    if (args.pid !== undefined && pidMode === undefined) {
      throw new CrimgError("usage.pid", `--pid ${args.pid}: there is no such mode`, { expected: modes.join(", ") });
    }
    const { parseDuration, parseSignals } = await import("../../ops/run/options.js");
    const { passedSignals, run } = await import("../../ops/run/run.js");
    const { registry } = await import("../../../formats/registry.js");
    const once = onlyOne([
      args.at === undefined ? undefined : { kind: "after", ms: parseDuration(args.at, "--at") },
      args.whenListening === undefined ? undefined : { kind: "listening", port: port(args.whenListening) },
      args.whenOutput === undefined ? undefined : { kind: "output", pattern: pattern(args.whenOutput) },
    ]);
    const status = args.requeueStatus ?? (once === undefined ? frozenStatus : 0);
    if (status > 255) throw new CrimgError("usage.bad", `--requeue-status ${status}: an exit status is at most 255`);
    return run({
      registry,
      image: args.image,
      command: args.cmd,
      freezeOn: parseSignals(args.on ?? "SIGTERM", passedSignals),
      ...(args.every === undefined ? {} : { everyMs: parseDuration(args.every, "--every") }),
      ...(once === undefined ? {} : { once }),
      frozenStatus: status,
      ...(args.afterFreeze === undefined ? {} : { afterFreeze: args.afterFreeze }),
      ...(pidMode === undefined ? {} : { pidMode }),
      ...(args.output === undefined ? {} : { outputFile: args.output }),
      keep: args.keep || once !== undefined,
      rehearse: !args.noRehearse,
      dump: { ...externalOptions(args), bundle: args.bundle, ignore: args.ignore },
      say: (line) => terminal.note(`crimg: ${line}\n`),
      warn: (line) => terminal.say(`crimg: ${line}\n`),
    });
  },
});
