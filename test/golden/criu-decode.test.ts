// SPDX-License-Identifier: Apache-2.0
/** Our descriptions against CRIU's own decoder: every image of every fixture says the same. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { decodeImage } from "../support/criu.js";
import { fixtures } from "../support/project.js";

/** The decoder's numbers beyond 2^53 are digits in its JSON: kept as text. */
function parseExactly(text: string): Record<string, { entries: unknown[] }> {
  return JSON.parse(text.replaceAll(/([:[,]\s*)(-?\d{16,})(?=[,\]}\s])/g, '$1"$2"')) as Record<string, { entries: unknown[] }>;
}

/** Names that its decoder shows for numbers. */
const names: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  mtype: { X86_64: 1 },
  mode: { NATIVE: 1 },
  task_state: { Alive: 1, Zombie: 3, Stopped: 6 },
  lsmtype: { NO_LSM: 0 },
  type: { REG: 1, PIPE: 2, UNIXSK: 5, EVENTFD: 6, MEMFD: 18, STREAM: 1 },
  state: { ESTABLISHED: 1 },
};

/** Both sides in one form: integers as text, bytes as latin1 text, absent and empty lists alike. */
function normal(value: unknown, key = ""): unknown {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "boolean") return value;
  if (typeof value === "string") {
    const known = names[key]?.[value];
    return known === undefined ? value.replaceAll("\n", "") : String(known);
  }
  if (Array.isArray(value)) return value.map((one) => normal(one, key));
  const entries = Object.entries(value as object)
    .filter(([, one]) => !(Array.isArray(one) && one.length === 0))
    .map(([name, one]) => [name, normal(one, name)] as const);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Text is bytes in our descriptions (base64 in JSON) and text in the decoder's output. */
const textFields = /^(comm|name|dump_criu_run_id)$/;
function textAsText(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(textAsText);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, one]) => [
      name,
      textFields.test(name) && typeof one === "string" ? Buffer.from(one, "base64").toString() : textAsText(one),
    ]),
  );
}

for (const fixture of ["single", "threads4", "ctree", "live"]) {
  test(`${fixture}: messages are those that crit decodes`, () => {
    const directory = join(fixtures, "criu", fixture);
    const expected = parseExactly(readFileSync(join(directory, "crit-decode.json"), "utf8"));
    let compared = 0;
    for (const name of readdirSync(directory).filter((one) => one.endsWith(".img") && !one.startsWith("pages-"))) {
      const ours = decodeImage(join(directory, name));
      if (!ours) continue;
      const theirs = expected[name]?.entries;
      assert.ok(theirs, `${name} was decoded`);
      assert.deepEqual(
        ours.map((entry) => normal(textAsText(entry))),
        theirs.map((entry) => normal(entry)),
        name,
      );
      compared++;
    }
    assert.ok(compared >= 9);
  });
}
