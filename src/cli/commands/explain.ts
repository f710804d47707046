// SPDX-License-Identifier: Apache-2.0
import { exitStatus } from "../../errors/crimg-error.js";
import { defineCommand } from "../command.js";

export const command = defineCommand({
  name: "explain",
  describe: "Show what an image does when it is executed, one line for each operation",
  notes: ["The lines resemble those of strace: $name is an earlier result, <name> a value shared by all tasks, > marks a jump target."],
  positionals: { image: { describe: "An image in any format" } },
  options: { from: { type: "string", value: "FORMAT", describe: "Format, instead of recognising it" } },
  examples: [{ command: "crimg explain image.elf | less", text: "before running it" }],
  async run(args, terminal) {
    const [{ explain }, { registry }] = await Promise.all([import("../../ops/explain.js"), import("../../../formats/registry.js")]);
    let text = "";
    for (const line of await explain({ registry, image: args.image, ...(args.from === undefined ? {} : { from: args.from }) })) {
      text += `${line}\n`;
      if (text.length < 1 << 16) continue;
      terminal.print(text);
      text = "";
    }
    terminal.print(text);
    return exitStatus.ok;
  },
});
