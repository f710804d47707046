// SPDX-License-Identifier: Apache-2.0
import { CrimgError } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { errorToJson, renderError } from "../../errors/render.js";
import { defineCommand } from "../command.js";
import { progressOn } from "../progress.js";
import { crimgVersion } from "../../ops/version.js";

const profiles = ["format", "lkml", "host"] as const;

export const command = defineCommand({
  name: "validate",
  describe: "Check that images are intact and consistent",
  notes: [
    "Profiles: `format` checks the image itself; `lkml` replays the decisions of the kernel loader of 2011 for a ckpt-elf-v1 file; " +
      "`host` checks whether the image can be resumed on this machine now.",
    "Exit status 0: no findings; 1: findings; 2: the image could not be checked. docs/validation-rules.md lists the rules.",
  ],
  positionals: { images: { describe: "Images in any readable format, complete sets or single files of a set", many: true, isFile: true } },
  options: {
    profile: { type: "string", value: "PROFILE", choices: profiles, describe: "Rules to apply; `format` if absent" },
    from: { type: "string", value: "FORMAT", describe: "Format, instead of recognising it" },
    strict: { type: "boolean", describe: "Warnings count as findings" },
    json: { type: "boolean", describe: "Findings as JSON" },
    sarif: { type: "boolean", describe: "Findings as SARIF 2.1.0" },
  },
  examples: [
    { command: "crimg validate image.elf", text: "after a copy or download" },
    { command: "crimg validate --profile host image.elf", text: "can it be resumed here?" },
    { command: "crimg validate --sarif *.elf > findings.sarif", text: "for code scanning" },
  ],
  async run(args, terminal) {
    if (args.json && args.sarif) throw new CrimgError("usage.bad", "--json and --sarif cannot both be given");
    const [{ validate, exitOf }, { registry }] = await Promise.all([
      import("../../ops/validate.js"),
      import("../../../formats/registry.js"),
    ]);
    const profile = profiles.find((name) => name === (args.profile ?? "format")) ?? "format";
    const reports = [];
    for (const image of args.images) {
      const progress = progressOn(terminal, `checking ${image}`);
      const from = args.from === undefined ? {} : { from: args.from };
      try {
        reports.push(await validate(image, { registry, profile, ...from, onProgress: progress.update }));
      } finally {
        progress.end();
      }
    }
    if (args.sarif) {
      const [{ toSarif }, { allRules }] = await Promise.all([
        import("../../validate/render-sarif.js"),
        import("../../validate/catalogue.js"),
      ]);
      const log = toSarif(
        reports.flatMap((report) => report.findings),
        allRules(),
        crimgVersion(),
      );
      terminal.print(`${JSON.stringify(log, null, 2)}\n`);
    } else if (args.json) {
      terminal.print(
        toJsonText(
          reports.map(({ unjudged, ...report }) => {
            return { ...report, ...(unjudged === undefined ? {} : { unjudged: errorToJson(unjudged) }) };
          }),
        ),
      );
    }
    const { renderFinding } = await import("../../validate/render-text.js");
    for (const report of reports) {
      if (report.unjudged !== undefined) {
        if (!args.json) terminal.say(renderError(report.unjudged, { color: terminal.errColor }));
        continue;
      }
      if (args.json || args.sarif) continue;
      for (const finding of report.findings) {
        terminal.print(renderFinding(finding, { color: terminal.color, excerpt: terminal.outIsTerminal }));
      }
      for (const code of report.cutOff) terminal.print(`… and more findings of ${code}\n`);
      const verdict = (["error", "warning", "note"] as const)
        .map((severity) => [severity, report.findings.filter((finding) => finding.severity === severity).length] as const)
        .filter(([, count]) => count > 0)
        .map(([severity, count]) => `${count} ${severity}${count === 1 ? "" : "s"}`);
      terminal.print(
        `${report.source}: ${verdict.join(", ") || "nothing wrong"} ` +
          `(${report.format}${report.part === undefined ? "" : `, a ${report.part} image`}, profile ${report.profile}, ` +
          `${report.rules} rules)\n`,
      );
    }
    return exitOf(reports, args.strict);
  },
});
