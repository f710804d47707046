// SPDX-License-Identifier: Apache-2.0
/** What debuggers and other tools see in a core of crimg, beside a gcore of the same process at the same moment. */
import { say, tool, versionOf } from "./tools.js";

export interface Consumer {
  readonly name: string;
  /** Tool, or undefined where it is not here. */
  readonly path: string | undefined;
  readonly version: () => string;
  /** Which running program it is asked about. */
  readonly program: "c" | "python" | "java-serial" | "java-g1" | "go";
  /** What is compared. */
  readonly about: string;
  /** Its answer about a core, without what differs by nature. */
  readonly ask: (core: string, program: string) => string;
  /** Why it cannot be asked here, if it cannot. */
  readonly why?: string;
}

const numbered = (text: string, drop: RegExp): string =>
  text
    .split("\n")
    .map((line) => line.trimEnd().replace(/\S*\/(?:gcore|crimg)\.[0-9]+(?:\.core)?/g, "CORE"))
    .filter((line) => line !== "" && !drop.test(line))
    // A thread that waits in a system call stands before it in crimg's core and behind it in gcore's: it is to be made again.
    .map((line) => line.replace(/(#0\s+)(0x[0-9a-f]+)/, "$1IP").replace(/(frame #0: )0x[0-9a-f]+/, "$1IP"))
    .join("\n");

const gdbNoise = /^(\[(New|Current|Thread deb)|Core was|Program term|warning: |Using host|[0-9]+\t)/;
const gdb = tool("gdb");
const gdbAsk = (commands: readonly string[]) => (core: string, program: string) =>
  numbered(
    say(gdb ?? "", ["-nx", "-batch", "-iex", "set auto-load safe-path /", ...commands.flatMap((one) => ["-ex", one]), program, core]).text,
    gdbNoise,
  );
const gdbRow = (about: string, commands: readonly string[], program: Consumer["program"] = "c"): Consumer => ({
  name: program === "python" ? "gdb, py-bt" : "gdb",
  path: gdb,
  version: () => versionOf(gdb ?? ""),
  program,
  about,
  ask: gdbAsk(commands),
});

const lldb = (version: string): Consumer => {
  const path = tool(`lldb-${version}`);
  return {
    name: `lldb ${version}`,
    path,
    version: () => versionOf(path ?? ""),
    program: "c",
    about: "threads with stop reasons, backtraces, modules",
    ask: (core, program) =>
      numbered(
        say(path ?? "", ["-b", "--no-lldbinit", program, "-c", core, "-o", "thread backtrace all", "-o", "image list"]).text,
        /^\(lldb\)|^Core file/,
      ),
  };
};

const simple = (
  name: string,
  about: string,
  args: (core: string, program: string) => readonly string[],
  drop: RegExp,
  command = name,
): Consumer => {
  const path = tool(command);
  return {
    name,
    path,
    version: () => versionOf(path ?? ""),
    program: "c",
    about,
    ask: (core, program) => {
      const { text, errors } = say(path ?? "", args(core, program));
      return numbered(text || errors, drop);
    },
  };
};

const jhsdb = (mode: string, program: "java-serial" | "java-g1"): Consumer => {
  const path = tool("jhsdb");
  return {
    name: `jhsdb ${mode}`,
    path,
    version: () => versionOf(tool("java") ?? "", ["-version"]),
    program,
    about: program === "java-g1" ? "G1" : "Serial",
    ask: (core, java) =>
      numbered(say(path ?? "", [...mode.split(" "), "--exe", java, "--core", core]).text, /^Attaching to|^hsdb|please wait/),
  };
};

const dlv = tool("dlv");

export const consumers: readonly Consumer[] = [
  gdbRow("threads, backtraces", ["info threads", "thread apply all bt 12"]),
  gdbRow("modules", ["info sharedlibrary"]),
  gdbRow("auxv, signal", ["info auxv", "p $_siginfo.si_signo"]),
  gdbRow("maps", ["info proc mappings"]),
  gdbRow("registers", ["thread apply all p $rsp, $fs_base, $xmm0, $mxcsr"]),
  // Debian's python3.11-dbg brings the commands; gdb loads them with the program.
  gdbRow("Python frames", ["thread apply all py-bt", "py-bt-full", "py-locals"], "python"),
  lldb("14"),
  lldb("19"),
  simple("eu-stack", "threads, backtraces", (core, program) => [`--core=${core}`, "-e", program], /^PID/),
  simple("eu-unstrip", "modules with build-ids", (core) => ["-n", `--core=${core}`], /never/),
  simple("file", "what it is", (core) => ["-b", core], /never/),
  simple("systemd-analyze", "inspect-elf", (core) => ["inspect-elf", core], /^\s*path: /),
  {
    name: "coredumpctl",
    path: undefined,
    version: () => "",
    program: "c",
    about: "debug, info",
    ask: () => "",
    why: "it reads cores out of the journal, and no journald runs here; what it hands to gdb is the core itself",
  },
  {
    name: "dlv core",
    path: dlv,
    version: () => versionOf(dlv ?? "", ["version"]),
    program: "go",
    about: "goroutines, threads, backtrace",
    ask: (core, program) =>
      numbered(
        say(dlv ?? "", ["core", program, core, "--allow-non-terminal-interactive=true"], { input: "goroutines\nthreads\nbt\nexit\n" }).text,
        /never/,
      ).replace(/(\.[sc]):[0-9]+/g, "$1:N"),
  },
  jhsdb("jstack", "java-serial"),
  jhsdb("jmap --heap", "java-serial"),
  jhsdb("jstack", "java-g1"),
  jhsdb("jmap --histo", "java-g1"),
];
