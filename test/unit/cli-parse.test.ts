// SPDX-License-Identifier: Apache-2.0
/** Command lines → arguments, errors → words. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { defineCommand } from "../../src/cli/command.js";
import { externalOptions, parseSize } from "../../src/cli/external-options.js";
import { commandEntries } from "../../src/cli/commands.js";
import { parseRoot } from "../../src/cli/own-root.js";
import { optionName, parseCommandLine } from "../../src/cli/parse.js";
import { parsePlainWords } from "../../src/cli/plain-words.js";
import { parseByYargs } from "../../src/cli/yargs-parser.js";
import { progressOn } from "../../src/cli/progress.js";
import { wantsColor } from "../../src/cli/terminal.js";
import { command as dumpCommand } from "../../src/cli/commands/dump.js";
import { command as execCommand } from "../../src/cli/commands/exec.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { toJsonText } from "../../src/errors/json.js";
import { fromSystemError, printable, renderError } from "../../src/errors/render.js";
import { formatBytes } from "../../src/ops/units.js";

const sample = defineCommand({
  name: "sample",
  describe: "A sample",
  positionals: { first: { describe: "one" }, rest: { describe: "more", many: true, optional: true } },
  options: {
    flag: { type: "boolean", describe: "a flag" },
    someText: { type: "string", describe: "a text", alias: "s" },
    count: { type: "number", describe: "a number" },
    list: { type: "strings", describe: "a list" },
    mode: { type: "string", describe: "a value that may be left out", valueOptional: true },
  },
  examples: [],
  run: async () => 0,
});

async function parse(...words: string[]): Promise<Readonly<Record<string, unknown>>> {
  const parsed = await parseCommandLine(words, [{ name: "sample", describe: "A sample", load: async () => sample }], "1.2.3", 80);
  assert.ok(parsed.kind === "run");
  return parsed.args;
}

test("what is plain is understood as yargs understands it", async () => {
  const commands = await Promise.all([...commandEntries.map((entry) => entry.load()), Promise.resolve(sample)]);
  const number = fc.constantFrom("7", "4711", "0", "1e3", "-1");
  const text = fc.constantFrom("a", "x=y", "-", "", "image.elf", "./a b", "'q'", "--", "criu", "json", "kill", "lz4");
  let plain = 0;
  const lines = fc.constantFrom(...commands).chain((command) => {
    const names = Object.entries(command.options).flatMap(([key, { alias }]) => [
      `--${optionName(key)}`,
      ...(alias === undefined ? [] : [`-${alias}`]),
    ]);
    const option = fc.constantFrom(...names, "--unknown", "--help");
    const word = fc.oneof(
      option,
      option,
      number,
      text,
      fc.tuple(option, fc.oneof(number, text)).map(([name, value]) => `${name}=${value}`),
    );
    return fc.tuple(fc.constant(command), fc.array(word, { maxLength: 6 }));
  });
  await fc.assert(
    fc.asyncProperty(lines, async ([command, words]) => {
      const args = parsePlainWords(command, words);
      if (args === undefined) return;
      plain++;
      const parsed = await parseByYargs([command.name, ...words], command, [], "1.2.3", 80);
      assert.ok(parsed.kind === "run");
      assert.deepEqual(parsed.args, args);
    }),
    { numRuns: 1500 },
  );
  assert.ok(plain > 100, `${plain} of them are plain`);
});

test("options and positionals get their types", async () => {
  assert.deepEqual(await parse("sample", "a", "b", "c", "--flag", "--some-text", "x", "--count", "7", "--list", "p", "--list", "q"), {
    first: "a",
    rest: ["b", "c"],
    flag: true,
    someText: "x",
    count: 7,
    list: ["p", "q"],
    mode: undefined,
    quiet: false,
    verbose: false,
  });
  assert.deepEqual(await parse("sample", "007", "-s", "1"), {
    first: "007",
    rest: [],
    flag: false,
    someText: "1",
    count: undefined,
    list: [],
    mode: undefined,
    quiet: false,
    verbose: false,
  });
});

test("a value that may be left out swallows nothing", async () => {
  assert.equal((await parse("sample", "--mode", "a"))["first"], "a");
  assert.equal((await parse("sample", "--mode", "a"))["mode"], "");
  assert.equal((await parse("sample", "a", "--mode=full"))["mode"], "full");
});

test("what is wrong is said", async () => {
  await assert.rejects(parse("sample", "a", "--count", "x"), { code: "usage.bad", message: '--count takes a whole number, not "x"' });
  await assert.rejects(parse("sample", "a", "--no-such"), { code: "usage.bad" });
  await assert.rejects(parse("other"), { message: 'there is no command "other"' });
});

test("options of test runners for CRIU are taken by dump and exec", async () => {
  const take = async (command: typeof dumpCommand, ...words: string[]): Promise<object> => {
    const parsed = await parseCommandLine(
      [command.name, ...words],
      [{ name: command.name, describe: "", load: async () => command }],
      "1",
      80,
    );
    assert.ok(parsed.kind === "run");
    const given = externalOptions(parsed.args as Parameters<typeof externalOptions>[0]);
    return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  };
  assert.deepEqual(await take(dumpCommand, "1", "-o", "x", "--skip-in-flight", "--manage-cgroups=ignore"), {
    skipInFlight: true,
    manageCgroups: "ignore",
  });
  assert.deepEqual(await take(dumpCommand, "1", "--ghost-limit", "1G", "--link-remap", "--network-lock", "skip"), {
    ghostLimit: 1n << 30n,
    linkRemap: true,
    networkLock: "skip",
  });
  assert.deepEqual(await take(dumpCommand, "1", "--file-locks", "--shell-job", "--ext-unix-sk", "--tcp-close"), {
    fileLocks: true,
    shellJob: true,
    extUnixSk: true,
    tcpClose: true,
  });
  assert.deepEqual(await take(execCommand, "x", "--tcp-close", "--manage-cgroups=none"), { tcpClose: true, manageCgroups: "none" });
  const { externalMounts } = externalOptions({ external: ["mnt[]", "mnt[/dev]:DEV"] });
  assert.deepEqual([...(externalMounts ?? [])], [["/dev", "DEV"]]);
  assert.deepEqual(parseRoot({ mount: ["a=/b"], external: ["mnt[]", "mnt[DEV]:/srv/dev"] }), { mount: ["a=/b", "DEV=/srv/dev"] });
  for (const option of ["--join-ns=net:/x", "--external=mnt[DEV]", "--external=chair[a]:b"])
    await assert.rejects(take(execCommand, "x", option), { code: /^usage/ });
});

test("modes of control groups and their roots are looked at", async () => {
  for (const [code, ...words] of [
    ["usage.manage-cgroups", "--manage-cgroups=all"],
    ["usage.cgroup-root", "--cgroup-root", "x"],
  ]) {
    const parsed = await parseCommandLine(
      ["dump", "1", ...words],
      [{ name: "dump", describe: "", load: async () => dumpCommand }],
      "1",
      80,
    );
    assert.ok(parsed.kind === "run");
    const args = parsed.args as Parameters<typeof externalOptions>[0];
    assert.throws(() => externalOptions(args), { code });
  }
});

test("sizes", () => {
  assert.equal(parseSize("8M"), 8n << 20n);
  assert.equal(parseSize("4096"), 4096n);
  assert.equal(parseSize("1GiB"), 1n << 30n);
  assert.throws(() => parseSize("much"), { code: "usage.size" });
  assert.equal(formatBytes(1536n), "1.5 KiB");
  assert.equal(formatBytes(20n << 30n), "20 GiB");
});

test("errors are rendered with place, sides and hint, and never let control characters through", () => {
  const error = new CrimgError("area.what", "it is \u001b[31mwrong", {
    source: "f\nx",
    offset: 16n,
    path: "a[0].b",
    expected: "1",
    actual: "2",
    hint: "mend it",
  });
  const text = renderError(error, { color: false });
  assert.doesNotMatch(text, /\u001b/);
  assert.match(text, /^crimg: it is \\x1b\[31mwrong\n {2}where: .* at 0x10, a\[0\]\.b\n {2}expected 1, found 2\n {2}hint: mend it\n$/s);
  assert.equal(printable("a\u0007b\u009b"), "a\\x07b\\x9b");
});

test("errors of the system become words; bugs stay bugs", () => {
  const error = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC", syscall: "write", path: "/x" });
  const known = fromSystemError(error);
  assert.ok(known instanceof CrimgError);
  assert.equal(known.message, "cannot write /x: no space left on the device");
  const bug = new TypeError("oops");
  assert.equal(fromSystemError(bug), bug);
});

test("JSON has 64-bit numbers as hex strings and bytes as hex digits", () => {
  assert.deepEqual(JSON.parse(toJsonText({ a: 1n << 63n, b: -1n, c: new Uint8Array([1, 255]), d: undefined, e: [1n], f: null })), {
    a: "0x8000000000000000",
    b: "-0x1",
    c: "01ff",
    e: ["0x1"],
    f: null,
  });
});

test("colour: NO_COLOR wins, FORCE_COLOR asks, dumb terminals get none", () => {
  assert.equal(wantsColor(true, {}), true);
  assert.equal(wantsColor(true, { NO_COLOR: "1", FORCE_COLOR: "1" }), false);
  assert.equal(wantsColor(false, { FORCE_COLOR: "1" }), true);
  assert.equal(wantsColor(false, { FORCE_COLOR: "0" }), false);
  assert.equal(wantsColor(true, { TERM: "dumb" }), false);
});

test("progress is quiet without a terminal, and tells bytes, rate and time left on one", () => {
  let said = "";
  let time = 0;
  const terminal = {
    print: () => true,
    say: (text: string) => void (said += text),
    note: (text: string) => void (said += text),
    outIsTerminal: true,
    errIsTerminal: true,
    color: false,
    errColor: false,
    columns: 80,
  };
  const progress = progressOn(terminal, "writing", () => time);
  progress.update(1n, 4n << 20n);
  assert.equal(said, "");
  time = 1000;
  progress.update(1n << 20n, 4n << 20n);
  assert.match(said, /writing 1 MiB of 4 MiB \(25%\), 1 MiB\/s, 3 s left/);
  const quiet = progressOn({ ...terminal, errIsTerminal: false }, "writing", () => time);
  said = "";
  time = 5000;
  quiet.update(1n, 2n);
  quiet.end();
  assert.equal(said, "");
});
