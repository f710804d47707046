// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../../errors/crimg-error.js";
import { clockOption, parseClock } from "../clock.js";
import { defineCommand } from "../command.js";
import { progressOn } from "../progress.js";
import { externalOptions, externalOptionsAtExecNote, externalOptionSpecs } from "../external-options.js";

const changes = "Changes of what the program finds by name";
const modes = ["same", "namespace", "any"] as const;

export const command = defineCommand({
  name: "exec",
  describe: "Resume a checkpoint, in any format",
  notes: [
    "In the foreground the terminal, signals and the exit status are those of the program. An executable image does the same when " +
      "it is run by itself, with the same options.",
    "In a pid namespace, the first process of it (pid 1 there) stands between the caller and the program: --pidfile names that " +
      "one, signals to it or to the waiting command reach the program, and the tree ends with it. A dump of it, or of the " +
      "waiting command, is one of the program.",
    "Exit status: that of the program; 125 if it could not be resumed, and then nothing of it is left running.",
    externalOptionsAtExecNote,
  ],
  positionals: { image: { describe: "An image in any format" } },
  options: {
    detach: { type: "boolean", alias: "d", describe: "End when the program runs" },
    leaveStopped: { type: "boolean", describe: "Leave every process stopped; SIGCONT lets it run" },
    pidfile: { type: "string", value: "FILE", describe: "Write the process id of the root to FILE", isFile: true },
    pid: {
      type: "string",
      value: "MODE",
      describe:
        "same: the old process ids (the default for root); namespace: the same in a new pid namespace (the default for others); " +
        "any: new ones",
    },
    clock: clockOption("At this resume"),
    files: {
      type: "strings",
      value: "POLICY",
      describe:
        "What files must be that the program maps or has open. same (the default): those of the dump; strict: untouched too; any: " +
        "whatever is there. POLICY:/PATH for one file; may be repeated, a later one counts",
    },
    noVerify: { type: "boolean", describe: "Take stored bytes as they are, without a look at their checksums" },
    from: { type: "string", value: "FORMAT", describe: "The format, if it cannot be told" },
    gpuMap: {
      type: "strings",
      value: "OLD=NEW",
      describe: "Another GPU of the same kind instead of the old one, both GPU-…; may be repeated",
    },
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
    mapFd: { type: "boolean", describe: "Version 1 images: the descriptors that areas name are open files of this command" },
    ...externalOptionSpecs,
  },
  examples: [
    { command: "crimg exec image.elf", text: "like ./image.elf" },
    { command: "crimg exec --map-fd old.elf 5<data.bin", text: "an image of 2011 whose areas name descriptor 5" },
    { command: "crimg exec image.elf --tcp-map '*:80=*:8080' --path-map /srv/a=/srv/b", text: "the same server elsewhere" },
    { command: "crimg exec criu-dir --detach --pidfile run.pid", text: "resume what CRIU dumped" },
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
      files: args.files,
      tcpMap: args.tcpMap,
      pathMap: args.pathMap,
      inheritFd: args.inheritFd,
      env: args.env,
    });
  },
});
