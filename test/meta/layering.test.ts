// SPDX-License-Identifier: Apache-2.0
/**
 * Who may import whom (docs/architecture.md draws it). A folder may import itself and what its row names; nothing else.
 */
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import test from "node:test";
import { projectRoot } from "../support/project.js";

const everything = ["*"];
const ground = ["src/gen", "src/bytes", "src/errors"];
const allowed: Readonly<Record<string, readonly string[]>> = {
  "src/errors": [],
  "src/linux": [],
  "src/resources": [],
  "src/bytes": ["src/errors"],
  "src/gen": ["src/bytes", "src/errors"],
  "src/elf": ground,
  "src/model": ["src/linux", ...ground],
  "src/native": ["src/resources", "src/linux", "src/errors"],
  "src/pages": ["src/elf", "src/model", "src/native", "src/linux", ...ground],
  "src/adapter": ["src/linux", "src/model", "src/native", ...ground],
  // The rows read and set through interfaces of their own, which the dump and the lowering implement.
  "src/state": ["src/linux", "src/model", ...ground],
  "src/lower": ["src/state", "src/linux", "src/model", "src/elf", ...ground],
  "src/dump": ["src/state", "src/linux", "src/native", "src/pages", "src/model", "src/elf", ...ground],
  "src/cuda": ["src/resources", "src/dump", "src/native", ...ground],
  "src/validate": [
    "src/cuda",
    "src/state",
    "formats",
    "src/rfc2011",
    "src/lower",
    "src/native",
    "src/linux",
    "src/adapter",
    "src/pages",
    "src/model",
    "src/elf",
    ...ground,
  ],
  "src/rfc2011": ["src/state", "src/adapter", "src/pages", "src/model", ...ground],
  formats: ["src/linux", "src/state", "src/resources", "src/rfc2011", "src/adapter", "src/pages", "src/model", "src/elf", ...ground],
  "formats/registry.ts": everything,
  "formats/ckpt-elf": ["src/resources", "src/lower", "src/adapter", "src/pages", "src/model", "src/elf", ...ground],
  "src/ops": everything,
  "src/cli": everything,
  test: everything,
  "src/index.ts": everything,
};

/** Formats that are another container for what a second one says, and use how that is understood. */
const sameContent: Readonly<Record<string, string>> = { "formats/minidump": "formats/core" };

/** Source files of a folder, generated ones included. */
function sources(folder: string): string[] {
  return readdirSync(join(projectRoot, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  });
}

/** The layer of each part of a kind of open file: src/kinds/KIND/dump.ts (or dump-*.ts, in a sub-folder too) is dump. */
const layerOfPart: Readonly<Record<string, string>> = {
  dump: "src/dump",
  lower: "src/lower",
  criu: "formats/criu",
  show: "src/ops",
  validate: "src/validate",
  losses: "src/adapter",
  arbitrary: "test",
  projection: "test",
};

/** Where a file counts as lying: a part of a kind in its layer. */
function placeOf(file: string): string {
  if (!file.startsWith("src/kinds/")) return file;
  const part = /^[a-z]+/.exec(file.slice(file.lastIndexOf("/") + 1))?.[0] ?? "";
  const layer = layerOfPart[part];
  assert.ok(layer, `${file} is no part of a kind: its name begins with ${Object.keys(layerOfPart).join(", ")}`);
  return `${layer}/${file}`;
}

/** The row of the table that a file belongs to: the longest that fits; a format folder without one is "formats". */
function layerOf(file: string): string {
  const layer = Object.keys(allowed)
    .filter((name) => file === name || file.startsWith(`${name}/`))
    .sort((a, b) => b.length - a.length)[0];
  assert.ok(layer, `${file} stands in no folder of the table: add a row to test/meta/layering.test.ts and docs/architecture.md`);
  return layer;
}

/** What is wrong with `file` importing `imported`, or undefined. */
function breach(importer: string, target: string): string | undefined {
  const [file, imported] = [placeOf(importer), placeOf(target)];
  const [from, to] = [layerOf(file), layerOf(imported)];
  const rules = allowed[from] ?? [];
  const format = /^formats\/[^/]+(?=\/)/.exec(file)?.[0];
  if (format !== undefined && imported.startsWith("formats/")) {
    return imported.startsWith(`${format}/`) || imported.startsWith(`${sameContent[format]}/`)
      ? undefined
      : `${file} imports ${imported}, another format`;
  }
  if (to === "test" && from !== "test") return `${file} imports ${imported}: that is for tests`;
  if (from === "src/ops" && to === "src/cli") return `${file} imports ${imported}: operations know no command line`;
  if (from === to || rules.includes("*") || rules.includes(to) || (to.startsWith("formats/") && rules.includes("formats")))
    return undefined;
  return `${file} imports ${imported}: ${from} may import ${rules.join(", ") || "nothing"}`;
}

test("imports keep to the table of who may import whom", () => {
  const breaches: string[] = [];
  for (const file of [...sources("src"), ...sources("formats")]) {
    const text = readFileSync(join(projectRoot, file), "utf8");
    for (const [, target] of text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      const imported = relative(projectRoot, resolve(projectRoot, dirname(file), target ?? "")).replace(/\.js$/, ".ts");
      const found = breach(file, imported);
      if (found) breaches.push(found);
    }
  }
  assert.deepEqual(breaches, []);
});

test("only src/native opens the addon", () => {
  for (const file of [...sources("src"), ...sources("formats")]) {
    if (file.startsWith("src/native/")) continue;
    assert.doesNotMatch(readFileSync(join(projectRoot, file), "utf8"), /addon\.node/, file);
  }
});
