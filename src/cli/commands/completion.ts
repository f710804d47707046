// SPDX-License-Identifier: Apache-2.0
import { exitStatus } from "../../errors/crimg-error.js";
import { defineCommand } from "../command.js";
import { shells } from "../completion.js";

export const command = defineCommand({
  name: "completion",
  describe: "Print a completion script for bash, zsh or fish",
  positionals: { shell: { describe: "The shell", choices: shells } },
  options: {},
  examples: [
    { command: "crimg completion bash > /etc/bash_completion.d/crimg", text: "for everybody, in bash" },
    { command: "source <(crimg completion zsh)", text: "for this zsh" },
    { command: "crimg completion fish > ~/.config/fish/completions/crimg.fish", text: "for this user, in fish" },
  ],
  async run(args, terminal) {
    const [{ completionScript }, { commandEntries }, { formatNames }] = await Promise.all([
      import("../completion.js"),
      import("../commands.js"),
      import("../format-names.js"),
    ]);
    const shell = shells.find((one) => one === args.shell) ?? "bash";
    const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
    terminal.print(completionScript(shell, commands, await formatNames()));
    return exitStatus.ok;
  },
});
