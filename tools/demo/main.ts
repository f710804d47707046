// SPDX-License-Identifier: Apache-2.0
/**
 * `npm run demo`: a running program becomes one file, is gone, and runs on when the file is executed.
 * Exit status 0 only if the count went on where it had stopped.
 */
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const crimg = join(root, "bin/crimg");
const directory = mkdtempSync(join(tmpdir(), "crimg-demo-"));
const program = join(directory, "counter");
const image = join(directory, "image.elf");
const log = join(directory, "counter.log");

const say = (text: string): void =>
  console.log(`\n\x1b[1m$ ${text}\x1b[0m`.replace(/\x1b\[\d*m/g, process.stdout.isTTY && !process.env["NO_COLOR"] ? "$&" : ""));
const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`);
const counts = (): number[] => [...readFileSync(log, "utf8").matchAll(/^count (\d+),/gm)].map((match) => Number(match[1]));

/** Runs a command with its output on ours; its failure is the demo's. */
function mustRun(command: string, ...args: string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: "inherit", timeout: 60_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? `exit status ${status}`}`);
}

/** Prints what the program writes for a while; returns the last count. */
async function watch(ms: number): Promise<number> {
  let shown = readFileSync(log, "utf8").length;
  const end = Date.now() + ms;
  while (Date.now() < end) {
    await sleep(50);
    const text = readFileSync(log, "utf8");
    process.stdout.write(text.slice(shown));
    shown = text.length;
  }
  return counts().at(-1) ?? 0;
}

/** Starts a program that writes to the log, as a shell's `PROGRAM >> counter.log &` would. */
function launch(command: string, ...args: string[]): ChildProcess & { pid: number } {
  const out = openSync(log, "a", 0o600);
  const child = spawn(command, args, { cwd: directory, stdio: ["ignore", out, "inherit"] });
  closeSync(out);
  if (child.pid === undefined) throw new Error(`cannot start ${command}`);
  return child as ChildProcess & { pid: number };
}

async function main(): Promise<void> {
  mustRun("cc", "-O1", "-pthread", "-o", program, join(root, "tools/demo/counter.c"));
  say("./counter >> counter.log &");
  const first = launch(program);
  await watch(1500);

  say(`crimg dump ${first.pid} -o image.elf`);
  mustRun(crimg, "dump", String(first.pid), "-o", image);
  const before = counts().at(-1) ?? 0;
  await sleep(100); // lets this process reap its child
  say(`kill -0 ${first.pid}; ls -l image.elf`);
  if (first.exitCode === null && first.signalCode === null && isAlive(first.pid)) throw new Error("the program is still there");
  console.log(
    `no process ${first.pid} any more (ended by ${first.signalCode ?? first.exitCode}); image.elf has ${statSync(image).size} bytes`,
  );

  say("./image.elf >> counter.log &");
  const second = launch(image);
  const after = await watch(1500);
  second.kill("SIGTERM");
  await new Promise((done) => ((second.exitCode ?? second.signalCode) === null ? second.once("exit", done) : done(undefined)));

  const all = counts();
  const gap = all.findIndex((value, index) => value !== index + 1);
  if (gap >= 0) throw new Error(`the count broke: ${all[gap - 1] ?? 0} was followed by ${all[gap]}`);
  if (after <= before) throw new Error(`the count did not go on: ${before} before, ${after} after`);
  console.log(`\ncounted to ${before}, was frozen into one file and killed, and counted on to ${after}`);
}

main()
  .catch((error: unknown) => {
    console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  })
  .finally(() => rmSync(directory, { recursive: true, force: true }));
