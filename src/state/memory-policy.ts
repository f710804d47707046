// SPDX-License-Identifier: Apache-2.0
/** Memory policies (set_mempolicy(2), mbind(2)) of threads and of mappings. */
import type { Asking } from "./asking.js";

export interface MemoryPolicy {
  /** MPOL_* and MPOL_F_* flags. */
  readonly mode: number;
  /** One bit a node, no trailing zero bytes. */
  readonly nodes: Uint8Array;
}

const MPOL_F_ADDR = 2;
/** Bits of a node mask: more than any kernel has (CONFIG_NODES_SHIFT is at most 10). */
const maxNodes = 1024;

/** The policy of the thread that is asked, or of the mapping at an address; undefined where there are none (no NUMA). */
export function memoryPolicyAt(ask: Pick<Asking, "call">, address: bigint | undefined): MemoryPolicy | undefined {
  const [mode, nodes] = [Buffer.alloc(4), Buffer.alloc(maxNodes / 8)];
  const result = ask.call("get_mempolicy", { out: mode }, { out: nodes }, maxNodes, address ?? 0, address === undefined ? 0 : MPOL_F_ADDR);
  if (result < 0) return undefined;
  let end = nodes.length;
  while (end > 0 && nodes[end - 1] === 0) end--;
  return { mode: mode.readUInt32LE(), nodes: Buffer.from(nodes.subarray(0, end)) };
}

export const needsNodes = "resume on a machine that has the NUMA nodes that the program named";

/** A node mask and the number of its bits, as set_mempolicy and mbind take them: they look at one bit less. */
export function nodesArguments(nodes: Uint8Array): [Uint8Array | 0, number] {
  if (nodes.length === 0) return [0, 0];
  const mask = Buffer.alloc(Math.ceil(nodes.length / 8) * 8);
  mask.set(nodes);
  return [mask, mask.length * 8 + 1];
}

/** For validation. */
export const nodesCheck = (nodes: Uint8Array): string | undefined =>
  nodes.length <= maxNodes / 8 ? undefined : `at most ${maxNodes / 8} bytes of nodes`;

const modes = ["default", "prefer", "bind", "interleave", "local", "prefer many", "weighted interleave"];
const flagNames = [
  [0x8000, "static"],
  [0x4000, "relative"],
  [0x2000, "balancing"],
] as const;

/** `interleave=static 0 1`. */
export function memoryPolicyText(mode: number, nodes: Uint8Array): string {
  const flags = flagNames.filter(([bit]) => (mode & bit) !== 0).map(([, name]) => name);
  const plain = mode & 0x1fff;
  const list = [...nodes].flatMap((byte, index) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => index * 8 + bit),
  );
  return [`${modes[plain] ?? plain}${flags.length > 0 ? `=${flags.join("|")}` : ""}`, ...list].join(" ");
}
