// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run bench [-- MEBIBYTES…]`: times crimg beside CRIU (when CRIU_BIN names one) in the same run, in turn, and
 * prints medians of five and their ratios. Times of this kind mean little alone; the ratios are what to quote.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const rounds = 5;
const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const crimg = join(root, "bin/crimg");
const criu = process.env["CRIU_BIN"];
const directory = mkdtempSync(join(tmpdir(), "crimg-bench-"));
const hog = join(directory, "hog");
const clockFile = join(directory, "clock");

/** Milliseconds. */
interface Round {
  readonly dump: number;
  /** From starting to resume until the program runs. */
  readonly running: number;
  /** What a caller waits for: crimg's image is its program in the foreground; `criu restore -d` ends when all is done. */
  readonly resume: number;
  /** Peak resident memory of the dumping command, MiB. */
  readonly peak: number;
}

interface Engine {
  readonly name: string;
  dump(pid: number, image: string): readonly [string, ...string[]];
  /** Whether the resuming command ends when the program runs. */
  readonly detaches: boolean;
  /** The command that resumes. */
  resume(image: string): readonly [string, ...string[]];
}

const engines: readonly Engine[] = [
  {
    name: "crimg",
    detaches: false,
    dump: (pid, image) => [crimg, "dump", String(pid), "-o", join(image, "image.elf")],
    resume: (image) => [join(image, "image.elf")],
  },
  ...(criu === undefined
    ? []
    : [
        {
          name: "criu",
          detaches: true,
          dump: (pid: number, image: string) => [criu, "dump", "-t", String(pid), "-D", image, "-v0", "-o", "dump.log"] as const,
          resume: (image: string) => [criu, "restore", "-d", "-D", image, "-v0", "-o", "restore.log"] as const,
        },
      ]),
];

const now = (): number => Number(process.hrtime.bigint()) / 1e6;
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

/** A word of the clock file. */
function clockWord(index: number): bigint {
  try {
    return readFileSync(clockFile).readBigUInt64LE(index * 8);
  } catch {
    return 0n;
  }
}

/** Polls at most 60 s. The event loop turns meanwhile, so that ended children are waited for and free their pids. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const end = now() + 60_000;
  while (!condition()) {
    if (now() > end) throw new Error(`not in 60 s: ${what}`);
    await pause(1);
  }
}

/** Runs a command to its end under a parent that reports the peak memory of its child. */
async function timed(command: readonly string[]): Promise<{ ms: number; peak: number }> {
  const script =
    "import " +
    "os,resource,subprocess,sys,time\nt=time.monotonic()\nr=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL)\n" +
    "print((time.monotonic()-t)*1000,resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss/1024,r.returncode)";
  // Not spawnSync: the dumped program is a child of this process, which must be free to wait for its end.
  const child = spawn("python3", ["-c", script, ...command], { stdio: ["ignore", "pipe", "inherit"], timeout: 120_000 });
  let stdout = "";
  child.stdout.on("data", (chunk) => (stdout += String(chunk)));
  await new Promise((done) => child.once("close", done));
  const [ms, peak, status] = stdout.trim().split(" ").map(Number);
  if (status !== 0 || ms === undefined || peak === undefined) throw new Error(`${command.join(" ")}: exit status ${status}`);
  return { ms, peak };
}

/** Starts the program, dumps and resumes it once with an engine, and ends it. */
async function round(engine: Engine, mebibytes: number): Promise<Round> {
  const image = join(directory, engine.name);
  rmSync(image, { recursive: true, force: true });
  rmSync(clockFile, { force: true });
  mkdirSync(image);
  const child = spawn(hog, [String(mebibytes), clockFile], { stdio: "ignore", detached: true });
  const pid = child.pid;
  if (pid === undefined) throw new Error("cannot start the program");
  child.unref();
  try {
    return await measure(engine, pid, image);
  } finally {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // gone: the measure has said why
    }
  }
}

/** The dump of the running program and the resume of its image. */
async function measure(engine: Engine, pid: number, image: string): Promise<Round> {
  await until("the program is ready", () => clockWord(1) === 1n);
  const { ms: dump, peak } = await timed(engine.dump(pid, image));
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
  const begin = process.hrtime.bigint();
  const [command, ...args] = engine.resume(image);
  const resumed = spawn(command, args, { stdio: "ignore", detached: true });
  const ended = new Promise<number>((done) => resumed.once("exit", () => done(Number(process.hrtime.bigint() - begin) / 1e6)));
  await until("the program runs again", () => clockWord(0) > begin);
  const running = Number(clockWord(0) - begin) / 1e6;
  const resume = engine.detaches ? await ended : running;
  return { dump, running, resume, peak };
}

async function main(sizes: readonly number[]): Promise<void> {
  const built = spawnSync("cc", ["-O1", "-static", "-o", hog, join(root, "tools/bench/hog.c")], { stdio: "inherit" });
  if (built.status !== 0) throw new Error("cannot compile tools/bench/hog.c");
  for (const size of sizes) {
    const results = new Map<string, Round[]>(engines.map((engine) => [engine.name, []]));
    for (let turn = 0; turn <= rounds; turn++) {
      // The first turn warms caches and memory up and is not counted.
      for (const engine of engines) {
        const one = await round(engine, size);
        if (turn > 0) results.get(engine.name)?.push(one);
      }
    }
    console.log(`\n${size} MiB, medians of ${rounds}`);
    const of = (name: string, field: keyof Round): number => median((results.get(name) ?? []).map((one) => one[field]));
    for (const field of ["dump", "running", "resume", "peak"] as const) {
      const unit = field === "peak" ? "MiB" : "ms";
      const figures = engines.map((engine) => `${engine.name} ${of(engine.name, field).toFixed(1)} ${unit}`).join(", ");
      const ratio = engines.length > 1 ? `, ratio ${(of("crimg", field) / of("criu", field)).toFixed(2)}` : "";
      console.log(`  ${field.padEnd(7)} ${figures}${ratio}`);
    }
    console.log(`  image   ${(statSync(join(directory, "crimg", "image.elf")).size / 2 ** 20).toFixed(1)} MiB`);
  }
  if (criu === undefined) console.log("\nCRIU_BIN is not set: crimg alone was timed, without a ratio");
}

try {
  const sizes = process.argv.slice(2).map(Number);
  await main(sizes.length ? sizes : [10, 1024]);
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
