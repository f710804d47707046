// SPDX-License-Identifier: Apache-2.0
/** crimg show and crimg diff on an image of a program whose content is known. */
import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, run, start, temporaryDirectory, until } from "../support/processes.js";
import { crimgCommand } from "../support/project.js";

const source = `
import os, sys, time
secret = 'the secret is ' + 'x' * 3 + '-4711'
kept = open('/etc/passwd')
print('ready', flush=True)
n = 0
while True:
    n += 1
    word = 'tick %d' % n
    time.sleep(0.02)
`;

/** Two images of one program, one later than the other. */
async function twoImages(
  t: TestContext,
): Promise<{ readonly directory: string; readonly pid: number; readonly images: readonly string[] }> {
  const directory = temporaryDirectory(t);
  const program = start(t, "/usr/bin/python3", ["-c", source], { cwd: directory, env: { PATH: "/usr/bin", COLOUR: "green blue" } });
  await until("python is there", () => run("readlink", [`/proc/${program.pid}/exe`]).stdout.includes("python"));
  await new Promise((done) => setTimeout(done, 700));
  const images = ["a.elf", "b.elf"].map((name) => join(directory, name));
  for (const image of images) {
    const { status, stderr } = crimg("dump", String(program.pid), "-o", image, "--leave-running");
    assert.equal(status, 0, stderr);
    await new Promise((done) => setTimeout(done, 200));
  }
  return { directory, pid: program.pid, images };
}

test("show answers what this is; memory, strings, environment, several checkpoints", { timeout: 120_000 }, async (t) => {
  const { images, pid, directory } = await twoImages(t);
  const [a = "", b = ""] = images;
  const overview = crimg("show", a).stdout;
  assert.match(overview, new RegExp(`^ *${pid} +/usr/bin/python3 -c `, "m"));
  assert.match(overview, /private anonymous/);
  assert.match(overview, /all of that is here: it would resume/);
  copyFileSync(a, join(directory, "threads"));

  const found = crimg("show", a, "grep", "the secret is x{3}-\\d+");
  assert.equal(found.status, 0);
  const address = /([0-9a-f]{12}) .*the secret is/.exec(found.stdout)?.[1] ?? assert.fail(found.stdout);
  assert.match(crimg("show", a, "mem", `${address}:64`).stdout, /the secret|the.secret/);
  assert.equal(crimg("show", a, "grep", "no such text anywhere").status, 1);
  assert.ok(
    crimg("show", a, "strings", "12")
      .stdout.split("\n")
      .some((line) => line.includes("the secret is xxx-4711")),
  );
  assert.match(crimg("show", a, "env").stdout, /COLOUR=green blue/);
  assert.match(crimg("show", a, "auxv").stdout, /AT_PAGESZ +4096/);
  const document = JSON.parse(crimg("show", a, "mem", `${address}:4`, "--json").stdout) as { values: { bytes: string }[] };
  assert.equal(Buffer.from(document.values[0]?.bytes ?? "", "base64").length, 4);

  const both = JSON.parse(crimg("show", a, b, "tree", "--json").stdout) as { source: string }[];
  assert.deepEqual(
    both.map((one) => one.source),
    [a, b],
  );
  assert.match(crimg("show", a, b, "tree").stdout, /== .*a\.elf[\s\S]*== .*b\.elf/);
  // The name of a file is a file.
  assert.match(run(crimgCommand, ["show", a, "threads"], { cwd: directory }).stdout, /\(ckpt-elf\)[\s\S]*threads \(ckpt-elf\)/);
  for (const [args, pattern] of [
    [["mem"], /mem needs an address/],
    [["mem", "zz"], /not an address/],
    [["mem", "sp:0"], /not a length/],
    [["mem", "10"], /nothing is mapped at 0x10/],
    [["grep"], /grep needs/],
    [["grep", "("], /grep: /],
    [["tree", "more"], /what is "more"/],
  ] as const) {
    const { status, stderr } = crimg("show", a, ...args);
    assert.equal(status, 2, stderr);
    assert.match(stderr, pattern);
  }
});

test("diff tells pages, registers and descriptors apart, with the status of diff", { timeout: 120_000 }, async (t) => {
  const { images, pid } = await twoImages(t);
  const [a = "", b = ""] = images;
  const same = crimg("diff", a, a);
  assert.deepEqual([same.status, same.stdout], [0, ""]);
  const differ = crimg("diff", a, b);
  assert.equal(differ.status, 1, differ.stderr);
  assert.match(differ.stdout, new RegExp(`process ${pid}: pages\n  ! \\d+ pages?: [0-9a-f]+-`));
  const { differences } = JSON.parse(crimg("diff", a, b, "--json").stdout) as { differences: { part: string; kind: string }[] };
  assert.ok(
    differences.every(({ part }) => ["registers", "pages", "mappings", "threads"].includes(part)),
    JSON.stringify(differences),
  );
  assert.equal(crimg("diff", a, "/nothing").status, 2);
  assert.match(crimg("diff", a, b, "--brief").stdout, /^\S+ and \S+ differ\n$/);
  // Another format of the same holds the same.
  const json = `${a}.json`;
  assert.equal(crimg("convert", a, json, "--inline-pages").status, 0);
  const converted = crimg("diff", a, json);
  assert.equal(converted.status, 0, converted.stdout);
});
