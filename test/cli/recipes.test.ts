// SPDX-License-Identifier: Apache-2.0
/** docs/recipes.md, command by command: what it prints is what the page says. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimgCommand, projectRoot } from "../support/project.js";
import { closeLeaks, compile, run, temporaryDirectory } from "../support/processes.js";

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

test("there are seven recipes", () => assert.equal(recipes.length, 7));

const podman = "podman --log-level error --runtime runc";
const limits = "--ulimit nofile=1024:1024 --ulimit nproc=4096:4096";

/**
 * The container of the recipe: an image with one program, and a `podman` in bin/ with the runtime and the limits that a machine
 * which may not raise limits needs. Returns why there can be none here.
 */
function prepareContainer(t: TestContext, directory: string): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  if (["podman", "runc"].some((tool) => spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0))
    return "podman or runc is not installed";
  t.after(() => spawnSync("sh", ["-c", `${podman} rm -f crimg-ticker; ${podman} rmi -f localhost/crimg-ticker`]));
  mkdirSync(join(directory, "bin"));
  writeFileSync(
    join(directory, "bin/podman"),
    [
      "#!/bin/sh",
      `command=$1; shift; [ "$command" = run ] && set -- ${limits} "$@"`,
      `exec ${podman.replace("podman", "/usr/bin/podman")} "$command" "$@"`,
      "",
    ].join("\n"),
    { mode: 0o755 },
  );
  const image = join(directory, "image");
  for (const name of ["bin", "tmp", "proc", "dev", "sys", "etc"]) mkdirSync(join(image, name), { recursive: true });
  compile("ticker.c", join(image, "bin"), "-static");
  const once = `${podman} run --rm ${limits} --network none --entrypoint /bin/ticker localhost/crimg-ticker once`;
  const made = `tar -cC ${image} . | ${podman} import -c 'CMD ["/bin/ticker"]' - localhost/crimg-ticker && ${once}`;
  return spawnSync("sh", ["-c", made], { cwd: directory }).status === 0 ? undefined : "podman runs no container here";
}

for (const { title, block } of recipes) {
  const tool = needs[title];
  const skip = tool !== undefined && spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0 ? `${tool} is not installed` : false;
  test(title, { skip, timeout: 120_000 }, (t) => {
    const directory = temporaryDirectory(t);
    const cannot = title === "A container without its engine" ? prepareContainer(t, directory) : undefined;
    if (cannot !== undefined) return t.skip(cannot);
    const steps = stepsOf(block);
    const mark = "-- end of step --";
    const script = [
      closeLeaks,
      "trap 'kill -KILL $(jobs -p) 2>/dev/null || true' EXIT",
      ...steps.flatMap(({ command }) => [command, `echo '${mark}'`]),
    ].join("\n");
    const path = `${join(directory, "bin")}:${dirname(crimgCommand)}:/usr/bin:/bin:${process.env["PATH"] ?? ""}`;
    const { stdout, stderr } = run("bash", ["-c", script], { cwd: directory, seconds: 100, env: { ...process.env, PATH: path } });
    const outputs = stdout.split(`${mark}\n`);
    steps.forEach(({ command, expected }, index) => {
      assert.match((outputs[index] ?? "(not run)").replace(/\n$/, ""), pattern(expected), `${command}\n${stderr}`);
    });
  });
}
