// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run cores -- [NAME=PATH…]`: makes cores with every producer that is here, reads them, lets every consumer that is here
 * compare a core of crimg with a gcore of the same process, measures sizes, and writes docs/cores.md.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { kernelCore, whyNoKernelCores } from "../../test/support/kernel-core.js";
import { crimgCommand, projectRoot } from "../../test/support/project.js";
import { start, until } from "../../test/support/processes.js";
import { type Consumer, consumers } from "./consumers.js";
import { producers } from "./producers.js";
import { say, tool, versionOf } from "./tools.js";

const folder = mkdtempSync(join(tmpdir(), "crimg-cores-"));
const cleanups: (() => void)[] = [];
const context = { after: (clean: () => void) => cleanups.push(clean) } as unknown as TestContext;
const note = (text: string): void => void process.stderr.write(`${text}\n`);
const cell = (text: string): string =>
  text.replaceAll("|", "/").replaceAll(folder, "…").replaceAll(projectRoot, "…").replace(/\s+/g, " ").slice(0, 220);

interface Program {
  readonly command: readonly string[];
  /** The file that debuggers are told. */
  readonly exe: string;
}

/** Programs to look at, by name; those whose tools are not here are absent. */
function programs(): Map<string, Program> {
  const found = new Map<string, Program>();
  const source = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const build = (name: string, command: readonly string[]): void => {
    const [first, ...rest] = command;
    const path = tool(first ?? "");
    if (path !== undefined && say(path, rest, { cwd: folder, seconds: 200 }).status === 0) {
      found.set(name, { command: [join(folder, name)], exe: join(folder, name) });
    } else note(`not here: ${name} (${first})`);
  };
  build("c", ["cc", "-g", "-pthread", "-o", "c", join(projectRoot, "test/programs/crash-threads.c")]);
  const c = found.get("c");
  if (c) found.set("c", { ...c, command: [...c.command, "wait"] });
  const asan = source(
    "asan.c",
    "#include <unistd.h>\n#include <stdlib.h>\nint main(void) { *(volatile char *)malloc(9) = 1; for (;;) pause(); }\n",
  );
  build("asan", ["cc", "-g", "-fsanitize=address", "-o", "asan", asan]);
  source("main.rs", "fn main() { for _ in 0..2 { std::thread::spawn(|| loop { std::thread::park() }); } loop { std::thread::park() } }\n");
  build("rust", ["rustc", "-g", "-o", "rust", "main.rs"]);
  source(
    "main.go",
    ["package main", 'import ("os"; "os/signal")', "func main() {", "c := make(chan os.Signal, 1)", "signal.Notify(c, os.Interrupt)"]
      .concat("go func() { select {} }()", "<-c", "}", "")
      .join("\n"),
  );
  build("go", ["go", "build", "-o", "go", "main.go"]);
  const python = ["/usr/bin/python3"].find((path) => existsSync(path));
  const script =
    "import threading, time\nfor i in range(2): threading.Thread(target=time.sleep, args=(9999,), daemon=True).start()\ntime.sleep(9999)\n";
  if (python) found.set("python", { command: [python, source("wait.py", script)], exe: python });
  found.set("node", { command: [process.execPath, "-e", "setInterval(() => {}, 1e6)"], exe: process.execPath });
  const java = tool("java");
  if (java !== undefined) {
    source("Wait.java", "public class Wait { public static void main(String[] a) throws Exception { Thread.sleep(9999999); } }\n");
    const real = say("readlink", ["-f", java]).text.trim();
    for (const [name, flag] of [
      ["java-serial", "-XX:+UseSerialGC"],
      ["java-g1", "-XX:+UseG1GC"],
    ] as const)
      found.set(name, { command: [real, flag, "-Xmx64m", join(folder, "Wait.java")], exe: real });
  }
  return found;
}

async function running(program: Program): Promise<number> {
  const [command, ...args] = program.command;
  const { pid } = start(context, command ?? "", args, {
    cwd: folder,
    env: { PATH: process.env["PATH"] ?? "", ASAN_OPTIONS: "disable_coredump=0", GOTRACEBACK: "crash" },
  });
  let ticks = "";
  // Until it has nothing left to do.
  await until("the program is idle", () => {
    const before = ticks;
    ticks = readFileSync(`/proc/${pid}/stat`, "latin1").split(" ").slice(13, 15).join(" ");
    say("sleep", ["1.5"]);
    return before === ticks;
  });
  return pid;
}

/** crimg's core of a running process. */
function crimgCore(pid: number): string | undefined {
  const path = join(folder, `crimg.${pid}`);
  if (existsSync(path)) return path;
  const { status, errors } = say(crimgCommand, ["dump", String(pid), "--to", "core", "-o", path, "--leave-running"]);
  if (status !== 0) note(errors);
  return status === 0 ? path : undefined;
}

async function producerRows(pid: number): Promise<string[]> {
  const rows: string[] = [];
  for (const { name, make } of producers) {
    note(name);
    const made = make({ folder, program: join(folder, "c"), pid });
    if (typeof made === "string") {
      rows.push(`| ${name} | – | ${cell(made)} | | | |`);
      continue;
    }
    const first = (said: { status: number | null; text: string; errors: string }, pattern: RegExp) =>
      pattern.exec(said.text + said.errors)?.[1] ?? "?";
    const plain = say(crimgCommand, ["show", made.path, "threads"]);
    const shown = plain.status === 0 ? say(crimgCommand, ["show", made.path, "--json", "threads"]) : plain;
    const threads = shown.status === 0 ? (JSON.parse(shown.text) as { tables: { threads: unknown[] } }).tables.threads.length : 0;
    const validated = say(crimgCommand, ["validate", made.path]);
    const core = join(folder, "again.core");
    const toCore = say(crimgCommand, ["convert", made.path, core, "--force"]);
    const toElf = say(crimgCommand, ["convert", made.path, join(folder, "again.elf"), "--force"]);
    const gdb = tool("gdb");
    const seen = toCore.status === 0 && gdb !== undefined ? say(gdb, ["-nx", "-batch", "-ex", "info threads", "-c", core]).text : "";
    const inGdb = seen.match(/^[* ] +[0-9]+ +(Thread|LWP)/gm)?.length ?? 0;
    const isRead = shown.status === 0;
    rows.push(
      `| ${[
        name,
        made.by,
        isRead ? `${threads} ${threads === 1 ? "thread" : "threads"}` : cell(first(shown, /crimg: (.*)/)),
        isRead
          ? validated.status === 0
            ? "nothing wrong"
            : cell([...new Set([...validated.text.matchAll(/^(?:error|warning) ([a-z.-]+)/gm)].map(([, code]) => code))].join(", "))
          : "",
        toCore.status === 0 ? `yes; gdb: ${inGdb} ${inGdb === 1 ? "thread" : "threads"}` : "",
        !isRead ? "" : toElf.status === 0 ? "yes" : cell(`refused: ${first(toElf, /crimg: (.*)/)}`),
      ].join(" | ")} |`,
    );
  }
  return rows;
}

async function consumerRows(known: Map<string, Program>): Promise<string[]> {
  const cores = new Map<string, { crimg: string; gcore: string } | undefined>();
  const pairOf = async (name: string) => {
    if (cores.has(name)) return cores.get(name);
    const program = known.get(name);
    let pair: { crimg: string; gcore: string } | undefined;
    if (program) {
      const pid = await running(program);
      const crimg = crimgCore(pid);
      say(tool("gcore") ?? "gcore", ["-o", join(folder, "gcore"), String(pid)], { seconds: 200 });
      const gcore = join(folder, `gcore.${pid}`);
      if (crimg !== undefined && existsSync(gcore)) pair = { crimg, gcore };
    }
    cores.set(name, pair);
    return pair;
  };
  const rows: string[] = [];
  for (const one of consumers) rows.push(await consumerRow(one, known, pairOf));
  return rows;
}

async function consumerRow(
  { name, path, version, program, about, ask, why }: Consumer,
  known: Map<string, Program>,
  pairOf: (name: string) => Promise<{ crimg: string; gcore: string } | undefined>,
): Promise<string> {
  note(`${name}: ${about}`);
  const row = (result: string, by: string): string => `| ${name} | ${by} | ${about} | ${result} |`;
  if (why !== undefined) return row(why, "–");
  if (path === undefined) return row("not here", "–");
  const pair = await pairOf(program);
  const exe = known.get(program)?.exe;
  if (!pair || exe === undefined) return row(`no ${program} program here`, version());
  const [mine, other] = [ask(pair.crimg, exe).split("\n"), ask(pair.gcore, exe).split("\n")];
  const differing = mine.filter((line) => !other.includes(line));
  if (mine.length < 2 && mine[0] === "") return row("says nothing about either", version());
  if (differing.length === 0 && mine.length === other.length)
    return row(`equal (${mine.length} ${mine.length === 1 ? "line" : "lines"})`, version());
  const more = other.find((line) => !mine.includes(line));
  return row(
    cell(`${differing.length} of ${mine.length} lines differ: "${(differing[0] ?? "").trim()}" for "${(more ?? "").trim()}"`),
    version(),
  );
}

async function sizeRows(known: Map<string, Program>): Promise<string[]> {
  const rows: string[] = [];
  if (whyNoKernelCores() !== undefined) return rows;
  for (const [name, program] of known) {
    note(`size of ${name}`);
    const pid = await running(program);
    const core = crimgCore(pid);
    const script = '"$@" & pid=$!; sleep 4; kill -ABRT $pid; wait $pid; exit 0';
    let kernel: string | undefined;
    try {
      const env = { ASAN_OPTIONS: "disable_coredump=0:handle_abort=0", GOTRACEBACK: "crash" };
      kernel = kernelCore(folder, `${name}-kernel.core`, ["bash", "-c", script, "bash", ...program.command], { env });
    } catch (error) {
      note(String(error));
    }
    if (core === undefined || kernel === undefined) continue;
    const [mine, theirs] = [statSync(core).size, statSync(kernel).size];
    const again = join(folder, "size.core");
    say(crimgCommand, ["convert", kernel, again, "--force"]);
    const converted = existsSync(again) ? statSync(again).size : 0;
    const bytes = (size: number): string => size.toLocaleString("en");
    const ratios = [mine / theirs, converted / theirs].map((ratio) => ratio.toFixed(2));
    rows.push(`| ${name} | ${bytes(theirs)} | ${bytes(mine)} | ${ratios[0]} | ${bytes(converted)} | ${ratios[1]} |`);
    rmSync(kernel, { force: true });
  }
  return rows;
}

try {
  const known = programs();
  const c =
    known.get("c") ??
    (() => {
      throw new Error("no C compiler");
    })();
  const made = await producerRows(await running(c));
  const consumed = await consumerRows(known);
  const sizes = await sizeRows(known);
  const page = [
    "# Core files: producers and consumers",
    "",
    "<!-- Written by `npm run cores`; do not edit. -->",
    "",
    `Linux ${say("uname", ["-r"]).text.split("-")[0]}, crimg ${versionOf(crimgCommand)}. A row without results gives the reason.`,
    "",
    "## Producers",
    "",
    "The program has four threads, one of which wrote to address 8 (or all wait, where a running process is dumped).",
    "",
    "| producer | made by | read | `validate` | as a core | as an executable |",
    "|---|---|---|---|---|---|",
    ...made,
    "",
    "## Consumers",
    "",
    "The output of each for a core of crimg, compared with a gcore of the same process at the same moment. Addresses of innermost",
    "frames are left out: a thread that waits in a system call is before the call in crimg's core, and after it in gcore's.",
    "",
    "| consumer | version | asked about | beside gcore |",
    "|---|---|---|---|",
    ...consumed,
    "",
    "## Sizes",
    "",
    "Bytes of the kernel's core (SIGABRT, filter 0x33), of crimg's core of the same running program, and of the kernel's core",
    "converted by crimg.",
    "",
    "| program | kernel | crimg | ratio | kernel's, converted | ratio |",
    "|---|---|---|---|---|---|",
    ...sizes,
    "",
  ];
  writeFileSync(join(projectRoot, "docs/cores.md"), page.join("\n"));
} finally {
  for (const clean of cleanups.reverse()) clean();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
