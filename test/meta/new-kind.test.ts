// SPDX-License-Identifier: Apache-2.0
/**
 * "Adding a resource" of CONTRIBUTING.md: a kind of open file that is added to the spec, and nowhere else, does not
 * compile, and the compiler names the record of every part that is missing. With the parts it compiles.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import test from "node:test";
import { generate } from "../../tools/gen/generate.js";
import { projectRoot } from "../support/project.js";

const copy = mkdtempSync(join(tmpdir(), "crimg-new-kind-"));
test.after(() => rmSync(copy, { recursive: true, force: true }));

/** A kind that no kernel has. Its parts are as small as their types let them be. */
const kind = "throwaway";
const parts: Readonly<Record<string, string>> = {
  dump: `import { anonymousName } from "../../dump/fds/facts.js";
import { eachAlone, type FileDump } from "../../dump/fds/kind.js";
export const dump: FileDump = {
  recognises: (facts) => anonymousName(facts) === "[throwaway]",
  collector: eachAlone(() => ({ kind: "throwaway" })),
};`,
  lower: `import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
export const lowering: FileLowering = {
  open: eachAlone(({ context }) => {
    const slot = context.builder.slot("throwaway");
    context.builder.syscall("eventfd2", [0, 0], { store: slot });
    context.keepHigh(slot);
    return slot;
  }),
};`,
  show: `import type { FileShow } from "../../ops/show/file-kind.js";
export const show: FileShow = { describe: () => "throwaway" };`,
  validate: `import type { FileValidation } from "../../validate/rules/file-kind.js";
export const validation: FileValidation = { problem: () => undefined, rules: [] };`,
  criu: `import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { objectOf, regToWire } from "../../../formats/criu/map/map-object.js";
export const mapping: FileMapping = {
  fromWire: () => undefined,
  toWire: (context, row, file) => regToWire(objectOf(context, file), context.fileId(row), file),
};`,
  losses: `import type { FileLosses } from "../../adapter/file-kind.js";
export const losses: FileLosses = { facet: "files", kept: { "ckpt-elf-v1": "none", crtools: "none", core: "none" } };`,
  arbitrary: `import fc from "fast-check";
import { fileArbitrary } from "../../../test/support/file-kind.js";
import { openFileRow } from "../../gen/tables.js";
export const arbitrary = fileArbitrary(fc.constant(null), ({ tables, hold }) => {
  hold(tables.files.push(openFileRow({ kind: "throwaway" })) - 1);
});`,
  projection: `import type { FileProjection } from "../../../test/support/file-kind.js";
export const projection: FileProjection = () => null;`,
};

/** Rows of the table of parts in CONTRIBUTING.md: part (undefined for what is no file) and record. */
function promisedParts(): { readonly part: string | undefined; readonly record: string }[] {
  const text = readFileSync(join(projectRoot, "CONTRIBUTING.md"), "utf8");
  return [...text.matchAll(/^ *\| (?:`([a-z]+)\.ts`|–) \| .* \| `([^`]+)` \|$/gm)].map(([, part, record]) => ({
    part,
    record: record ?? "",
  }));
}

/** What the compiler needs of the tree, and no more of the tests than the records. */
function copyTree(): void {
  for (const name of ["src", "formats", "spec", "test/support"]) cpSync(join(projectRoot, name), join(copy, name), { recursive: true });
  symlinkSync(join(projectRoot, "node_modules"), join(copy, "node_modules"));
  const config = JSON.parse(readFileSync(join(projectRoot, "tsconfig.json"), "utf8")) as Record<string, unknown>;
  const include = ["src/**/*.ts", "formats/**/*.ts", "test/support/file-kinds.ts", "test/support/checkpoint-arbitrary.ts"];
  writeFileSync(join(copy, "package.json"), JSON.stringify({ type: "module" }));
  writeFileSync(join(copy, "tsconfig.json"), JSON.stringify({ ...config, include }));
}

function edit(path: string, change: (text: string) => string): void {
  const before = readFileSync(join(copy, path), "utf8");
  const after = change(before);
  assert.notEqual(after, before, `nothing to change in ${path}`);
  writeFileSync(join(copy, path), after);
}

/** Errors of the compiler: file and words. */
function compile(): { readonly file: string; readonly text: string }[] {
  const compiler = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  const { stdout, error } = spawnSync(process.execPath, [compiler, "--noEmit", "--pretty", "false", "-p", copy], {
    cwd: copy,
    encoding: "utf8",
    timeout: 120_000,
  });
  assert.equal(error, undefined);
  return [...stdout.matchAll(/^(\S+)\(\d+,\d+\): error (.*)$/gm)].map(([, file = "", text = ""]) => ({ file, text }));
}

test("a kind of open file that lacks a part does not compile; with all parts it does", { timeout: 180_000 }, () => {
  const promised = promisedParts();
  assert.deepEqual(promised.flatMap(({ part }) => part ?? []).sort(), Object.keys(parts).sort(), "the table in CONTRIBUTING.md");
  copyTree();
  edit("spec/ksy/ckpt_elf_v2.ksy", (text) => text.replace(/( {2}file_kind:\n(?: {4}\d+: \w+\n)+)/, `$1    99: ${kind}\n`));
  for (const [path, content] of generate(copy)) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    writeFileSync(join(copy, path), content);
  }

  const missing = compile();
  assert.deepEqual(
    [...new Set(missing.map(({ file }) => file))].sort(),
    [...new Set(promised.map(({ record }) => record))].sort(),
    missing.map(({ file, text }) => `${file}: ${text}`).join("\n"),
  );
  for (const { file, text } of missing) assert.match(text, new RegExp(`\\b${kind}\\b`), file);
  // One error for each part, also where two go into one file.
  assert.equal(missing.length, promised.length);

  mkdirSync(join(copy, "src/kinds", kind));
  for (const { part, record } of promised) {
    if (part === undefined) {
      edit(record, (text) => text.replace("  tty: null,\n", `  tty: null,\n  ${kind}: null,\n`));
      continue;
    }
    writeFileSync(join(copy, "src/kinds", kind, `${part}.ts`), `${parts[part] ?? ""}\n`);
    edit(record, (text) => {
      // As the record has it for the terminals: import { NAME as ALIAS } from "…/tty/PART.js".
      const [line = "", name = "", alias = ""] =
        new RegExp(`import \\{ (\\w+) as (tty\\w*) \\} from "[^"]*/kinds/tty/${part}\\.js";\\n`).exec(text) ?? [];
      assert.notEqual(line, "", `${record} imports tty/${part}.js`);
      const own = alias.replace("tty", kind);
      const entry = alias === "tty" ? "  tty,\n" : `  tty: ${alias},\n`;
      return text
        .replace(line, `${line}${line.replace(`${name} as ${alias}`, `${name} as ${own}`).replace("/tty/", `/${kind}/`)}`)
        .replace(entry, `${entry}${entry.replaceAll("tty", kind)}`);
    });
  }
  assert.deepEqual(compile(), []);
});
