// SPDX-License-Identifier: Apache-2.0
/** The program test/programs/steady.c, and the check that it goes on unharmed. */
import assert from "node:assert/strict";
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { compile, isAlive, start, temporaryDirectory, until } from "./processes.js";

export interface Steady {
  readonly pid: number;
  readonly directory: string;
  /** Fails unless all its threads make progress and it has complained of nothing. */
  assertGoesOn(what: string): Promise<void>;
}

/** Starts it with descriptors 0 to 2 on files only. `tolerant`: EINTR from epoll_wait is no failure. */
export async function startSteady(t: TestContext, tolerant = false): Promise<Steady> {
  const directory = temporaryDirectory(t);
  const program = compile("steady.c", directory, "-pthread");
  const [out, err] = [join(directory, "out"), join(directory, "err")];
  const fds = [openSync("/dev/null", "r"), openSync(out, "a"), openSync(err, "a")] as const;
  const { pid } = start(t, program, tolerant ? ["tolerant"] : [], { stdio: [...fds], cwd: directory });
  for (const fd of fds) closeSync(fd);
  const rounds = (): number[] | undefined => readFileSync(out, "utf8").split("\n").at(-2)?.split(" ").map(Number);
  await until("steady runs", () => rounds()?.every((count) => count > 0));
  return {
    pid,
    directory,
    async assertGoesOn(what) {
      const before = rounds() ?? [];
      await until(
        `${what}: all threads go on`,
        () => {
          assert.equal(readFileSync(err, "utf8"), "", what);
          assert.ok(isAlive(pid), `${what}: it has ended`);
          return rounds()?.every((count, index) => count > (before[index] ?? 0));
        },
        60,
      );
    },
  };
}

/** What must not change: mappings, descriptors, masks; nothing stopped, nothing traced. */
export function outerState(pid: number): unknown {
  const status = (tid: string): string => readFileSync(`/proc/${pid}/task/${tid}/status`, "utf8");
  return {
    maps: readFileSync(`/proc/${pid}/maps`, "utf8"),
    fds: readdirSync(`/proc/${pid}/fd`).map((fd) => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`),
    threads: readdirSync(`/proc/${pid}/task`).map((tid) => ({
      tid,
      isStill: /^State:\s+[tT]/m.test(status(tid)),
      fields: status(tid)
        .split("\n")
        .filter((line) => /^(TracerPid|Sig[A-Z][a-z]+:|ShdPnd)/.test(line) && !line.startsWith("SigQ")),
    })),
  };
}
