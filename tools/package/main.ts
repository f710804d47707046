// SPDX-License-Identifier: Apache-2.0
/**
 * Makes what people install, in build/package: `npm run package [-- npm man single deb]`, all of it by default.
 *
 *   crimg-VERSION.tgz        for npm i -g: built, without dependencies, the native parts for every C library
 *   crimg                    one executable: Node's single executable application
 *   crimg_VERSION_amd64.deb  that executable, manual pages and completions
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeDebian } from "./debian.js";
import { makeManual } from "./manual.js";
import { makeNpm } from "./npm.js";
import { packageFolder } from "./places.js";
import { makeSingle } from "./single.js";

const steps = { man: makeManual, npm: makeNpm, single: makeSingle, deb: makeDebian } as const;

const wanted = process.argv.slice(2);
if (wanted.length === 0) rmSync(packageFolder, { recursive: true, force: true });
mkdirSync(packageFolder, { recursive: true });
for (const [name, make] of Object.entries(steps)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`${name}: ${join(packageFolder, await make())}`);
}
