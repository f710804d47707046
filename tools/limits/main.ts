// SPDX-License-Identifier: Apache-2.0
/** `npm run limits`: runs every probe of test/probes and writes docs/limits.md; ends with 1 if one is not as its list says. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { families } from "../../test/probes/families.js";
import { limitsPage } from "../../test/probes/page.js";
import { groupsOf } from "../../test/probes/probe.js";
import { runProbes } from "../../test/support/probe-run.js";
import { projectRoot } from "../../test/support/project.js";

const untried = new Set<string>();
let isWrong = false;
const wanted = process.argv[2];
for (const family of families) {
  if (wanted !== undefined && family.program !== wanted) continue;
  for (const group of groupsOf(family)) {
    await runProbes(family, group, (probe, result) => {
      if (result.kind === "unavailable") untried.add(probe.state);
      if (result.kind === "wrong") isWrong = true;
      const said = result.kind === "wrong" ? `WRONG: ${result.what}` : result.kind === "unavailable" ? `not here: ${result.why}` : "ok";
      console.log(`${family.program} ${probe.name}: ${said}`);
    });
  }
}
// With the name of one family, only that is tried.
if (!isWrong && wanted === undefined) writeFileSync(join(projectRoot, "docs/limits.md"), limitsPage(families, untried));
process.exit(isWrong ? 1 : 0);
