// SPDX-License-Identifier: Apache-2.0
/** Every reading command on what is missing, empty, malformed and valid: one clear message, the right exit status. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { crimgCommand } from "../support/project.js";
import { run, temporaryDirectory } from "../support/processes.js";
import { smallImage } from "../support/images.js";
import { segmentsOf } from "../../formats/ckpt-elf/image-header.js";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders } from "../../src/elf/headers.js";

/** An offset in the midst of the tables of an image. */
function middleOfTables(image: string): number {
  const file = FileBytes.open(image);
  try {
    const { tables } = segmentsOf(readProgramHeaders(file, readElfHeader(file)));
    assert.ok(tables);
    return Number(tables.pOffset + tables.pFilesz / 2n);
  } finally {
    file.close();
  }
}

const crimg = (...args: string[]): { status: number | null; stdout: string; stderr: string } => run(crimgCommand, args, { seconds: 60 });

/** Bad input is one message of a few lines, and never a trace. */
function assertMessage(stderr: string, pattern: RegExp): void {
  assert.match(stderr, pattern);
  assert.match(stderr, /^crimg: /);
  assert.doesNotMatch(stderr, /\n\s+at |bug in crimg|node:internal/);
  assert.ok(stderr.split("\n").length <= 6, stderr);
}

const readers: readonly (readonly string[])[] = [["show"], ["explain"], ["validate"], ["convert"], ["exec"]];

for (const [command = ""] of readers) {
  const rest = (directory: string): string[] => (command === "convert" ? [join(directory, "out.json")] : []);

  test(`${command} of what is missing`, (t) => {
    const directory = temporaryDirectory(t);
    const { status, stderr } = crimg(command, join(directory, "nothing.elf"), ...rest(directory));
    assert.equal(status, 2);
    assertMessage(stderr, /nothing\.elf does not exist/);
  });

  test(`${command} of what is empty`, (t) => {
    const directory = temporaryDirectory(t);
    writeFileSync(join(directory, "empty.elf"), "");
    mkdirSync(join(directory, "empty-dir"));
    for (const name of ["empty.elf", "empty-dir"]) {
      const { status, stderr } = crimg(command, join(directory, name), ...rest(directory));
      assert.equal(status, 2);
      assertMessage(stderr, /empty/);
    }
  });

  test(`${command} of what is no image`, (t) => {
    const directory = temporaryDirectory(t);
    writeFileSync(join(directory, "text"), "some text\n");
    for (const path of [join(directory, "text"), process.execPath]) {
      const { status, stderr } = crimg(command, path, ...rest(directory));
      assert.equal(status, 2);
      assertMessage(stderr, /in no format that crimg reads/);
    }
  });

  test(`${command} of what is cut off`, async (t) => {
    const directory = temporaryDirectory(t);
    const image = await smallImage(directory);
    truncateSync(image, middleOfTables(image));
    const { status, stdout, stderr } = crimg(command, image, ...rest(directory));
    if (command === "validate") {
      assert.equal(status, 1);
      assert.match(stdout, /^error file\.unreadable: /m);
      assert.match(stdout, /--> .*small\.ckpt-elf/);
    } else {
      // exec hands the image to the kernel: it is the interpreter in it that says so.
      assert.equal(status, command === "exec" ? 127 : 2);
      assertMessage(stderr, command === "exec" ? /truncated/ : /small\.ckpt-elf/);
    }
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith("out") || name.endsWith(".tmp")),
      [],
    );
  });
}

test("valid images are shown, validated, explained and converted", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const shown = crimg("show", image);
  assert.equal(shown.status, 0, shown.stderr);
  assert.match(shown.stdout, /2 processes, 3 threads, 16 mappings/);
  assert.match(shown.stdout, /├─|└─ 101 program/);
  const judged = crimg("validate", image);
  assert.equal(judged.status, 0, judged.stdout);
  assert.match(judged.stdout, /nothing wrong \(ckpt-elf, profile format, \d+ rules\)/);
  assert.equal(crimg("explain", image).status, 0);
  const converted = crimg("convert", image, join(directory, "out.json"));
  assert.equal(converted.status, 0, converted.stderr);
  assert.equal(JSON.parse(readFileSync(join(directory, "out.json"), "utf8")).format, "crimg-json");
});

test("every section is shown, in text and JSON", async (t) => {
  const image = await smallImage(temporaryDirectory(t));
  for (const section of [
    "overview",
    "tree",
    "threads",
    "regs",
    "maps",
    "pages",
    "files",
    "fds",
    "pipes",
    "sockets",
    "signals",
    "timers",
    "creds",
    "limits",
    "state",
  ]) {
    const text = crimg("show", image, section);
    assert.equal(text.status, 0, `${section}: ${text.stderr}`);
    assert.ok(text.stdout.length > 20, section);
    const json = crimg("show", image, section, "--json");
    assert.equal(JSON.parse(json.stdout).section, section);
  }
});

test("errors are JSON with --json", () => {
  const { status, stdout, stderr } = crimg("show", "/nothing/at/all", "--json");
  assert.equal(status, 2);
  assert.equal(stderr, "");
  assert.equal(JSON.parse(stdout).error.code, "input.missing");
});

test("bad usage is told in one line with a way on", () => {
  for (const [args, pattern] of [
    [[], /no command is given/],
    [["bogus"], /there is no command "bogus"/],
    [["show"], /Not enough non-option arguments/],
    [["show", "x", "y"], /there is nothing called "y" to show/],
    [["dump", "abc"], /"abc" is not a process id/],
    [["dump", "1", "--bogus"], /Unknown argument: bogus/],
    [["convert", "a", "b", "--to"], /Not enough arguments following: to/],
  ] as const) {
    const { status, stderr } = crimg(...args);
    assert.equal(status, 2, args.join(" "));
    assertMessage(stderr, pattern);
    assert.match(stderr, /hint: /);
  }
});

test("help of every command names its options and examples", () => {
  const { stdout, status } = crimg("--help");
  assert.equal(status, 0);
  const commands = [...stdout.matchAll(/^ {2}crimg (\w+)/gm)].map((match) => match[1] ?? "");
  assert.ok(commands.includes("dump") && commands.includes("exec") && commands.includes("validate"));
  for (const command of commands) {
    const help = crimg(command, "--help");
    assert.equal(help.status, 0, command);
    assert.match(help.stdout, new RegExp(`^crimg ${command}`));
    assert.match(help.stdout, /Examples:/);
  }
});

test("NO_COLOR wins over FORCE_COLOR", async (t) => {
  const image = await smallImage(temporaryDirectory(t));
  const coloured = run(crimgCommand, ["show", image], { env: { ...process.env, NO_COLOR: "", FORCE_COLOR: "1" }, seconds: 60 });
  assert.match(coloured.stdout, /\u001b\[/);
  const plain = run(crimgCommand, ["show", image], { env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "1" }, seconds: 60 });
  assert.doesNotMatch(plain.stdout, /\u001b\[/);
});

test("output that exists is kept, unless --force", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const out = join(directory, "out.json");
  writeFileSync(out, "mine");
  const refused = crimg("convert", image, out);
  assert.equal(refused.status, 2);
  assertMessage(refused.stderr, /out\.json exists already/);
  assert.equal(readFileSync(out, "utf8"), "mine");
  assert.equal(crimg("convert", image, out, "--force").status, 0);
  assert.equal(statSync(out).mode & 0o777, 0o600);
});

test("a directory that is no image set is not replaced, even with --force", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const out = join(directory, "criu-dir");
  mkdirSync(out);
  writeFileSync(join(out, "precious"), "mine");
  const { status, stderr } = crimg("convert", image, out, "--force");
  assert.equal(status, 2);
  assert.match(stderr, /^crimg: .* is not an image set/m);
  assert.equal(readFileSync(join(out, "precious"), "utf8"), "mine");
});

test("--strict refuses a lossy conversion and writes nothing", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const { status, stderr } = crimg("convert", image, join(directory, "crtools-dir"), "--strict");
  assert.equal(status, 3);
  assert.match(stderr, /^lost: .*\[.*\]$/m);
  assert.deepEqual(readdirSync(directory), ["small.ckpt-elf"]);
});

test("- is standard input and standard output", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const { status, stdout, stderr } = run(
    "bash",
    ["-c", `cat "$1" | "$2" convert - - --to json | head -c 200`, "bash", image, crimgCommand],
    { seconds: 60 },
  );
  assert.equal(status, 0, stderr);
  assert.match(stdout, /"crimg-json"/);
});
