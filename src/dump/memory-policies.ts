// SPDX-License-Identifier: Apache-2.0
/**
 * Memory policies of mappings. /proc/PID/numa_maps names the policy of every mapping; one that has none shows that of
 * the first thread. So where that is the default, only mappings that show another are asked about, else all. For numa_maps the
 * kernel looks at every page, 20 ms for a GiB: a few large mappings are asked about at once.
 */
import { memoryPolicyRow } from "../gen/tables.js";
import { BackgroundRead, tryReadSmall } from "../native/index.js";
import { beginNumaMaps } from "./tree-facts.js";
import { memoryPolicyAt } from "../state/memory-policy.js";
import type { DumpContext, DumpedProcess } from "./context.js";
import { procPath } from "./procfs.js";
import type { Mapping } from "./smaps.js";

/** Mappings from which on another thread reads numa_maps, for which the kernel looks at every page. */
const manyMappings = 1000;
/** Anonymous bytes a mapping from which asking about each is quicker; a call takes some 0.1 ms. */
const largeMapping = 8n << 20n;
/** Bytes of a line of numa_maps, but for a name. */
const longestLine = 192;

/** What is being read of some processes. `get`: the text of one, once it is there. */
export type PoliciesBegun = Map<DumpedProcess, () => Buffer | undefined>;

/**
 * Begins to read what `collectMemoryPolicies` wants.
 * @param haveNone their mappings are known to have none
 */
export function beginMemoryPolicies(processes: readonly DumpedProcess[], haveNone: boolean): PoliciesBegun {
  if (haveNone) return new Map(processes.map((process) => [process, () => noPolicies]));
  const begun: PoliciesBegun = new Map();
  const room = ({ mappings }: { mappings: readonly Mapping[] }): number =>
    mappings.length * longestLine + 4 * (mappings[0]?.table.names.length ?? 0);
  const together = processes.filter((process) => {
    const { mappings } = process;
    if (mappings.length === 0 || areLarge(mappings)) return false;
    if (mappings.length < manyMappings) return true;
    const read = new BackgroundRead(numaMapsOf(process.pid), room(process));
    begun.set(process, () => read.result());
    return false;
  });
  const told = beginNumaMaps(
    together.map(({ pid }) => pid),
    together.reduce((sum, process) => sum + room(process), 0),
  );
  if (told !== undefined)
    together.forEach((process, index) => begun.set(process, () => told(index) ?? tryReadSmall(numaMapsOf(process.pid))));
  return begun;
}

/** The same of processes of which numa_maps can be read, but nothing else be asked. */
export function policiesTold(processes: readonly DumpedProcess[]): PoliciesBegun {
  return new Map(processes.map((process) => [process, () => tryReadSmall(numaMapsOf(process.pid)) ?? noPolicies]));
}

const noPolicies = Buffer.alloc(0);

/** Whether asking about each mapping is quicker. */
function areLarge(mappings: readonly Mapping[]): boolean {
  if (mappings.length >= manyMappings) return false;
  const bytes = mappings.reduce((sum, { anonymous }) => sum + anonymous, 0n);
  return bytes > largeMapping * BigInt(mappings.length);
}

const numaMapsOf = (pid: number): string => `${procPath(pid)}/numa_maps`;

/** Adds the rows of one address space. */
export function collectMemoryPolicies(
  context: DumpContext,
  process: DumpedProcess,
  mm: number,
  mappings: readonly Mapping[],
  begun?: () => Buffer | undefined,
): void {
  const isAsked = begun === undefined && areLarge(mappings);
  // Without NUMA there is no such file, and no policy.
  const text = isAsked ? "" : (begun === undefined ? tryReadSmall(numaMapsOf(process.pid)) : begun())?.toString("latin1");
  if (text === undefined) return;
  const unusual = new Set(isAsked ? mappings.map(({ start }) => start) : startsWithPolicy(text));
  if (unusual.size === 0) return;
  const injector = process.injector();
  const ask = { call: injector.call.bind(injector) };
  for (const { start, end } of mappings) {
    const policy = unusual.has(start) ? memoryPolicyAt(ask, start) : undefined;
    if (policy === undefined || policy.mode === 0) continue;
    context.tables.memoryPolicies.push(memoryPolicyRow({ mm, mode: policy.mode, start, end, nodes: policy.nodes }));
  }
}

/** A line of numa_maps with another policy than the default. */
const withPolicy = /^([0-9a-f]+) (?!default\b)\S/m;
const allWithPolicy = new RegExp(withPolicy, "gm");

/** Whether numa_maps shows a policy other than the default anywhere. */
export function showsPolicy(numaMaps: Buffer): boolean {
  return withPolicy.test(numaMaps.toString("latin1"));
}

/** Start addresses of the mappings that show a policy other than the default: `7f1200000000 interleave:0 …`. */
export function startsWithPolicy(numaMaps: string): bigint[] {
  return [...numaMaps.matchAll(allWithPolicy)].map(([, start]) => BigInt(`0x${start}`));
}
