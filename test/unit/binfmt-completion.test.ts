/** The binfmt_misc rule, and completion scripts made from the commands' descriptions. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { commandEntries } from "../../src/cli/commands.js";
import { completionScript, shells } from "../../src/cli/completion.js";
import { optionName } from "../../src/cli/parse.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { binfmtRule, installBinfmt, isBinfmtInstalled, removeBinfmt } from "../../src/ops/binfmt.js";

/** Magic and mask of a rule as bytes. */
function fieldsOf(rule: string): { readonly magic: number[]; readonly mask: number[]; readonly interpreter: string } {
  const fields = rule.split(rule[0] ?? ":");
  const bytes = (text: string | undefined): number[] => [...(text ?? "").matchAll(/\\x([0-9a-f]{2})/g)].map(([, hex]) => Number.parseInt(hex ?? "", 16));
  assert.deepEqual([fields[1], fields[2], fields[3]], ["crimg-ckpt", "M", "0"]);
  return { magic: bytes(fields[4]), mask: bytes(fields[5]), interpreter: fields[6] ?? "" };
}

test("the rule matches ET_CKPT and no other ELF file", () => {
  const { magic, mask, interpreter } = fieldsOf(binfmtRule("/usr/bin/crimg-exec"));
  assert.equal(interpreter, "/usr/bin/crimg-exec");
  const matches = (file: Uint8Array): boolean => magic.every((byte, index) => ((file[index] ?? 0) & (mask[index] ?? 0)) === byte);
  const header = (type: number, osabi = 0): Uint8Array => Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, osabi, 0, 0, 0, 0, 0, 0, 0, 0, type, 0);
  assert.ok(matches(header(5)));
  assert.ok(matches(header(5, 3)));
  for (const type of [0, 1, 2, 3, 4, 6]) assert.ok(!matches(header(type)), `e_type ${type}`);
  assert.ok(!matches(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0)), "32 bits");
});

test("a path with colons gets another separator; what no rule can hold is refused", () => {
  assert.equal(fieldsOf(binfmtRule("/opt/a:b/crimg-exec")).interpreter, "/opt/a:b/crimg-exec");
  for (const path of ["crimg-exec", "/opt/\n", `/${"x".repeat(2000)}`]) {
    assert.throws(() => binfmtRule(path), (error) => error instanceof CrimgError && error.code === "binfmt.path");
  }
});

test("installing replaces a rule of the name, removing says whether there was one", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "crimg-binfmt-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  assert.throws(() => installBinfmt("/bin/x", folder), (error) => error instanceof CrimgError && error.code === "binfmt.absent");
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

for (const shell of shells) {
  test(`the ${shell} script knows every command and every option`, async () => {
    const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
    const script = completionScript(shell, commands, ["ckpt-elf", "crtools"]);
    for (const command of commands) {
      assert.match(script, new RegExp(`\\b${command.name}\\b`));
      for (const key of Object.keys(command.options)) assert.ok(script.includes(optionName(key)), `${command.name} ${key}`);
    }
    // A shell that is there judges its own syntax.
    const check = spawnSync(shell, ["-n"], { input: script, encoding: "utf8" });
    if (check.error === undefined) assert.equal(check.status, 0, check.stderr);
  });
}

test("bash completes commands, formats, choices and options", async () => {
  const commands = await Promise.all(commandEntries.map((entry) => entry.load()));
  const script = completionScript("bash", commands, ["ckpt-elf", "crtools"]);
  const complete = (...words: readonly string[]): string => {
    const list = words.map((word) => `'${word}'`).join(" ");
    const run = spawnSync("bash", ["-c", `compopt() { :; }\n${script}\nCOMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _crimg; echo "\${COMPREPLY[@]}"`], { encoding: "utf8" });
    assert.equal(run.status, 0, run.stderr);
    return run.stdout.trim();
  };
  assert.equal(complete("crimg", "conv"), "convert");
  assert.equal(complete("crimg", "convert", "a", "b", "--to", "cr"), "crtools");
  assert.equal(complete("crimg", "show", "a", "ma"), "maps");
  assert.equal(complete("crimg", "dump", "--leave-r"), "--leave-running");
  assert.equal(complete("crimg", "completion", "f"), "fish");
});
