// SPDX-License-Identifier: Apache-2.0
/**
 * One turn: a program is started, dumped by an engine while it runs on, ended, resumed from the image, and ended again. With
 * much memory it is ended by a second dump, and resumed lazily, too, where the engine can. When it runs again the program
 * says itself, by the clock of the machine: an engine may put it into a time namespace, and what a command tells when it
 * ends is not when the program went on.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { readStat } from "../../src/dump/procfs.js";
import { frozenOf } from "./criu-stats.js";
import type { Load, Measure } from "./rows.js";

type Command = readonly [string, ...string[]];

export interface Engine {
  readonly name: string;
  dump(pid: number, folder: string): Command;
  /** The same, but the program ends with it. */
  killing(pid: number, folder: string): Command;
  /** Milliseconds frozen, from what the dump left or said. */
  frozen(folder: string, said: string): number;
  resume(folder: string): Command;
  /** A dump before which the program's memory is made huge pages. */
  smooth?(pid: number, folder: string): Command;
  /** A dump that compresses pages. */
  packed?(pid: number, folder: string): Command;
  /** A resume that does not wait for memory. */
  resumeLazily?(folder: string): Command;
}

export const crimgEngine = (crimg: string): Engine => ({
  name: "crimg",
  dump: (pid, folder) => [crimg, "dump", String(pid), "--leave-running", "--json", "-o", join(folder, "image.elf")],
  killing: (pid, folder) => [crimg, "dump", String(pid), "-o", join(folder, "image.elf")],
  frozen: (_folder, said) => (JSON.parse(said) as { frozenMs: number }).frozenMs,
  resume: (folder) => [join(folder, "image.elf")],
  packed: (pid, folder) => [crimg, "dump", String(pid), "--leave-running", "--compress", "lz4", "-o", join(folder, "image.elf")],
  smooth: (pid, folder) => [crimg, "dump", String(pid), "--leave-running", "--huge-pages", "--json", "-o", join(folder, "image.elf")],
  resumeLazily: (folder) => [join(folder, "image.elf"), "--lazy"],
});

export const criuEngine = (criu: string): Engine => ({
  name: "criu",
  dump: (pid, folder) => [criu, "dump", "-t", String(pid), "--leave-running", "-D", folder, "-v0", "-o", "dump.log"],
  killing: (pid, folder) => [criu, "dump", "-t", String(pid), "-D", folder, "-v0", "-o", "dump.log"],
  frozen: (folder) => frozenOf(readFileSync(join(folder, "stats-dump"))),
  resume: (folder) => [criu, "restore", "-d", "-D", folder, "-v0", "-o", "restore.log"],
});

export type Figures = Readonly<Record<Measure, number>>;

const now = (): number => Number(process.hrtime.bigint()) / 1e6;
const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

/** Words of the file that the program writes to. */
function clockWord(file: string, index: number): bigint {
  if (!existsSync(file)) return 0n;
  const word = Buffer.alloc(8);
  const fd = openSync(file, "r");
  try {
    return readSync(fd, word, 0, 8, index * 8) === 8 ? word.readBigUInt64LE() : 0n;
  } finally {
    closeSync(fd);
  }
}

/** When the program ran for the first time behind a gap that ended after `begin`; undefined: not yet. See load.c for the words. */
function firstBehind(clock: string, begin: bigint): bigint | undefined {
  if (clockWord(clock, 1) <= begin) return undefined;
  const [bytes, first, most] = [readFileSync(clock), 8, 504];
  const gaps = Number(bytes.readBigUInt64LE(3 * 8));
  for (let gap = Math.max(0, gaps - most); gap < gaps; gap++) {
    const time = bytes.readBigUInt64LE((first + (gap % most)) * 8);
    if (time > begin) return time;
  }
  return undefined;
}

/** Polls at most two minutes. The event loop turns meanwhile, so that ended children are waited for and free their pids. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const end = now() + 120_000;
  while (!condition()) {
    if (now() > end) throw new Error(`not in two minutes: ${what}`);
    await pause(1);
  }
}

const timer =
  "import os,subprocess,sys,time\nt=time.monotonic()\np=subprocess.Popen(sys.argv[1:],stdout=subprocess.PIPE)\ns=p.stdout.read()\n" +
  "_,status,used=os.wait4(p.pid,0)\nprint((time.monotonic()-t)*1000,used.ru_maxrss/1024,status,(used.ru_utime+used.ru_stime)*1000)\n" +
  "sys.stdout.flush()\nsys.stdout.buffer.write(s)";

interface Run {
  readonly ms: number;
  /** Of processors, milliseconds. */
  readonly cpu: number;
  /** MiB */
  readonly peak: number;
  readonly said: string;
}

/** Runs a command to its end under a parent that tells what its child has used. */
async function timed(command: readonly string[]): Promise<Run> {
  const child = spawn("python3", ["-c", timer, ...command], {
    // Node would read more certificates before it begins.
    env: { ...process.env, NODE_EXTRA_CA_CERTS: "" },
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 240_000,
  });
  let stdout = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  await new Promise((done) => child.once("close", done));
  const [first = "", ...rest] = stdout.split("\n");
  const [ms, peak, status, cpu] = first.split(" ").map(Number);
  if (status !== 0 || ms === undefined || peak === undefined || cpu === undefined)
    throw new Error(`${command.join(" ")}: exit status ${(status ?? 0) >> 8}`);
  return { ms, cpu, peak, said: rest.join("\n") };
}

/** The processes of a group: field 5 of proc_pid_stat(5). */
const membersOf = (group: number): string[] =>
  readdirSync("/proc").filter((name) => /^\d+$/.test(name) && readStat(`/proc/${name}`)?.field(5) === BigInt(group));

/** Ends a program and what it started, and waits until their ids are free: orphans are waited for by whoever gets them. */
async function end(pid: number): Promise<void> {
  const members = membersOf(pid);
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // gone
  }
  await until("the program is gone", () => [String(pid), ...members].every((member) => !existsSync(`/proc/${member}`)));
}

/** MiB that a dump or a resume takes besides what it is of. */
const besides = 128;

/**
 * Has nothing left to do for what was before, and as much memory at hand as comes next. What the disk has not yet got of an
 * older image would count against the memory that may wait for it; and a virtual machine that gives free memory back to its
 * host has to ask for it again page by page, which takes 2 s for each GiB, and whoever happens to be first pays for all.
 */
function settle(loader: string, mebibytes: number): void {
  for (const [command, ...args] of [["sync"], [loader, "warm", String(mebibytes + besides)]] as const) {
    const { status, error } = spawnSync(command, args, { stdio: "inherit", timeout: 240_000 });
    if (status !== 0) throw new Error(`${command}: ${error?.message ?? `exit status ${status}`}`);
  }
}

const sizeOf = (folder: string): number => readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0) / 2 ** 20;

function emptied(folder: string): string {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  return folder;
}

/** Where a turn takes place. */
export interface Site {
  /** tools/bench/load.c, compiled. */
  readonly loader: string;
  /** For files. */
  readonly directory: string;
}

/**
 * Milliseconds from execve to where the program runs; `stop` ends what waits for it. What it takes this process to fork,
 * 1 to 3 ms, belongs to nobody.
 */
async function resumed(command: Command, clock: string, { loader, directory }: Site): Promise<{ readonly ms: number; stop(): void }> {
  const started = join(directory, "started");
  rmSync(started, { force: true });
  const child = spawn(loader, ["exec", started, ...command], { stdio: "ignore", detached: true });
  child.once("exit", () => undefined);
  const begin = (): bigint => clockWord(started, 0);
  await until("the program runs again", () => begin() !== 0n && firstBehind(clock, begin()) !== undefined);
  const ms = Number((firstBehind(clock, begin()) ?? 0n) - begin()) / 1e6;
  const stop = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) process.kill(child.pid, "SIGTERM");
  };
  return { ms, stop };
}

/** A turn of one engine. `program` makes the load, its last word follows. */
export async function measure(engine: Engine, { kind, count }: Load, [program, ...args]: Command, site: Site): Promise<Figures> {
  const { loader, directory } = site;
  const large = kind === "pages" || kind === "heap" ? count : 0;
  const [folder, clock] = [join(directory, engine.name), join(directory, "clock")];
  emptied(folder);
  rmSync(clock, { force: true });
  const child = spawn(program, [...args, clock], { stdio: "ignore", detached: true });
  const { pid } = child;
  if (pid === undefined) throw new Error("cannot start the program");
  child.unref();
  try {
    await until("the program is ready", () => clockWord(clock, 2) === 1n);
    settle(loader, large);
    await pause(50);
    const { ms: dump, cpu, peak, said } = await timed(engine.dump(pid, folder));
    const frozen = engine.frozen(folder, said);
    const image = sizeOf(folder);
    let smooth = Number.NaN;
    if (kind === "pages" && engine.smooth !== undefined) {
      emptied(folder);
      // For the image, and for the huge pages.
      settle(loader, 2 * large);
      smooth = engine.frozen(folder, (await timed(engine.smooth(pid, folder))).said);
    }
    let [packed, packedImage] = [Number.NaN, Number.NaN];
    if (kind === "heap" && engine.packed !== undefined) {
      emptied(folder);
      settle(loader, large);
      packed = (await timed(engine.packed(pid, folder))).ms;
      packedImage = sizeOf(folder);
    }
    await end(pid);
    settle(loader, large);
    const eager = await resumed(engine.resume(folder), clock, site);
    let [killing, lazy] = [Number.NaN, Number.NaN];
    if (kind === "pages") {
      // Of the resumed program: that of before has shared its pages with a fork.
      emptied(folder);
      settle(loader, large);
      killing = (await timed(engine.killing(pid, folder))).ms;
      if (engine.resumeLazily !== undefined) {
        await end(pid);
        settle(loader, large);
        const later = await resumed(engine.resumeLazily(folder), clock, site);
        lazy = later.ms;
        later.stop();
      }
    }
    eager.stop();
    await end(pid);
    const resume = eager.ms;
    return { frozen, smooth, dump, cpu, killing, resume, lazy, peak, image, packed, packedImage };
  } finally {
    await end(pid);
    rmSync(folder, { recursive: true, force: true });
  }
}
