// SPDX-License-Identifier: Apache-2.0
/** docs/recipes.md, command by command: what it prints is what the page says. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { crimgCommand, projectRoot } from "../support/project.js";
import { closeLeaks, run, temporaryDirectory } from "../support/processes.js";

const page = readFileSync(join(projectRoot, "docs/recipes.md"), "utf8");
const recipes = [...page.matchAll(/^## (.*?)$([\s\S]*?)^```console\n([\s\S]*?)^```$/gm)].map(([, title = "", , block = ""]) => ({
  title,
  block,
}));

interface Step {
  readonly command: string;
  readonly expected: string[];
}

/** `$ command`, then the lines that it prints. */
function stepsOf(block: string): Step[] {
  const steps: Step[] = [];
  for (const line of block.split("\n").slice(0, -1)) {
    if (line.startsWith("$ ")) steps.push({ command: line.slice(2), expected: [] });
    else steps.at(-1)?.expected.push(line);
  }
  return steps;
}

const pattern = (lines: readonly string[]): RegExp => {
  const text = lines.map((line) => line.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll("…", ".+")).join("\\n");
  return new RegExp(`^${text}$`);
};

const needs: Readonly<Record<string, string>> = { "A server that starts warm": "curl", "A checkpoint in CRIU's format, in gdb": "gdb" };

test("there are six recipes", () => assert.equal(recipes.length, 6));

for (const { title, block } of recipes) {
  const tool = needs[title];
  const skip = tool !== undefined && spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0 ? `${tool} is not installed` : false;
  test(title, { skip, timeout: 120_000 }, (t) => {
    const directory = temporaryDirectory(t);
    const steps = stepsOf(block);
    const mark = "-- end of step --";
    const script = [
      closeLeaks,
      "trap 'kill -KILL $(jobs -p) 2>/dev/null || true' EXIT",
      ...steps.flatMap(({ command }) => [command, `echo '${mark}'`]),
    ].join("\n");
    const path = `${dirname(crimgCommand)}:/usr/bin:/bin:${process.env["PATH"] ?? ""}`;
    const { stdout, stderr } = run("bash", ["-c", script], { cwd: directory, seconds: 100, env: { ...process.env, PATH: path } });
    const outputs = stdout.split(`${mark}\n`);
    steps.forEach(({ command, expected }, index) => {
      assert.match((outputs[index] ?? "(not run)").replace(/\n$/, ""), pattern(expected), `${command}\n${stderr}`);
    });
  });
}
