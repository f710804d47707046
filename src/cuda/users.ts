// SPDX-License-Identifier: Apache-2.0
/** Which processes of a running tree may use CUDA. */
import { listChildrenOf, listThreads, readMaps } from "../dump/procfs.js";
import { tryListDirectory, tryReadlink } from "../native/index.js";

export interface CudaCandidate {
  readonly pid: number;
  /** It has the devices of the driver open or mapped now. */
  readonly hasDevice: boolean;
  /** Minor numbers of the GPUs whose nodes it has open (/dev/nvidiaN). */
  readonly minors: ReadonlySet<number>;
}

/** The processes below `root`, parents first; only it without `isTree`. Those that end meanwhile are left out later. */
function processesOf(root: number, isTree: boolean): number[] {
  const pids = [root];
  if (!isTree) return pids;
  const known = new Set(pids);
  for (const pid of pids) {
    for (const child of listChildrenOf(pid, listThreads(pid) ?? [])) {
      if (known.has(child)) continue;
      known.add(child);
      pids.push(child);
    }
  }
  return pids;
}

/** Nobody links the driver's library statically: its place in the memory map gives its users away. */
const libraryInMaps = Buffer.from("/libcuda.so");
const devicePath = /^\/dev\/nvidia/;
const deviceInMaps = Buffer.from(" /dev/nvidia");

function candidate(pid: number, maps: Buffer | undefined): CudaCandidate | undefined {
  if (maps === undefined || !maps.includes(libraryInMaps)) return undefined;
  const minors = new Set<number>();
  let hasDevice = maps.includes(deviceInMaps);
  const names = tryListDirectory(`/proc/${pid}/fd`);
  for (const name of typeof names === "number" ? [] : names) {
    const link = tryReadlink(`/proc/${pid}/fd/${name}`)?.toString("latin1") ?? "";
    if (!devicePath.test(link)) continue;
    hasDevice = true;
    const minor = /^\/dev\/nvidia(\d+)$/.exec(link)?.[1];
    if (minor !== undefined) minors.add(Number(minor));
  }
  return { pid, hasDevice, minors };
}

/**
 * Processes that have loaded the driver's library; most have, or had, something on a GPU.
 * @param rootMaps what maps of the root said a moment ago, if it is known
 */
export function cudaCandidates(root: number, isTree: boolean, rootMaps: Buffer | undefined): CudaCandidate[] {
  const mapsOf = (pid: number): Buffer | undefined => (pid === root ? rootMaps : undefined) ?? readMaps(pid);
  return processesOf(root, isTree).flatMap((pid) => candidate(pid, mapsOf(pid)) ?? []);
}
