// SPDX-License-Identifier: Apache-2.0
/** crimg report, -v and -q: what helps a bug report is there, and nothing that is secret. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { copyFileSync, existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import test from "node:test";
import { crimg, isAlive, start, temporaryDirectory, until } from "../support/processes.js";

/** Holds a secret in its memory, its arguments, its environment, a pipe and a file; opens what no dump can keep if asked. */
const keeper = `
import ctypes, os, sys, time
secret = "".join(["tell", "tale", "memory"])
r, w = os.pipe(); os.write(w, b"telltalepipe")
held = open("private-name", "w+"); held.write("telltalefile"); held.flush()
if os.path.exists("awkward"): assert ctypes.CDLL(None).syscall(323, 1) > 2
open("ready", "w").close()
while True: time.sleep(0.05)
`;

test("a report has versions, the host, the processes and a trace, and no secret", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, "awkward"), "");
  const { pid } = start(t, "/usr/bin/python3", ["-c", keeper, "telltaleargument"], {
    cwd: directory,
    env: { ...process.env, SECRET: "telltaleenvironment" },
  });
  await until("it is ready", () => existsSync(join(directory, "ready")));
  const { status, stdout, stderr } = crimg("report", String(pid));
  assert.equal(status, 0, stderr);
  assert.ok(isAlive(pid));
  assert.doesNotMatch(stdout, /telltale/);
  for (const wanted of [
    /^It holds no memory, no registers, no command lines/m,
    /^crimg \d+\.\d+\.\d+, Node \d/m,
    /^kernel features: .*Clone3 (yes|no)/m,
    new RegExp(`^${pid} \\(python3\\), child of ${process.pid}`, "m"),
    / ms {2}froze 1 processes with 1 threads$/m,
    / ms {2}the tree goes on$/m,
    /^dump\.\S+: .*userfaultfd/m,
    /^ptrace\(SEIZE\) 1$/m,
    /^in the tree: rt_sigaction \d+/m,
  ]) {
    assert.match(stdout, wanted);
  }

  const data = JSON.parse(crimg("report", String(pid), "--json", "--no-freeze").stdout) as Readonly<Record<string, unknown>>;
  assert.equal(data["trial"], undefined);
  assert.equal(Array.isArray(data["processes"]) && data["processes"].length, 1);
  assert.equal(crimg("report", "999999999").status, 4);
  assert.match(crimg("report").stdout, /^## Host$/m);
  assert.doesNotMatch(crimg("report", "--ignore", "pipe").stdout, /## Processes/);
});

test("names of files can be hidden", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const program = join(directory, "private-name");
  copyFileSync("/usr/bin/sleep", program);
  const { pid } = start(t, program, ["100"], { cwd: directory });
  await until("it runs", () => readlinkSync(`/proc/${pid}/exe`) === program);
  const plain = crimg("report", String(pid)).stdout;
  assert.ok(plain.includes(`executable: ${program}`));
  const hidden = crimg("report", String(pid), "--hide-paths").stdout;
  assert.ok(!hidden.includes(directory));
  assert.match(hidden, /executable: \/path-1$/m);
  assert.match(crimg("report", String(process.pid), "--hide-paths", "--no-freeze").stderr, /ancestor/);
});

test("-v tells each step on standard error, -q nothing but errors, of any command", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const image = join(directory, "image.elf");
  const { pid } = start(t, "/usr/bin/python3", ["-c", keeper, "telltaleargument"], { cwd: directory });
  await until("it is ready", () => existsSync(join(directory, "ready")));
  const dumped = crimg("dump", String(pid), "-o", image, "-v");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(dumped.stderr, /^crimg: crimg \d+\.\d+\.\d+, Node .*: dump with output verbose$/m);
  assert.match(dumped.stderr, /^crimg: \[ +\d+\.\d ms\] froze 1 processes with 1 threads$/m);
  assert.match(dumped.stderr, /^crimg: system calls: .*ptrace\(SEIZE\) 1/m);
  assert.doesNotMatch(dumped.stderr, /telltale/);

  const core = join(directory, "core");
  const loud = crimg("convert", image, core, "--to", "core");
  assert.notEqual(loud.stderr, "", "losses are told");
  const quiet = crimg("convert", image, core, "--to", "core", "-f", "-q");
  assert.deepEqual([quiet.status, quiet.stderr], [0, ""]);
  assert.ok(readFileSync(core).length > 0);
  assert.match(crimg("convert", image, core, "-q", "--to", "core").stderr, /exists already/, "errors are said");
  assert.match(crimg("show", image, "tree", "--verbose").stderr, /read .* as ckpt-elf: checkpoint 1, tasks 1/);
  assert.equal(crimg("show", image, "tree", "--quiet").stdout, crimg("show", image, "tree").stdout);
  for (const command of ["dump", "exec", "run", "show", "validate", "formats", "completion"]) {
    assert.match(crimg(command, "--help").stdout, /-q, --quiet .*[\s\S]*-v, --verbose /);
  }
});
