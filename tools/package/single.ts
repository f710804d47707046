// SPDX-License-Identifier: Apache-2.0
/**
 * One executable: Node with crimg's bundle, its native parts, and code caches made by that very Node (Node's single
 * executable applications; the blob is put in by postject).
 */
import { chmodSync, copyFileSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { inject } from "postject";
import { readFileSync } from "node:fs";
import { packageFolder, root, run } from "./places.js";

/** The mark that Node's own start looks for. */
const fuse = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

export async function makeSingle(): Promise<string> {
  const work = join(packageFolder, "single");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  const bundle = join(root, "dist/bundle/cli");
  const assets = Object.fromEntries([
    ...["package.json", "build/addon.node", "build/interp.bin", "build/crimg-cuda"].map((name) => [name, join(root, name)]),
    ...readdirSync(join(root, "spec/schema")).map((name) => [`spec/schema/${name}`, join(root, "spec/schema", name)]),
    ...["page.js", "page.css"].map((name) => [`dist/bundle/report/${name}`, join(root, "dist/bundle/report", name)]),
    ...readdirSync(bundle).map((name) => [`bundle/${name}`, join(bundle, name)]),
  ]) as Record<string, string>;
  const blob = join(work, "crimg.blob");
  const config = {
    main: join(root, "tools/package/single.cjs"),
    output: blob,
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    assets,
  };
  writeFileSync(join(work, "config.json"), JSON.stringify(config));
  run(process.execPath, ["--experimental-sea-config", join(work, "config.json")]);
  const target = join(packageFolder, "crimg");
  copyFileSync(process.execPath, target);
  chmodSync(target, 0o755);
  // Symbols of Node are of use to those who debug Node.
  run("strip", [target]);
  await inject(target, "NODE_SEA_BLOB", readFileSync(blob), { sentinelFuse: fuse });
  rmSync(work, { recursive: true, force: true });
  return basename(target);
}
