// SPDX-License-Identifier: Apache-2.0
/** Manual pages and completions. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandEntries } from "../../src/cli/commands.js";
import { completionScript } from "../../src/cli/completion.js";
import { formatNames } from "../../src/cli/format-names.js";
import { commandPage, overviewPage } from "../../src/cli/man.js";
import { manifest, manualFolder } from "./places.js";

export async function makeManual(): Promise<string> {
  const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
  const { version } = manifest();
  const man = join(manualFolder, "man");
  const completions = join(manualFolder, "completions");
  mkdirSync(man, { recursive: true });
  mkdirSync(completions, { recursive: true });
  writeFileSync(join(man, "crimg.1"), overviewPage(commands, version));
  for (const command of commands) writeFileSync(join(man, `crimg-${command.name}.1`), commandPage(command, version));
  const formats = await formatNames();
  writeFileSync(join(completions, "crimg.bash"), completionScript("bash", commands, formats));
  writeFileSync(join(completions, "_crimg"), completionScript("zsh", commands, formats));
  writeFileSync(join(completions, "crimg.fish"), completionScript("fish", commands, formats));
  return "manual";
}
