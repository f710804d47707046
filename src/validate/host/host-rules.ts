// SPDX-License-Identifier: Apache-2.0
/** Rules about the host alone (`crimg check`): can processes be dumped and resumed here, and with what limits? */
import type { Rule, RuleInfo, Problem } from "../finding.js";
import { type HostFacts, capability, hasCapability } from "./facts.js";

export type HostRule = Rule<HostFacts>;

function hostRule(
  code: string,
  severity: RuleInfo["severity"],
  summary: string,
  spec: string,
  check: (facts: HostFacts) => Iterable<Problem>,
): HostRule {
  return { code, severity, profile: "host", summary, spec, check };
}

export const hostRules: readonly HostRule[] = [
  hostRule("host.machine", "error", "The machine is x86-64 with Linux.", "README", function* ({ machine }) {
    if (machine !== "x86_64" || process.platform !== "linux")
      yield { message: "crimg runs on Linux on x86-64 only", expected: "x86_64", actual: machine };
  }),
  hostRule("host.native", "error", "The native part of crimg is built.", "README", function* ({ hasNative }) {
    if (!hasNative) yield { message: "the native part of crimg is missing", hint: "npm run build (it needs cc and make)" };
  }),
  hostRule(
    "host.checkpoint-restore",
    "error",
    "The kernel is built with CONFIG_CHECKPOINT_RESTORE.",
    "prctl(2), PR_SET_MM_MAP",
    function* ({ hasSetMmMap, hasNative }) {
      if (hasNative && !hasSetMmMap)
        yield {
          message: "the kernel lacks CONFIG_CHECKPOINT_RESTORE: memory layouts cannot be put back",
          hint: "use a kernel of a distribution, or build one with it",
        };
    },
  ),
  hostRule(
    "host.pidfd-getfd",
    "error",
    "The kernel has pidfd_getfd (Linux 5.6): descriptors are taken over with it.",
    "pidfd_getfd(2)",
    function* ({ hasPidfdGetfd, hasNative, kernelRelease }) {
      if (hasNative && !hasPidfdGetfd)
        yield { message: "the kernel lacks pidfd_getfd: descriptors cannot be dumped", expected: "Linux 5.6", actual: kernelRelease };
    },
  ),
  hostRule(
    "host.clone3",
    "error",
    "The kernel has clone3 with set_tid (Linux 5.5): processes come back with their pids by it.",
    "clone3(2)",
    function* ({ hasClone3, hasNative, kernelRelease }) {
      if (hasNative && !hasClone3)
        yield { message: "the kernel lacks clone3 with set_tid: nothing can be resumed", expected: "Linux 5.5", actual: kernelRelease };
    },
  ),
  hostRule(
    "host.kcmp",
    "warning",
    "The kernel has kcmp (CONFIG_KCMP): it tells which descriptors are one open file.",
    "kcmp(2)",
    function* ({ hasKcmp, hasNative }) {
      if (hasNative && !hasKcmp) yield { message: "the kernel lacks kcmp: shared open files cannot be told apart with certainty" };
    },
  ),
  hostRule(
    "host.rseq",
    "warning",
    "The kernel can be asked for a thread's rseq area (Linux 5.13).",
    "ptrace(2)",
    function* ({ hasRseqConfiguration, kernelRelease }) {
      if (!hasRseqConfiguration)
        yield { message: "the kernel does not report restartable sequences", expected: "Linux 5.13", actual: kernelRelease };
    },
  ),
  hostRule(
    "host.pagemap-scan",
    "note",
    "The kernel has PAGEMAP_SCAN (Linux 6.7): dumps find their pages faster by it.",
    "Documentation/admin-guide/mm/pagemap.rst",
    function* ({ hasPagemapScan, kernelRelease }) {
      if (!hasPagemapScan)
        yield { message: "the kernel lacks PAGEMAP_SCAN: dumps are slower", expected: "Linux 6.7", actual: kernelRelease };
    },
  ),
  hostRule(
    "host.ptrace-scope",
    "warning",
    "Yama lets crimg trace processes that are not its children.",
    "Documentation/admin-guide/LSM/Yama.rst",
    function* (facts) {
      if (facts.ptraceScope === 0 || (hasCapability(facts, capability.SYS_PTRACE) && facts.ptraceScope < 3)) return;
      yield {
        message:
          facts.ptraceScope === 3
            ? "Yama forbids tracing altogether: nothing can be dumped"
            : "Yama lets only descendants be traced: other processes cannot be dumped",
        expected: "kernel.yama.ptrace_scope = 0, or CAP_SYS_PTRACE",
        actual: String(facts.ptraceScope),
        hint: "run crimg as root, or set kernel.yama.ptrace_scope to 0",
      };
    },
  ),
  hostRule(
    "host.same-pids",
    "note",
    "Processes can come back with the same pids (CAP_CHECKPOINT_RESTORE), else in a namespace of their own.",
    "clone3(2)",
    function* (facts) {
      if (hasCapability(facts, capability.CHECKPOINT_RESTORE) || hasCapability(facts, capability.SYS_ADMIN)) return;
      yield { message: "trees are resumed in a new user and pid namespace, since this user may not choose pids" };
    },
  ),
  hostRule(
    "host.user-namespaces",
    "warning",
    "User namespaces can be made by users who may not choose pids.",
    "user_namespaces(7)",
    function* (facts) {
      if (facts.userNamespaces > 0 || hasCapability(facts, capability.CHECKPOINT_RESTORE) || hasCapability(facts, capability.SYS_ADMIN))
        return;
      yield {
        message: "this user may neither choose pids nor make namespaces: --pid any is the only way to resume",
        hint: "set user.max_user_namespaces above 0, or run as root",
      };
    },
  ),
  hostRule(
    "host.cuda",
    "note",
    "The CUDA driver is there, and can checkpoint programs (driver 570): they are taken off GPUs for a dump.",
    "CUDA Driver API, CUDA Checkpointing",
    function* ({ cuda }) {
      if ("problem" in cuda) yield { message: `programs on NVIDIA GPUs can be neither dumped nor resumed here: ${cuda.problem}` };
    },
  ),
];
