// SPDX-License-Identifier: Apache-2.0
/** What this host can do, asked of the kernel once. No privilege is needed and nothing is changed. */
import { existsSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { type HostCuda, hostDevices } from "../../cuda/helper.js";
import { cpuid, tryCall } from "../../native/sys.js";
import { errno } from "../../linux/errno.js";

export interface HostFacts {
  readonly machine: string;
  readonly kernelRelease: string;
  /** Whether the native part of crimg is built: without it little else can be asked. */
  readonly hasNative: boolean;
  /** prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE): CONFIG_CHECKPOINT_RESTORE and everything behind it. */
  readonly hasSetMmMap: boolean;
  readonly hasPidfdGetfd: boolean;
  /** clone3 with set_tid, Linux 5.5. */
  readonly hasClone3: boolean;
  readonly hasKcmp: boolean;
  readonly hasUserfaultfd: boolean;
  /** PTRACE_GET_RSEQ_CONFIGURATION, Linux 5.13. */
  readonly hasRseqConfiguration: boolean;
  /** PAGEMAP_SCAN, Linux 6.7. */
  readonly hasPagemapScan: boolean;
  /** Bits of CapEff. */
  readonly capabilities: bigint;
  readonly uid: number;
  /** kernel.yama.ptrace_scope; 0 where Yama is absent. */
  readonly ptraceScope: number;
  /** User namespaces that may be made; 0 for none. */
  readonly userNamespaces: number;
  /** XCR0 as CPUID leaf 13 gives it. */
  readonly xfeatures: bigint;
  /** Bytes of memory and swap that are free. */
  readonly availableBytes: bigint;
  /** The CUDA driver and its GPUs, or why there are none. */
  readonly cuda: HostCuda;
}

/** Capability bits (linux/capability.h). */
export const capability = { SYS_PTRACE: 19, SYS_ADMIN: 21, CHECKPOINT_RESTORE: 40 } as const;

export function hasCapability({ capabilities }: HostFacts, bit: number): boolean {
  return ((capabilities >> BigInt(bit)) & 1n) === 1n;
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function numberIn(path: string, absent: number): number {
  const content = text(path).trim();
  return /^\d+$/.test(content) ? Number(content) : absent;
}

function kib(meminfo: string, name: string): bigint {
  return BigInt(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(meminfo)?.[1] ?? "0") * 1024n;
}

/** Whether the kernel knows a call: an argument that makes no sense gives another error than ENOSYS. */
function knows(ask: () => number): boolean {
  try {
    return ask() !== -errno.ENOSYS;
  } catch {
    return false;
  }
}

function isAtLeast(major: number, minor: number): boolean {
  const [first = 0, second = 0] = release()
    .split(".")
    .map((part) => Number.parseInt(part, 10));
  return first > major || (first === major && second >= minor);
}

/** Asks. */
export function hostFacts(): HostFacts {
  let hasNative = true;
  try {
    tryCall("getpid");
  } catch {
    hasNative = false;
  }
  const meminfo = text("/proc/meminfo");
  const status = text("/proc/self/status");
  const size = new Uint32Array(1);
  const prSetMm = 35;
  const prSetMmMapSize = 15;
  let xfeatures = 0n;
  if (hasNative) {
    const [low, , , high] = cpuid(13, 0);
    xfeatures = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
  }
  const mayMakeNamespaces = existsSync("/proc/sys/kernel/unprivileged_userns_clone")
    ? numberIn("/proc/sys/kernel/unprivileged_userns_clone", 1) !== 0
    : true;
  return {
    machine: process.arch === "x64" ? "x86_64" : process.arch,
    kernelRelease: release(),
    hasNative,
    hasSetMmMap: hasNative && knows(() => (tryCall("prctl", prSetMm, prSetMmMapSize, size, 0, 0) === 0 ? 0 : -errno.ENOSYS)),
    hasPidfdGetfd: hasNative && knows(() => tryCall("pidfd_getfd", -1, 0, 0)),
    hasClone3: hasNative && isAtLeast(5, 5) && knows(() => tryCall("clone3", null, 0)),
    hasKcmp: hasNative && knows(() => tryCall("kcmp", process.pid, process.pid, 1, 0, 0)),
    hasUserfaultfd: hasNative && knows(() => tryCall("userfaultfd", -1)),
    hasRseqConfiguration: isAtLeast(5, 13),
    hasPagemapScan: isAtLeast(6, 7),
    capabilities: BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0"}`),
    uid: process.getuid?.() ?? -1,
    ptraceScope: numberIn("/proc/sys/kernel/yama/ptrace_scope", 0),
    userNamespaces: mayMakeNamespaces ? numberIn("/proc/sys/user/max_user_namespaces", 0) : 0,
    xfeatures,
    cuda: hostDevices(),
    availableBytes: kib(meminfo, "MemAvailable") + kib(meminfo, "SwapFree"),
  };
}
