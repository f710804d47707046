// SPDX-License-Identifier: Apache-2.0
/** crimg show bt: backtraces of an image, of a core and of a CRIU set, by whatever debugger is there. */
import assert from "node:assert/strict";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { crimgCommand } from "../support/project.js";
import { compile, crimg, run, start, temporaryDirectory, until } from "../support/processes.js";

const debuggers = ["gdb", "eu-stack", "lldb"] as const;

/** A folder with node and one debugger, for PATH. */
function pathWith(directory: string, command: string, path: string): string {
  const folder = join(directory, `path-${command}`);
  mkdirSync(folder);
  symlinkSync(process.execPath, join(folder, "node"));
  symlinkSync(path, join(folder, command));
  return folder;
}

test("show bt finds the functions of all threads in an image, a core and a CRIU set", { timeout: 240_000 }, async (t) => {
  if (run("sh", ["-c", "command -v cc"]).status !== 0) return t.skip("no cc");
  const there = debuggers.flatMap((name) => {
    const path = run("sh", ["-c", `command -v ${name}`]).stdout.trim();
    return path === "" ? [] : [{ name, path }];
  });
  if (there.length === 0) return t.skip("no debugger");
  const directory = temporaryDirectory(t);
  const program = compile("crash-threads.c", directory, "-g", "-O0", "-pthread");
  const child = start(t, program, ["wait"], { cwd: directory, stdio: ["ignore", "pipe", "ignore"] });
  let said = "";
  child.stdout?.on("data", (chunk) => (said += String(chunk)));
  await until("the program waits", () => said.includes("ready"));
  child.stdout?.pause();
  const image = join(directory, "image.elf");
  // The reader of its pipe is outside the tree.
  const dumped = crimg("dump", String(child.pid), "-o", image, "--leave-running", "--ignore", "pipe");
  assert.equal(dumped.status, 0, dumped.stderr);
  const [core, criu] = [join(directory, "one.core"), join(directory, "criu")];
  assert.equal(crimg("convert", image, core).status, 0);
  assert.equal(crimg("convert", image, criu, "--to", "criu").status, 0);
  for (const { name, path } of there) {
    const env = { ...process.env, PATH: pathWith(directory, name, path) };
    for (const source of [image, core, criu]) {
      const { status, stdout, stderr } = run(crimgCommand, ["show", source, "bt", "--json"], { seconds: 100, env });
      assert.equal(status, 0, stderr);
      const [found] = (JSON.parse(stdout) as { backtraces: { pid: number; by: string; lines: string[] }[] }).backtraces;
      assert.equal(found?.pid, child.pid);
      assert.equal(found?.by, name);
      const text = found?.lines.join("\n") ?? "";
      assert.equal(text.match(/\bwait_for_ever\b/g)?.length, 3, text);
      assert.match(text, /\bmain\b/);
      assert.match(text, /^(Thread [0-9]|TID |[* ] thread #)/, "nothing comes before the first thread");
    }
  }
  const without = run(crimgCommand, ["show", core, "bt"], { env: { ...process.env, PATH: pathWith(directory, "none", "/nonexistent") } });
  assert.equal(without.status, 2);
  assert.match(without.stderr, /no debugger that can show backtraces is installed.*\n.*gdb, eu-stack or lldb/s);
});
