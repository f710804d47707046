// SPDX-License-Identifier: Apache-2.0
// Makes the pages of the library, build/api/index.html, from the comments in the sources: npm run api. TypeDoc has an installation
// of its own (package.json here, in build/typedoc), since it does not take the TypeScript that crimg is built with. A hand-written
// declaration without documentation is an error; rows of tables are generated, and described where the specification does.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const installed = join(here, "../../build/typedoc");
const typedoc = join(installed, "node_modules/typedoc/bin/typedoc");

function run(command, args, { cwd = here, stdio = "pipe" } = {}) {
  const { status, error, stderr, stdout } = spawnSync(command, args, { cwd, encoding: "utf8", stdio });
  if (error) throw error;
  return { status, text: `${stdout ?? ""}${stderr ?? ""}` };
}

if (!existsSync(typedoc)) {
  mkdirSync(installed, { recursive: true });
  for (const name of ["package.json", "package-lock.json"]) copyFileSync(join(here, name), join(installed, name));
  const { status } = run("npm", ["ci", "--no-audit", "--no-fund"], { cwd: installed, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}
const { status, text } = run(process.execPath, [typedoc, "--options", "typedoc.json"]);
const complaints = text.split("\n").filter((line) => /\[(?:warning|error)\]/.test(line.replace(/\u001b\[\d+m/g, "")));
const own = complaints.filter((line) => !line.includes("src/gen/") && !/Found \d+ errors/.test(line));
for (const line of own) console.error(line);
if (own.length > 0 || (status !== 0 && complaints.length === 0)) {
  if (own.length === 0) console.error(text);
  process.exit(1);
}
console.log(`api: ${join(here, "../../build/api/index.html")}`);
