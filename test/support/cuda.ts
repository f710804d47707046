// SPDX-License-Identifier: Apache-2.0
/** A CUDA driver where there is none: test/programs/cuda/stand-in.c, found by the dynamic linker as the real one is. */
import { spawnSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ticks } from "./cycle.js";
import { type Outcome, compile, endTree, run, start, temporaryDirectory, until } from "./processes.js";
import { crimgCommand, projectRoot } from "./project.js";

/** The one GPU of the stand-in, and others that a test may give a host. */
export const firstGpu = "GPU-00112233-4455-6677-8899-aabbccddeeff";
export const secondGpu = "GPU-ffeeddcc-bbaa-9988-7766-554433221100";

/** A device that this user may open and that cannot be dumped; undefined where there is none. */
export const device = ["/dev/kmsg", "/dev/fuse", "/dev/autofs", "/dev/net/tun", "/dev/kvm"].find((path) => {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    return true;
  } catch {
    return false;
  }
});

export interface GpuProgram {
  readonly pid: number;
  /** Steps on the device. */
  readonly log: string;
  /** Steps of a thread that never touches it. */
  readonly hostLog: string;
}

/** What loads the driver; the same that images carry. */
export const cudaHelper = join(projectRoot, "build/crimg-cuda");

/** A host with the stand-in, in a directory of its own. */
export class CudaHost {
  readonly directory: string;
  readonly image: string;
  readonly #t: TestContext;
  /** The program that counts on the device (test/programs/cuda/counter.c). */
  readonly counter: string;
  readonly env: NodeJS.ProcessEnv;

  constructor(t: TestContext) {
    this.#t = t;
    this.directory = temporaryDirectory(t);
    this.image = join(this.directory, "image.elf");
    const libraries = join(this.directory, "lib");
    mkdirSync(libraries);
    const library = join(libraries, "libcuda.so.1");
    const source = join(projectRoot, "test/programs/cuda/stand-in.c");
    const { status, stderr } = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-fvisibility=hidden", "-o", library, source, "-lpthread"], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`cc ${source}: ${stderr}`);
    symlinkSync("libcuda.so.1", join(libraries, "libnvidia-ml.so.1"));
    this.counter = compile(join(projectRoot, "test/programs/cuda/counter.c"), this.directory, "-ldl", "-lpthread");
    this.env = { ...process.env, LD_LIBRARY_PATH: libraries, ...(device === undefined ? {} : { CUDA_STANDIN_DEVICE: device }) };
  }

  /** A program that counts on the device. */
  async start(env: NodeJS.ProcessEnv = {}, ...args: readonly string[]): Promise<GpuProgram> {
    const log = join(this.directory, "log");
    const child = start(this.#t, this.counter, [log, ...args], { cwd: this.directory, env: { ...this.env, ...env } });
    const program = { pid: child.pid, log, hostLog: `${log}.host` };
    await until("the program counts", () => ticks(log).length > 3);
    return program;
  }

  crimg(args: readonly string[], env: NodeJS.ProcessEnv = {}): Outcome {
    return run(crimgCommand, args, { env: { ...this.env, ...env }, cwd: this.directory });
  }

  /** Executes the image; for what is refused. */
  execute(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Outcome {
    return run(this.image, args, { env: { ...this.env, ...env }, cwd: this.directory, seconds: 40 });
  }

  /** Executes the image until the program runs; returns the process in the pidfile. */
  resume(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): number {
    const pidfile = join(this.directory, "pid");
    // Through a shell: what stays behind must not hold the pipe that we read.
    const words = '"$0" --detach --pidfile "$1" "${@:2}" >/dev/null 2>"$1.err" </dev/null';
    const { status } = run("bash", ["-c", words, this.image, pidfile, ...args], { env: { ...this.env, ...env }, cwd: this.directory });
    const said = readFileSync(`${pidfile}.err`, "utf8");
    if (status !== 0) throw new Error(`${this.image}: status ${status}: ${said}`);
    const pid = Number(readFileSync(pidfile, "utf8"));
    this.#t.after(() => endTree(pid));
    return pid;
  }
}

/** Whether the stand-in has its device in use in a process. */
export function isOnDevice(pid: number): boolean {
  return readFileSync(`/proc/${pid}/maps`, "latin1").includes("/SYSV");
}

export function isGone(pid: number): boolean {
  return !existsSync(`/proc/${pid}`);
}
