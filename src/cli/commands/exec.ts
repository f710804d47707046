// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../../errors/crimg-error.js";
import { clockOption, parseClock } from "../clock.js";
import { lazyOptions, parseLazy } from "../lazy.js";
import { parseRoot, rootOptions } from "../own-root.js";
import { defineCommand } from "../command.js";
import { progressOn } from "../progress.js";
import { externalOptions, externalOptionsAtExecNote, externalOptionSpecs } from "../external-options.js";

const changes = "Changes of what the program finds by name";
const modes = ["same", "namespace", "any"] as const;

export const command = defineCommand({
  name: "exec",
  describe: "Resume a checkpoint, in any format",
  notes: [
    "In the foreground, terminal, signals and exit status are passed between caller and program. An executable image behaves in the " +
      "same way when it is run directly, and takes the same options.",
    "In a pid namespace, its first process (pid 1 there) is between the caller and the program. --pidfile names that process; " +
      "signals sent to it or to the waiting command are passed on to the program, and the tree ends with it. Dumping either of " +
      "them dumps the program.",
    "Exit status: that of the program; 125 if it could not be resumed, in which case no process of it is left.",
    externalOptionsAtExecNote,
  ],
  positionals: { image: { describe: "An image in any format" } },
  options: {
    detach: { type: "boolean", alias: "d", describe: "Return once the program runs" },
    leaveStopped: { type: "boolean", describe: "Leave every process stopped; SIGCONT continues it" },
    pidfile: { type: "string", value: "FILE", describe: "Write the process id of the root to FILE", isFile: true },
    pid: {
      type: "string",
      value: "MODE",
      describe:
        "same: the old process ids (the default for root); namespace: the old ids in a new pid namespace (the default for others); " +
        "any: new ids",
    },
    clock: clockOption("For this resume"),
    ...lazyOptions("For this resume"),
    files: {
      type: "strings",
      value: "POLICY",
      describe:
        "Which files to accept for those that the program maps or has open. same (the default): unchanged content; strict: also " +
        "unchanged size and time; any: whatever is there. POLICY:/PATH for one file; may be repeated, the last one counts",
    },
    noVerify: { type: "boolean", describe: "Do not verify the checksums of stored bytes" },
    from: { type: "string", value: "FORMAT", describe: "Format, instead of recognising it" },
    gpuMap: {
      type: "strings",
      value: "OLD=NEW",
      describe: "Use another GPU of the same kind, both named GPU-…; may be repeated",
    },
    ...rootOptions,
    tcpMap: {
      type: "strings",
      group: changes,
      value: "ADDR:PORT=ADDR:PORT",
      describe: "TCP sockets with the first address, bound or connected, get the second; *:PORT is any address; may be repeated",
    },
    pathMap: {
      type: "strings",
      group: changes,
      value: "OLD=NEW",
      describe: "Files, directories and unix sockets that are OLD or below it are NEW or below that; may be repeated",
    },
    inheritFd: {
      type: "strings",
      group: changes,
      value: "N:FD",
      describe:
        "Descriptor N of the caller takes the place of what the program had at FD (N:PID:FD: in a process other than its first one); " +
        "may be repeated",
    },
    env: {
      type: "strings",
      group: changes,
      value: "NAME=VALUE",
      describe: "Another value for a variable that processes were started with, for what they look up from then on; may be repeated",
    },
    mapFd: { type: "boolean", describe: "Version 1 images: mappings name open descriptors of this command" },
    ...externalOptionSpecs,
  },
  examples: [
    { command: "crimg exec image.elf", text: "like ./image.elf" },
    { command: "crimg exec --map-fd old.elf 5<data.bin", text: "an image of 2011 whose mappings name descriptor 5" },
    { command: "crimg exec image.elf --tcp-map '*:80=*:8080' --path-map /srv/a=/srv/b", text: "the same server elsewhere" },
    { command: "crimg exec criu-dir --detach --pidfile run.pid", text: "resume a CRIU checkpoint" },
  ],
  async run(args, terminal) {
    const pid = modes.find((mode) => mode === args.pid);
    if (args.pid !== undefined && pid === undefined) {
      throw new CrimgError("usage.pid", `--pid ${args.pid}: there is no such mode`, { expected: modes.join(", ") });
    }
    const [{ exec }, { startExecProgress }, { registry }, { renderLosses }] = await Promise.all([
      import("../../ops/exec.js"),
      import("../exec-progress.js"),
      import("../../../formats/registry.js"),
      import("../../adapter/losses.js"),
    ]);
    const progress = progressOn(terminal, "linking");
    return exec({
      ...externalOptions(args),
      registry,
      image: args.image,
      ...(args.from === undefined ? {} : { from: args.from }),
      detach: args.detach,
      noVerify: args.noVerify,
      mapFd: args.mapFd,
      onProgress: (done, total) => (done < total ? progress.update(done, total) : progress.end()),
      onExecute: (path) => startExecProgress(path, terminal),
      onLoss: (loss) => terminal.note(renderLosses([loss])),
      leaveStopped: args.leaveStopped,
      gpuMap: args.gpuMap,
      ...(args.pidfile === undefined ? {} : { pidfile: args.pidfile }),
      ...(pid === undefined ? {} : { pid }),
      ...parseClock(args.clock),
      ...parseLazy(args),
      files: args.files,
      ...parseRoot(args),
      tcpMap: args.tcpMap,
      pathMap: args.pathMap,
      inheritFd: args.inheritFd,
      env: args.env,
    });
  },
});
