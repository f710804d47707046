// SPDX-License-Identifier: Apache-2.0
/** System V IPC that is gone when the image is executed is made again; what others use is told, and left to them. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { inOwnWorld } from "../support/own-world.js";
import { compile, crimg, endTree, isAlive, run, start, temporaryDirectory, until } from "../support/processes.js";
import { projectRoot } from "../support/project.js";

const isAlone = inOwnWorld(import.meta.url);
const skip = !isAlone && "needs root, and an IPC namespace of its own";
const timeout = 120_000;

/** What the kernel lists, without times and what differs from run to run. */
function listed(): string[] {
  return ["shm", "sem", "msg"].flatMap((kind) => {
    const [, ...lines] = readFileSync(`/proc/sysvipc/${kind}`, "utf8").trim().split("\n");
    return lines.map(
      (line) =>
        `${kind} ${line
          .trim()
          .split(/\s+/)
          .slice(0, kind === "sem" ? 8 : 4)
          .join(" ")}`,
    );
  });
}

/** Removes every object; those attached go with the last process. */
function removeAll(): void {
  for (const line of listed()) {
    const [kind = "", , id = ""] = line.split(" ");
    run("ipcrm", [{ shm: "-m", sem: "-s", msg: "-q" }[kind] ?? "", id]);
  }
}

class Program {
  #round = 0;
  #waiter: ChildProcess | undefined;
  #complaints = "";

  constructor(
    readonly t: TestContext,
    readonly directory: string,
    readonly pid: number,
  ) {}

  static start(t: TestContext, ...names: string[]): Program {
    const directory = temporaryDirectory(t);
    t.after(removeAll);
    const program = compile(join(projectRoot, "test/probes/ipc.c"), directory, "-pthread");
    return new Program(t, directory, start(t, program, [directory, ...names], { cwd: directory }).pid);
  }

  async told(): Promise<string> {
    const path = join(this.directory, `told.${this.#round}`);
    if (this.#round++ > 0) process.kill(this.pid, "SIGUSR1");
    await until("the program tells what it has", () => {
      assert.equal(this.#waiter?.exitCode ?? null, null, this.#complaints);
      return existsSync(path);
    });
    return readFileSync(path, "utf8");
  }

  async dump(...options: string[]): Promise<string> {
    const { status, stderr } = crimg("dump", String(this.pid), "-o", this.image, "-f", ...options);
    assert.equal(status, 0, stderr);
    await until("the program is gone", () => !existsSync(`/proc/${this.pid}`));
    return stderr;
  }

  /** Ends it after its first telling since the image was made: what is resumed then begins to tell there again. */
  async forget(): Promise<void> {
    endTree(this.pid);
    // Who waits in the foreground stops with its program.
    this.#waiter?.kill("SIGCONT");
    await until("the program is gone", () => !existsSync(`/proc/${this.pid}`));
    this.#round--;
    rmSync(join(this.directory, `told.${this.#round}`));
  }

  get image(): string {
    return join(this.directory, "image.elf");
  }

  async resume(...prefix: string[]): Promise<void> {
    const [command = "", ...args] = [...prefix, this.image];
    const waiter = spawn(command, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#waiter = waiter;
    this.#complaints = "";
    waiter.stderr.on("data", (chunk) => (this.#complaints += String(chunk)));
    this.t.after(() => waiter.pid !== undefined && endTree(waiter.pid));
    await until("the program runs again", () => {
      assert.equal(waiter.exitCode, null, this.#complaints);
      return existsSync(`/proc/${this.pid}/exe`) && readFileSync(`/proc/${this.pid}/comm`, "utf8").trim() === "ipc";
    });
  }
}

const all = ["keyed", "removed", "readonly", "detached", "semaphores", "undo", "queue"];

test("objects that are gone come back with ids, keys, owners and content", { skip, timeout }, async (t) => {
  // Ids other than those that a fresh namespace gives.
  for (let count = 0; count < 3; count++) removeAfter(run("ipcmk", ["-M", "4096", "-S", "1", "-Q"]).stdout);
  const program = Program.start(t, ...all);
  const before = await program.told();
  const list = listed();
  await program.dump();
  removeAll();
  assert.deepEqual(listed(), []);
  await program.resume();
  assert.equal(await program.told(), before);
  assert.deepEqual(listed(), list);
  // Once more, with objects that are still there but have changed.
  await program.dump();
  run("ipcmk", ["-M", "4096"]);
  await program.resume();
  assert.equal(await program.told(), before);
  const shown = crimg("show", program.image, "ipc").stdout;
  assert.match(shown, /0x63720001\s+640\s+1234:0\s+9\.8 KiB/);
  assert.match(shown, /\+4 to #0 when \d+ ends; \+32767 to #1 when \d+ ends; -5 to #2/);
  assert.match(crimg("validate", program.image).stdout, /nothing wrong/i);
});

/** Ids that ipcmk printed: removed at once, so that the next ones differ. */
function removeAfter(text: string): void {
  for (const [, kind = "", id = ""] of text.matchAll(/(Shared memory|Semaphore|Message queue) id: (\d+)/g)) {
    run("ipcrm", [{ "Shared memory": "-m", Semaphore: "-s", "Message queue": "-q" }[kind] ?? "", id]);
  }
}

const other = `
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
key = int(sys.argv[1], 16)
kind = sys.argv[2]
if kind == "shm":
    memory = libc.shmat(libc.shmget(key, 0, 0), None, 0)
    ctypes.memmove(memory, b"others\\0", 7)
elif kind == "sem":
    set = libc.semget(key, 0, 0)
    libc.semop(set, (ctypes.c_short * 3)(0, 2, 0), 1)
elif kind == "mqueue":
    queue = libc.mq_open(b"/crimg-probe-named", 2)
else:
    queue = libc.msgget(key, 0)
    libc.msgsnd(queue, ctypes.create_string_buffer(b"\\x05" + 7 * b"\\0" + b"more"), 4, 0)
open(sys.argv[3], "w").close()
time.sleep(1000)
`;

/** Another process that uses an object. */
async function startOther(t: TestContext, directory: string, key: string, kind: string): Promise<number> {
  const [script, ready] = [join(directory, "other.py"), join(directory, "ready")];
  writeFileSync(script, other);
  rmSync(ready, { force: true });
  const { pid } = start(t, "/usr/bin/python3", [script, key, kind, ready]);
  await until("the other process is ready", () => existsSync(ready));
  return pid;
}

const noPython = existsSync("/usr/bin/python3") ? skip : skip || "python3 is not installed";

test("what others use too is told, and taken as it is", { skip: noPython, timeout }, async (t) => {
  const program = Program.start(t, "keyed", "semaphores", "queue", "named");
  await program.told();
  await startOther(t, program.directory, "63720001", "shm");
  await startOther(t, program.directory, "63720004", "sem");
  await startOther(t, program.directory, "63720005", "msg");
  await startOther(t, program.directory, "0", "mqueue");
  const told = await program.dump();
  assert.match(told, /message queue \/crimg-probe-named is open in processes outside the tree/);
  for (const name of ["shared memory segment", "semaphore set", "message queue"]) {
    assert.match(told, new RegExp(`${name} \\d+ \\(key 0x6372000\\d\\) is (attached|used) by processes outside the tree`));
  }
  await program.resume();
  const after = await program.told();
  assert.match(after, /keyed .* 'others' 'last'/);
  assert.match(after, /semaphores \d+ 63720004 660 3: 2\/0 7\/1 32767\/1/);
  assert.match(after, /queue .* 5\/4\/r/);
  assert.match(after, /named .* 9\/high 4\/ 1\/low 1\/later/);
});

test("a segment that another process has attached meanwhile is not taken from it", { skip: noPython, timeout }, async (t) => {
  const program = Program.start(t, "keyed");
  await program.told();
  await program.dump();
  const pid = await startOther(t, program.directory, "63720001", "shm");
  const { status, stderr } = run(program.image, []);
  assert.equal(status, 125);
  assert.match(stderr, /shared memory segment \d+ \(key 0x63720001\) is attached by another process now/);
  // The way on that the message names.
  await program.resume("unshare", "--ipc");
  assert.match(await program.told(), /'first' 'last'/);
  await program.forget();
  endTree(pid);
  await until("the other process is gone", () => !isAlive(pid));
  await program.resume();
  assert.match(await program.told(), /'first' 'last'/);
});

test("a message that somebody sent meanwhile is not lost", { skip: noPython, timeout }, async (t) => {
  const program = Program.start(t, "queue");
  await program.told();
  await program.dump();
  endTree(await startOther(t, program.directory, "63720005", "msg"));
  await program.resume();
  assert.match(await program.told(), /queue \d+ 63720005 600 9999 4 .* 7\/6\/e 3\/8000\/x 3\/0\/- 5\/4\/r/);
});
