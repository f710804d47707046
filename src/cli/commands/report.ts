// SPDX-License-Identifier: Apache-2.0
import { exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";
import { parsePid } from "../pid.js";

export const command = defineCommand({
  name: "report",
  describe: "Collect what a bug report needs: versions, kernel features, and what a dump of a process does",
  notes: [
    "The process and its descendants are frozen briefly and examined as by a dump, and continue; nothing is written. With " +
      "--no-freeze only /proc is read.",
    "A report contains no memory, registers, command lines or environments, and no content of files, pipes or sockets. It contains " +
      "names of processes and files, user ids, and addresses of sockets that a dump would refuse: read it before you send it.",
  ],
  positionals: { pid: { describe: "The root of the tree; if absent, the report is about the machine only", optional: true } },
  options: {
    noFreeze: { type: "boolean", describe: "Do not freeze the tree; the report then has no trace of the dumper" },
    ignore: { type: "strings", value: "CLASS", describe: "As for crimg dump; may be repeated" },
    hidePaths: { type: "boolean", describe: "Replace file names, except those of the system" },
    json: { type: "boolean", describe: "As JSON" },
  },
  examples: [
    { command: "crimg report 4711 > report.txt", text: "attach it to a bug report" },
    { command: "crimg report", text: "the machine only" },
  ],
  async run(args, terminal) {
    const pid = args.pid === undefined ? undefined : parsePid(args.pid);
    const [{ makeReport }, { renderReport, contents }, { pathHider }] = await Promise.all([
      import("../../ops/report/report.js"),
      import("../../ops/report/render.js"),
      import("../../ops/report/hide-paths.js"),
    ]);
    const report = makeReport({ ...(pid === undefined ? {} : { pid }), freeze: !args.noFreeze, ignore: args.ignore });
    const text = args.json ? toJsonText({ contents: contents.join(" "), ...report }) : renderReport(report);
    terminal.print(args.hidePaths ? pathHider()(text) : text);
    return exitStatus.ok;
  },
});
