// SPDX-License-Identifier: Apache-2.0
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";

export const command = defineCommand({
  name: "check",
  describe: "Check whether this host can dump and resume, or whether an image can be resumed here",
  notes: [
    "Queries the kernel and changes nothing. `crimg validate --profile host IMAGE` does the same for one image.",
    "With --rehearse, IMAGE is resumed in private namespaces up to the point where it would run, and discarded; nothing outside " +
      "changes (docs/rehearse.md).",
    "Exit status 0: it can; 1: it cannot, or, with --strict, only with limits.",
  ],
  positionals: { image: { describe: "With --rehearse: the image to try", optional: true, isFile: true } },
  options: {
    rehearse: { type: "boolean", describe: "Rehearse the resume of IMAGE" },
    strict: { type: "boolean", describe: "Warnings count as findings" },
    json: { type: "boolean", describe: "As JSON" },
  },
  examples: [
    { command: "crimg check", text: "what works on this machine" },
    { command: "crimg check image.elf --rehearse", text: "can it be resumed?" },
  ],
  async run(args, terminal) {
    const { image } = args;
    if (args.rehearse !== (image !== undefined)) {
      throw new CrimgError("usage.rehearse", image === undefined ? "--rehearse needs an image" : "an image is checked with --rehearse", {
        hint: "crimg check IMAGE --rehearse; crimg validate looks at an image without resuming it",
      });
    }
    if (image !== undefined) {
      const [{ rehearseImage }, { registry }] = await Promise.all([
        import("../../ops/rehearse-image.js"),
        import("../../../formats/registry.js"),
      ]);
      const outcome = await rehearseImage(image, registry);
      if (args.json) terminal.print(toJsonText(outcome));
      else if (outcome.isGood) terminal.print(`ok ${image} resumes here\n`);
      else terminal.say(`crimg: ${image} would not resume here: ${outcome.words}\n`);
      return outcome.isGood ? exitStatus.ok : exitStatus.findings;
    }
    const [{ hostFacts }, { hostRules }, { runRules }, { pathLocator }, { renderFinding }] = await Promise.all([
      import("../../validate/host/facts.js"),
      import("../../validate/host/host-rules.js"),
      import("../../validate/run-rules.js"),
      import("../../validate/locate.js"),
      import("../../validate/render-text.js"),
    ]);
    const facts = hostFacts();
    const { findings } = runRules(hostRules, facts, { source: "this host", locate: pathLocator });
    if (args.json) terminal.print(toJsonText({ facts, findings }));
    else {
      for (const rule of hostRules) {
        const found = findings.filter((finding) => finding.code === rule.code);
        const ok = terminal.color ? "\u001b[32mok\u001b[0m" : "ok";
        if (found.length === 0) terminal.print(`${ok} ${rule.summary}\n`);
        for (const { source: _source, ...finding } of found)
          terminal.print(renderFinding(finding, { color: terminal.color, excerpt: false }));
      }
    }
    const isBad = findings.some(({ severity }) => severity === "error" || (args.strict && severity === "warning"));
    return isBad ? exitStatus.findings : exitStatus.ok;
  },
});
