// SPDX-License-Identifier: Apache-2.0
import { exitStatus } from "../../errors/crimg-error.js";
import { toJsonText } from "../../errors/json.js";
import { defineCommand } from "../command.js";

export const command = defineCommand({
  name: "diff",
  describe: "Show how two checkpoints differ",
  notes: [
    "Compares tree, threads, registers, mappings, content of pages, and descriptors. The formats may differ. " +
      "Processes are matched by their ids.",
    "Exit status as that of diff: 0 they are the same, 1 they differ, 2 trouble.",
  ],
  positionals: { a: { describe: "Checkpoint", isFile: true }, b: { describe: "Checkpoint", isFile: true } },
  options: {
    json: { type: "boolean", describe: "As JSON" },
    brief: { type: "boolean", alias: "q", describe: "Only tell whether they differ" },
  },
  examples: [
    { command: "crimg diff before.elf after.elf", text: "what has changed" },
    { command: "crimg diff image.elf criu-dir --json", text: "for scripts" },
  ],
  async run(args, terminal) {
    const [{ diffCheckpoints, renderDiff }, { readCheckpoint }, { resolveInput }, { registry }] = await Promise.all([
      import("../../ops/diff.js"),
      import("../../ops/convert.js"),
      import("../../ops/input.js"),
      import("../../../formats/registry.js"),
    ]);
    const inputs = [resolveInput(args.a), resolveInput(args.b)] as const;
    try {
      const a = (await readCheckpoint(inputs[0], { registry })).checkpoint;
      try {
        const b = (await readCheckpoint(inputs[1], { registry })).checkpoint;
        try {
          const differences = diffCheckpoints(a, b);
          if (args.json) terminal.print(toJsonText({ a: inputs[0].name, b: inputs[1].name, differences }));
          else if (differences.length > 0) {
            terminal.print(args.brief ? `${inputs[0].name} and ${inputs[1].name} differ\n` : renderDiff(differences));
          }
          return differences.length === 0 ? exitStatus.ok : exitStatus.findings;
        } finally {
          b.close();
        }
      } finally {
        a.close();
      }
    } finally {
      for (const input of inputs) input.close();
    }
  },
});
