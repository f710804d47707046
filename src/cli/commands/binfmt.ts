// SPDX-License-Identifier: Apache-2.0
import { CrimgError, exitStatus } from "../../errors/crimg-error.js";
import { defineCommand } from "../command.js";

export const command = defineCommand({
  name: "binfmt",
  describe: "Let the kernel execute images of 2011 (ET_CKPT) directly",
  notes: [
    "Images of version 2 do not need it: any kernel executes them. With the rule installed, ./old.elf runs `crimg exec old.elf`.",
    "--install lasts until the next boot. To keep the rule, put the output of --print into /etc/binfmt.d/crimg.conf.",
  ],
  positionals: {},
  options: {
    install: { type: "boolean", describe: "Register the rule with the kernel (root)" },
    remove: { type: "boolean", describe: "Remove the rule (root)" },
    print: { type: "boolean", describe: "Print the rule" },
  },
  examples: [
    { command: "crimg binfmt --install", text: "then ./old.elf works" },
    { command: "crimg binfmt --print > /etc/binfmt.d/crimg.conf", text: "at every boot, where systemd reads that folder" },
  ],
  async run(args, terminal) {
    if ([args.install, args.remove, args.print].filter(Boolean).length !== 1) {
      throw new CrimgError("usage.bad", "one of --install, --remove and --print is needed");
    }
    const { binfmtInterpreter, binfmtRule, installBinfmt, removeBinfmt } = await import("../../ops/binfmt.js");
    const interpreter = binfmtInterpreter();
    if (args.print) terminal.print(`${binfmtRule(interpreter)}\n`);
    else if (args.install) installBinfmt(interpreter);
    else if (!removeBinfmt()) terminal.note("there was no rule\n");
    return exitStatus.ok;
  },
});
