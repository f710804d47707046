// SPDX-License-Identifier: Apache-2.0
/** The binfmt_misc rule, and completion scripts made from the commands' descriptions. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { commandEntries } from "../../src/cli/commands.js";
import { completionScript, type Shell, shells } from "../../src/cli/completion.js";
import { optionName } from "../../src/cli/parse.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { binfmtRule, installBinfmt, isBinfmtInstalled, removeBinfmt } from "../../src/ops/binfmt.js";
import { temporaryDirectory } from "../support/processes.js";

/** Magic and mask of a rule as bytes. */
function fieldsOf(rule: string): { readonly magic: number[]; readonly mask: number[]; readonly interpreter: string } {
  const fields = rule.split(rule[0] ?? ":");
  const bytes = (text: string | undefined): number[] =>
    [...(text ?? "").matchAll(/\\x([0-9a-f]{2})/g)].map(([, hex]) => Number.parseInt(hex ?? "", 16));
  assert.deepEqual([fields[1], fields[2], fields[3]], ["crimg-ckpt", "M", "0"]);
  return { magic: bytes(fields[4]), mask: bytes(fields[5]), interpreter: fields[6] ?? "" };
}

test("the rule matches ET_CKPT and no other ELF file", () => {
  const { magic, mask, interpreter } = fieldsOf(binfmtRule("/usr/bin/crimg-exec"));
  assert.equal(interpreter, "/usr/bin/crimg-exec");
  const matches = (file: Uint8Array): boolean => magic.every((byte, index) => ((file[index] ?? 0) & (mask[index] ?? 0)) === byte);
  const header = (type: number, osabi = 0): Uint8Array =>
    Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, osabi, 0, 0, 0, 0, 0, 0, 0, 0, type, 0);
  assert.ok(matches(header(5)));
  assert.ok(matches(header(5, 3)));
  for (const type of [0, 1, 2, 3, 4, 6]) assert.ok(!matches(header(type)), `e_type ${type}`);
  assert.ok(!matches(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0)), "32 bits");
});

test("a path with colons gets another separator; what no rule can hold is refused", () => {
  assert.equal(fieldsOf(binfmtRule("/opt/a:b/crimg-exec")).interpreter, "/opt/a:b/crimg-exec");
  for (const path of ["crimg-exec", "/opt/\n", `/${"x".repeat(2000)}`]) {
    assert.throws(
      () => binfmtRule(path),
      (error) => error instanceof CrimgError && error.code === "binfmt.path",
    );
  }
});

test("installing replaces a rule of the name, removing says whether there was one", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "crimg-binfmt-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  assert.throws(
    () => installBinfmt("/bin/x", folder),
    (error) => error instanceof CrimgError && error.code === "binfmt.absent",
  );
  writeFileSync(join(folder, "register"), "");
  assert.equal(removeBinfmt(folder), false);
  installBinfmt("/bin/x", folder);
  assert.match(readFileSync(join(folder, "register"), "utf8"), /^:crimg-ckpt:M:0:.*:\/bin\/x:$/);
  writeFileSync(join(folder, "crimg-ckpt"), "enabled\n");
  assert.equal(isBinfmtInstalled(folder), true);
  installBinfmt("/bin/y", folder);
  assert.equal(readFileSync(join(folder, "crimg-ckpt"), "utf8"), "-1", "the old rule went first");
  assert.match(readFileSync(join(folder, "register"), "utf8"), /\/bin\/y/);
});

const formats = { from: ["ckpt-elf", "crtools", "dmtcp"], to: ["ckpt-elf", "crtools"] };

for (const shell of shells) {
  test(`the ${shell} script knows every command and every option`, async (t) => {
    const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
    const script = completionScript(shell, commands, formats);
    for (const command of commands) {
      assert.match(script, new RegExp(`\\b${command.name}\\b`));
      for (const key of Object.keys(command.options)) assert.ok(script.includes(optionName(key)), `${command.name} ${key}`);
    }
    // A shell that is there judges its own syntax.
    const check = spawnSync(shell, ["-n", await scriptFile(t, shell, "script")], { encoding: "utf8" });
    if (check.error === undefined) assert.equal(check.status, 0, check.stderr);
  });
}

test("bash completes commands, formats, choices and options", async () => {
  const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
  const script = completionScript("bash", commands, formats);
  const complete = (...words: readonly string[]): string => {
    const list = words.map((word) => `'${word}'`).join(" ");
    const run = spawnSync(
      "bash",
      ["-c", `compopt() { :; }\n${script}\nCOMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _crimg; echo "\${COMPREPLY[@]}"`],
      { encoding: "utf8" },
    );
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
  };
  assert.equal(complete("crimg", "conv"), "convert");
  assert.equal(complete("crimg", "convert", "a", "b", "--to", "cr"), "crtools");
  assert.equal(complete("crimg", "show", "a", "ma"), "maps");
  assert.equal(complete("crimg", "dump", "--leave-r"), "--leave-running");
  assert.equal(complete("crimg", "completion", "f"), "fish");
});

const isThere = (shell: string): boolean => spawnSync(shell, ["-c", "true"]).status === 0;

/** What is asked of zsh and fish, and what the line becomes. */
const completions = [
  ["crimg conv", "crimg convert"],
  ["crimg convert a b --to crt", "crimg convert a b --to crtools"],
  ["crimg show a map", "crimg show a maps"],
  ["crimg dump --leave-r", "crimg dump --leave-running"],
  ["crimg completion f", "crimg completion fish"],
] as const;

async function scriptFile(t: TestContext, shell: Shell, name: string): Promise<string> {
  const folder = temporaryDirectory(t);
  const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
  const path = join(folder, name);
  writeFileSync(path, completionScript(shell, commands, formats));
  return path;
}

test("fish loads its script and completes", { skip: !isThere("fish") && "no fish" }, async (t) => {
  const path = await scriptFile(t, "fish", "crimg.fish");
  for (const [typed, completed] of completions) {
    const run = spawnSync("fish", ["--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, path, typed], {
      encoding: "utf8",
      timeout: 20_000,
    });
    assert.equal(run.status, 0, run.stderr);
    assert.equal(run.stdout.split(/[\t\n]/)[0], completed.slice(completed.lastIndexOf(" ") + 1), run.stdout);
  }
});

/** An interactive zsh on a pseudo-terminal: Tab completes and tells the line. Prints one line for each argument after the folder. */
const askZsh = `
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -D"
zpty -w shell 'complete-and-tell() { zle complete-word; print -rn -- "<<$BUFFER>>"; BUFFER= }; zle -N complete-and-tell'
zpty -w shell 'bindkey "^I" complete-and-tell; print -r ready'
zpty -r -m shell line '*ready'$'\r'$'\n''*'
for words in "\${@:2}"; do
  zpty -w -n shell "$words"$'\t'
  zpty -r -m shell line '*<<*>>*'
  print -r -- "\${\${line##*<<}%%>>*}"
done
zpty -d shell
`;

test("zsh loads its script and completes", { skip: !isThere("zsh") && "no zsh" }, async (t) => {
  const path = await scriptFile(t, "zsh", "_crimg");
  const run = spawnSync("zsh", ["-f", "-c", askZsh, "zsh", dirname(path), ...completions.map(([typed]) => typed)], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(run.status, 0, run.stderr);
  assert.deepEqual(
    run.stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => line.trimEnd()),
    completions.map(([, completed]) => completed),
  );
});
