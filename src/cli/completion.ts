// SPDX-License-Identifier: Apache-2.0
/**
 * Completion scripts, made from the descriptions of the commands: what `--help` says is what completes. The scripts
 * are static, so that completing starts no process.
 */
import type { Command, OptionSpec, PositionalSpec } from "./command.js";
import { optionName } from "./parse.js";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** An option as the shells need it. */
interface Word {
  readonly long: string;
  readonly short: string | undefined;
  readonly describe: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly isFile: boolean;
}

/** Ids of the formats that --from and --to take. */
export interface FormatNames {
  readonly from: readonly string[];
  readonly to: readonly string[];
}

function wordsOf(command: Command, formats: FormatNames): Word[] {
  const own = Object.entries(command.options).map(([key, spec]: [string, OptionSpec]): Word => {
    return {
      long: `--${optionName(key)}`,
      short: spec.alias === undefined ? undefined : `-${spec.alias}`,
      describe: spec.describe,
      takesValue: spec.type !== "boolean" && spec.valueOptional !== true,
      choices: spec.choices ?? (key === "to" || key === "from" ? formats[key] : []),
      isFile: spec.isFile === true,
    };
  });
  return [...own, { long: "--help", short: "-h", describe: "Show help", takesValue: false, choices: [], isFile: false }];
}

/** What the positionals of a command complete with: words to choose from, or files. */
function positionalsOf(command: Command): { readonly choices: readonly string[]; readonly takesFiles: boolean } {
  const specs: readonly PositionalSpec[] = Object.values(command.positionals);
  return { choices: specs.flatMap((spec) => spec.choices ?? spec.suggests ?? []), takesFiles: specs.some((spec) => spec.isFile) };
}

/** The script of a shell. */
export function completionScript(shell: Shell, commands: readonly Command[], formats: FormatNames): string {
  switch (shell) {
    case "bash":
      return bash(commands, formats);
    case "zsh":
      return zsh(commands, formats);
    case "fish":
      return fish(commands, formats);
  }
}

function bash(commands: readonly Command[], formats: FormatNames): string {
  const cases = commands.map((command) => {
    const words = wordsOf(command, formats);
    const { choices, takesFiles } = positionalsOf(command);
    const values = words
      .filter((word) => word.takesValue)
      .map((word) => {
        const names = [word.long, word.short].filter((name) => name !== undefined).join("|");
        const action = word.isFile ? "compopt -o default; COMPREPLY=()" : `COMPREPLY=($(compgen -W "${word.choices.join(" ")}" -- "$cur"))`;
        return `        ${names}) ${action}; return ;;\n`;
      });
    const options = words.flatMap((word) => [word.long, word.short ?? []].flat()).join(" ");
    return [
      `    ${command.name})\n`,
      values.length === 0 ? "" : `      case "$prev" in\n${values.join("")}      esac\n`,
      `      options="${options}"\n      words="${choices.join(" ")}"\n      files=${takesFiles ? "1" : ""}\n      ;;\n`,
    ].join("");
  });
  return `# bash completion of crimg; crimg completion bash made it.
_crimg() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} options="" words="" files=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${commands.map((command) => command.name).join(" ")} --help --version" -- "$cur"))
    return
  fi
  case "\${COMP_WORDS[1]}" in
${cases.join("")}  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [ -n "$files" ]; then compopt -o default; fi
}
complete -F _crimg crimg
`;
}

/** Text inside single quotes of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Text of a zsh specification: brackets and colons mean something there. */
function zshText(text: string): string {
  return text.replace(/[[\]:\\]/g, (sign) => `\\${sign}`);
}

function zsh(commands: readonly Command[], formats: FormatNames): string {
  const list = commands.map((command) => `    ${quoted(`${command.name}:${zshText(command.describe)}`)}\n`);
  const cases = commands.map((command) => {
    const specs = wordsOf(command, formats).flatMap((word) => {
      const value = !word.takesValue ? "" : `:value:${word.isFile ? "_files" : `(${word.choices.join(" ")})`}`;
      return [word.long, word.short ?? []].flat().map((name) => quoted(`*${name}[${zshText(word.describe)}]${value}`));
    });
    const { choices, takesFiles } = positionalsOf(command);
    if (choices.length > 0) specs.push(quoted(takesFiles ? `2:what:(${choices.join(" ")})` : `*:what:(${choices.join(" ")})`));
    if (takesFiles) specs.push(quoted(choices.length > 0 ? "1:file:_files" : "*:file:_files"));
    return `    ${command.name})\n      _arguments \\\n        ${specs.join(" \\\n        ")}\n      ;;\n`;
  });
  return `#compdef crimg
# zsh completion of crimg; crimg completion zsh made it.
_crimg() {
  local -a commands
  commands=(
${list.join("")}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=\${words[2]}
  shift words
  (( CURRENT-- ))
  case "$command" in
${cases.join("")}  esac
}
if [ "$funcstack[1]" = _crimg ]; then _crimg "$@"; else compdef _crimg crimg; fi
`;
}

function fish(commands: readonly Command[], formats: FormatNames): string {
  const lines = ["# fish completion of crimg; crimg completion fish made it.", "complete -c crimg -f"];
  for (const command of commands) {
    lines.push(`complete -c crimg -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.describe)}`);
    const inside = `-n '__fish_seen_subcommand_from ${command.name}'`;
    for (const word of wordsOf(command, formats)) {
      const short = word.short === undefined ? "" : ` -s ${word.short.slice(1)}`;
      const value = !word.takesValue
        ? ""
        : word.isFile
          ? " -r -F"
          : word.choices.length > 0
            ? ` -x -a ${quoted(word.choices.join(" "))}`
            : " -x";
      lines.push(`complete -c crimg ${inside} -l ${word.long.slice(2)}${short}${value} -d ${quoted(word.describe)}`);
    }
    const { choices, takesFiles } = positionalsOf(command);
    if (choices.length > 0) lines.push(`complete -c crimg ${inside} -a ${quoted(choices.join(" "))}`);
    if (takesFiles) lines.push(`complete -c crimg ${inside} -F`);
  }
  return `${lines.join("\n")}\n`;
}
