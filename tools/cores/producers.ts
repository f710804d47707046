// SPDX-License-Identifier: Apache-2.0
/** Cores of one program from every producer, made now where the tool is there, else those of test/fixtures. */
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kernelCore, whyNoKernelCores } from "../../test/support/kernel-core.js";
import { fixtures, projectRoot } from "../../test/support/project.js";
import { say, tool, versionOf } from "./tools.js";

export interface Producer {
  readonly name: string;
  /** Path of the core and what made it, or why there is none. */
  make(place: Place): Made | string;
}

export interface Place {
  readonly folder: string;
  /** The program; without an argument it crashes, with "wait" it waits. */
  readonly program: string;
  /** One that waits. */
  readonly pid: number;
}

export interface Made {
  readonly path: string;
  readonly by: string;
}

const kernel = (name: string, options: { readonly filter?: string; readonly kib?: number }): Producer => ({
  name,
  make: ({ folder, program }) => {
    const why = whyNoKernelCores();
    if (why !== undefined) return why;
    const version = say("uname", ["-r"]).text.split("-")[0] ?? "";
    return { path: kernelCore(folder, `${name.replace(/\W+/g, "-")}.core`, [program], options), by: `Linux ${version}` };
  },
});

const fixture = (file: string, by: string): Made => ({
  path: join(fixtures, "core-producers", file),
  by: `${by}, kept in test/fixtures`,
});

/** The file in a folder that a pattern names, under a name of its own. */
function take(folder: string, pattern: RegExp, name: string): string | undefined {
  const found = readdirSync(folder).find((entry) => pattern.test(entry));
  if (found === undefined) return undefined;
  renameSync(join(folder, found), join(folder, name));
  return join(folder, name);
}

const lldb = (version: string, style: string, kept: string): Producer => ({
  name: `lldb ${version}, save-core -s ${style}`,
  make: ({ folder, pid }) => {
    const path = tool(`lldb-${version}`);
    if (path === undefined) return kept === "" ? `lldb-${version} is not here` : fixture(kept, `lldb ${version}`);
    const dump = join(folder, `lldb${version}-${style}.dmp`);
    const { text, errors } = say(path, ["-b", "-p", String(pid), "-o", `process save-core -s ${style} ${dump}`, "-o", "detach"]);
    return existsSync(dump)
      ? { path: dump, by: `lldb ${versionOf(path)}` }
      : `it fails: ${/error: (.*)/.exec(text + errors)?.[1] ?? "no file"}`;
  },
});

const compressed = (suffix: string, command: readonly string[]): Producer => ({
  name: `systemd-coredump's .${suffix}`,
  make: ({ folder }) => {
    const path = tool(command[0] ?? "");
    const core = join(folder, "kernel-filter-0x33.core");
    if (path === undefined || !existsSync(core)) return `${command[0]} or the kernel's core is not here`;
    const { status } = say("sh", ["-c", `exec ${command.join(" ")} <${core} >${core}.${suffix}`]);
    return status === 0 ? { path: `${core}.${suffix}`, by: `the kernel's, by ${command[0]} ${versionOf(path)}` } : `${command[0]} fails`;
  },
});

export const producers: readonly Producer[] = [
  kernel("kernel, filter 0x33", { filter: "0x33" }),
  kernel("kernel, filter 0x7f", { filter: "0x7f" }),
  kernel("kernel, filter 0x0", { filter: "0x0" }),
  kernel("kernel, cut off at 100 KiB", { kib: 100 }),
  {
    name: "gcore",
    make: ({ folder, pid }) => {
      const path = tool("gcore");
      if (path === undefined) return "gcore is not here";
      say(path, ["-o", join(folder, "gcore"), String(pid)]);
      const core = join(folder, `gcore.${pid}`);
      return existsSync(core) ? { path: core, by: `gdb ${versionOf(tool("gdb") ?? path)}` } : "it fails";
    },
  },
  {
    name: "gcore -a",
    make: ({ folder, pid }) => {
      const path = tool("gcore");
      if (path === undefined) return "gcore is not here";
      say(path, ["-a", "-o", join(folder, "gcore-a"), String(pid)]);
      const core = join(folder, `gcore-a.${pid}`);
      return existsSync(core) ? { path: core, by: `gdb ${versionOf(tool("gdb") ?? path)}` } : "it fails";
    },
  },
  {
    name: "gdb, generate-core-file of a crash",
    make: ({ folder, program }) => {
      const path = tool("gdb");
      if (path === undefined) return "gdb is not here";
      const core = join(folder, "gdb-crash.core");
      say(path, ["-nx", "-batch", "-ex", "run", "-ex", `generate-core-file ${core}`, "-ex", "kill", "--args", program]);
      return existsSync(core) ? { path: core, by: `gdb ${versionOf(path)}` } : "it fails";
    },
  },
  {
    name: "kernel, AVX-512 registers in use",
    make: ({ folder }) => {
      const why = whyNoKernelCores();
      if (why !== undefined) return why;
      const source = join(projectRoot, "test/programs/avx512.c");
      if (say("cc", ["-O1", "-o", join(folder, "avx512"), source]).status !== 0) return "cc cannot build the program";
      if (!/ avx512bw /.test(readFileSync("/proc/cpuinfo", "latin1"))) return "this processor has none";
      const command = ["timeout", "-s", "ABRT", "1", join(folder, "avx512"), join(folder, "avx512.log")];
      return { path: kernelCore(folder, "avx512.core", command), by: `Linux ${say("uname", ["-r"]).text.split("-")[0]}` };
    },
  },
  {
    name: "kernel, AMX tiles in use",
    make: () => {
      const isHere = / amx_tile /.test(readFileSync("/proc/cpuinfo", "latin1"));
      return isHere ? "no program here uses them; test/unit has areas of extended state with them" : "this processor has none";
    },
  },
  {
    name: "kernel, 65,535 program headers and more",
    make: () =>
      "the kernel's own limit of mappings (vm.max_map_count, 65,530) keeps its cores below; a file of that form (PN_XNUM) is made " +
      "and read by test/unit/core-hostile",
  },
  {
    name: "delve, dump",
    make: ({ folder, program, pid }) => {
      const path = tool("dlv");
      if (path === undefined) return fixture("delve.core.zst", "delve 1.20");
      const [core, init] = [join(folder, "delve.core"), join(folder, "dlv.init")];
      writeFileSync(init, `dump ${core}\nexit\n`);
      say(path, ["attach", String(pid), program, "--allow-non-terminal-interactive=true", "--init", init]);
      return existsSync(core) && statSync(core).size > 0 ? { path: core, by: `delve ${versionOf(path, ["version"])}` } : "it fails";
    },
  },
  lldb("14", "stack", "lldb14-stack.dmp.zst"),
  lldb("14", "full", ""),
  lldb("19", "stack", "lldb19-stack.dmp.zst"),
  lldb("19", "modified-memory", "lldb19-modified-memory.dmp.zst"),
  lldb("19", "full", ""),
  {
    name: "valgrind",
    make: ({ folder, program }) => {
      const path = tool("valgrind");
      if (path === undefined) return fixture("valgrind.core.zst", "valgrind 3.19");
      say("sh", ["-c", 'ulimit -c unlimited; exec "$0" -q "$1"', path, program], { cwd: folder });
      const core = take(folder, /^vgcore/, "valgrind.core");
      return core === undefined ? "it fails" : { path: core, by: `valgrind ${versionOf(path)}` };
    },
  },
  {
    name: "qemu-user",
    make: ({ folder, program }) => {
      const path = tool("qemu-x86_64");
      if (path === undefined) return fixture("qemu-user.core.zst", "qemu-user 7.2");
      say("sh", ["-c", 'ulimit -c unlimited; exec "$0" "$1"', path, program], { cwd: folder });
      const core = take(folder, /^qemu_.*core$/, "qemu.core");
      take(folder, /^core(\.[0-9]+)?$/, "qemu-itself.core");
      return core === undefined ? "it fails" : { path: core, by: `qemu-user ${versionOf(path)}` };
    },
  },
  { name: "minicoredumper, core.tar.gz", make: () => fixture("minicoredumper.core.tar.gz", "minicoredumper 2.0.3") },
  compressed("zst", ["zstd", "-qc"]),
  compressed("lz4", ["lz4", "-qc"]),
  compressed("xz", ["xz", "-c"]),
  { name: "kernel, 32-bit program", make: () => fixture("i386.core.zst", "Linux 6.18") },
  { name: "Go, rust, node, python, java", make: () => "theirs are the kernel's: see the sizes below" },
  {
    name: "rr",
    make: () => "it makes no cores of its own: gcore in its replay is gdb's, and it needs performance counters, which are not here",
  },
];
