// SPDX-License-Identifier: Apache-2.0
/** What a set says that the model has no place for, told before the rows are made. */
import type { FacetName, Loss } from "../../src/adapter/format.js";
import { someOf } from "../../src/adapter/losses.js";
import type { WireSet } from "./wire/load.js";
import { areaStatus } from "./map/vma-status.js";

/** Losses that concern the set as a whole; those of single descriptors are told where they are read. */
export function lossesOfSet(wire: WireSet): Loss[] {
  const losses: Loss[] = [];
  const add = (code: string, facet: FacetName, names: readonly string[], what: string): void => {
    if (names.length === 0) return;
    losses.push({ code, facet, count: names.length, text: `${what}: ${someOf(names)}.` });
  };
  const cores = [...wire.cores];
  add(
    "credentials.lsm",
    "credentials",
    cores.flatMap(([tid, { threadCore }]) => {
      const label = Buffer.from(threadCore?.creds?.lsmProfile ?? []).toString("latin1");
      return label === "" || label === "unconfined" ? [] : [`thread ${tid} (${label})`];
    }),
    "The label of the security module is kept for CRIU only",
  );
  add(
    "memory.special",
    "memory",
    [...wire.mms].flatMap(([pid, { vmas }]) =>
      vmas.flatMap(({ start, status, shmid }) => {
        if ((status & areaStatus.sysvIpc) !== 0 && wire.segments.has(Number(shmid))) return [];
        const kind = special.find(([bit]) => (status & bit) !== 0)?.[1];
        return kind === undefined ? [] : [`${kind} at 0x${start.toString(16)} of ${pid}`];
      }),
    ),
    "Areas that only CRIU can make again are left out",
  );
  return losses;
}

/** Locks on descriptors that are not in the set, or of unknown kinds. */
export function lostLocks(count: number): Loss {
  return { code: "files.locks", facet: "files", count, text: `${count} file locks are kept for CRIU only.` };
}

const special = [
  [areaStatus.sysvIpc, "System V shared memory"],
  [areaStatus.socket, "a packet socket's ring"],
  [areaStatus.uprobes, "[uprobes]"],
] as const;
