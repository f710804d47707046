// SPDX-License-Identifier: Apache-2.0
/**
 * The npm package. It has no dependencies: the command's and the library's bundles hold them. The addon uses no C library,
 * so that one file serves every Node on x86-64. Code caches are left out: they belong to one version of V8, and npm asks users
 * before it runs a script that would make them.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { build } from "esbuild";
import { manifest, manualFolder, packageFolder, root, run, take } from "./places.js";

/** Declarations that `src/index.d.ts` leads to. */
function declarations(): string[] {
  const found = new Set<string>();
  const visit = (path: string): void => {
    if (found.has(path)) return;
    found.add(path);
    for (const [, name = ""] of readFileSync(path, "utf8").matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)) {
      visit(resolve(dirname(path), name.replace(/\.js$/, ".d.ts")));
    }
  };
  visit(join(root, "dist/src/index.d.ts"));
  return [...found].map((path) => relative(root, path));
}

async function bundleLibrary(outfile: string): Promise<void> {
  await build({
    entryPoints: [join(root, "dist/src/index.js")],
    outfile,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node20",
    format: "esm",
    banner: { js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);' },
    external: ["iconv-lite"],
    logLevel: "warning",
  });
}

export async function makeNpm(): Promise<string> {
  const stage = join(packageFolder, "npm");
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(stage, { recursive: true });
  const { name, version, description, license, type, engines, os } = manifest();
  const files = ["bin", "build", "dist", "man", "completions", "spec/schema", "LICENSE", "README.md", "CHANGELOG.md"];
  const pages = run("ls", [join(manualFolder, "man")])
    .trim()
    .split("\n");
  const own = {
    ...{ name, version, description, license, type, engines, os },
    cpu: ["x64"],
    bin: { crimg: "bin/crimg" },
    man: pages.map((page) => `man/${page}`),
    exports: { ".": { types: "./dist/src/index.d.ts", default: "./dist/bundle/lib/index.js" } },
    files,
  };
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(own, null, 2)}\n`);
  for (const path of [
    "bin",
    "build/addon.node",
    "build/interp.bin",
    "build/crimg-cuda",
    "spec/schema",
    "LICENSE",
    "README.md",
    "dist/bundle/cli/main.cjs",
    "dist/bundle/cli/vm-flags.bin",
    "dist/bundle/report",
  ])
    take(stage, path);
  if (existsSync(join(root, "CHANGELOG.md"))) take(stage, "CHANGELOG.md");
  chmodSync(join(stage, "build/addon.node"), 0o644);
  for (const path of declarations()) take(stage, path);
  take(stage, relative(root, join(manualFolder, "man")), "man");
  take(stage, relative(root, join(manualFolder, "completions")), "completions");
  await bundleLibrary(join(stage, "dist/bundle/lib/index.js"));
  run("npm", ["pack", "--ignore-scripts", "--pack-destination", packageFolder], stage);
  return `crimg-${version}.tgz`;
}
