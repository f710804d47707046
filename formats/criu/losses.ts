// SPDX-License-Identifier: Apache-2.0
/** What an image set cannot hold of a model. */
import type { Loss, WriteOptions } from "../../src/adapter/format.js";
import { gpuLosses } from "../../src/adapter/gpu-loss.js";
import { LossList } from "../../src/adapter/losses.js";
import { ipcLosses } from "../../src/adapter/ipc-loss.js";
import { sysvSegmentFlagsBits, type TableName, tableSpecs, vmaVmFlagsBits } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import type { StateLoss } from "../../src/state/state.js";
import { unusualStates, type UnusualState } from "../../src/state/states.js";
import { formatId } from "./foreign/foreign.js";
import { fileMappings } from "./map/kinds.js";
import { hasDeviceImage } from "./map/network-images.js";
import { maxAuxvWords } from "./map/map-mm.js";
import { storableXfeatures } from "./map/map-xstate.js";
import { vdsoIsKnown } from "./map/vdso.js";

/** Losses of writing `checkpoint` as an image set. */
export function lossesOf(checkpoint: Checkpoint, options: WriteOptions): readonly Loss[] {
  const { tables } = checkpoint;
  const list = new LossList();
  const pidOf = (task: number): number => tables.tasks[task]?.pid ?? 0;
  const threads = (test: (row: (typeof tables.threads)[number]) => boolean): string[] =>
    tables.threads.filter(test).map((row) => `thread ${row.tid} of ${pidOf(row.task)}`);
  const tasks = (test: (row: (typeof tables.tasks)[number]) => boolean): string[] => tables.tasks.filter(test).map((row) => `${row.pid}`);

  list.add(
    "fpu.components",
    "fpu",
    "extended registers beyond AVX-512 and PKRU (such as AMX tiles) have no place",
    threads((row) => (xstateInUse(row.xstate) & ~storableXfeatures) !== 0n),
  );
  list.add(
    "scheduling.deadline",
    "scheduling",
    "parameters of this scheduling class are not kept",
    threads((row) => row.schedPolicy === "deadline" || row.schedPolicy === "ext"),
  );
  list.add(
    "tree.exit-signal",
    "tree",
    "the exit signal becomes SIGCHLD",
    tasks((row) => row.parent !== null && row.exitSignal !== sigchld),
  );
  const at = ({ start }: { readonly start: bigint }): string => `0x${start.toString(16)}`;
  list.add(
    "fs.thread-directories",
    "fs",
    "directories that a thread does not share with its process are not kept",
    tables.threadDirectories.map(({ thread }) => `thread ${tables.threads[thread]?.tid ?? thread}`),
  );
  list.add("memory.seals", "memory", "mseal is not kept", tables.vmas.filter((vma) => (vma.vmFlags & vmaVmFlagsBits.sl) !== 0n).map(at));
  list.add("memory.keys", "memory", "the protection keys of mappings are not kept", tables.vmas.filter((vma) => vma.pkey !== 0).map(at));
  list.add("memory.policies", "memory", "memory policies of mappings are not kept", tables.memoryPolicies.map(at));
  list.add(
    "memory.names",
    "memory",
    "names of anonymous memory are not kept",
    tables.vmas.filter((vma) => vma.kind === "anon_private" && vma.name !== "").map((vma) => `0x${vma.start.toString(16)} (${vma.name})`),
  );
  list.add(
    "memory.special",
    "memory",
    "special areas are not kept",
    tables.vmas
      .filter((vma, row) => vma.kind === "special" && !hasKept(checkpoint, "vmas", row))
      .map((vma) => `0x${vma.start.toString(16)} ${vma.name}`),
  );
  list.add(
    "memory.auxv",
    "command-line",
    "the auxiliary vector is cut to 22 entries in /proc/PID/auxv (the program's own copy is whole)",
    tables.mms.flatMap(({ auxv }, mm) => (auxvIsLong(auxv) ? [`address space ${mm}`] : [])),
  );
  list.add(
    "memory.vdso",
    "memory",
    "the pages of another kernel's vDSO are not in this image; criu restore needs them",
    tables.mms.flatMap((_, mm) => (vdsoIsKnown(checkpoint, mm) ? [] : [`address space ${mm}`])),
  );
  for (const { losses } of Object.values(fileMappings)) {
    for (const { code, facet, names, what } of losses?.(checkpoint) ?? []) list.add(code, facet, what, names);
  }
  list.add(
    "files.removed-name",
    "files",
    "files that lost their name go by their other one",
    tables.objects.filter((_, row) => hasOtherName(checkpoint, row)).map((object) => `${object.path} (now ${object.linkTarget})`),
  );
  addStateLosses(list, unusualStates(checkpoint, tables.tasks.keys()));
  addNamespaceLosses(list, checkpoint);
  const like = options.extra?.["like"];
  const hasLayer = tables.mountEntries.some(({ mount }) => tables.mounts[mount]?.parent === null);
  if (typeof like === "string" && !hasLayer) {
    list.add("container.layer", "files", "what the container changed of its image and its volumes is as it was in another checkpoint", [
      like,
    ]);
  }
  const ownsIpc = tables.namespaces.some(({ kind }) => kind === "ipc");
  return [...list.losses, ...gpuLosses(checkpoint), ...(ownsIpc ? [] : ipcLosses(checkpoint))];
}

/** What the images of namespaces do not say. */
function addNamespaceLosses(list: LossList, { tables }: Checkpoint): void {
  const isKept = (image: RegExp): boolean => tables.foreign.some(({ format, key }) => format === formatId && image.test(key));
  const devices = tables.networkDevices.filter(({ kind }) => !hasDeviceImage(kind)).map(({ name, kind }) => `${name} (${kind})`);
  if (!isKept(/^image:netdev-/)) {
    list.add("network.devices", "tree", "network devices that have to be there when the set is restored (criu --external)", devices);
  }
  const segments = (flag: number) => tables.sysvSegments.filter(({ flags }) => (flags & flag) !== 0).map(({ id }) => `segment ${id}`);
  if (!tables.namespaces.some(({ kind }) => kind === "ipc")) return;
  list.add("ipc.removed", "shared-memory", "removed segments are not removed again", segments(sysvSegmentFlagsBits.removed));
  list.add("ipc.locked", "shared-memory", "segments are not locked in memory again", segments(sysvSegmentFlagsBits.locked));
  const sets = tables.semaphoreUndos.map(({ set }) => `semaphore set ${tables.sysvSemaphoreSets[set]?.id ?? set}`);
  list.add("ipc.undo", "shared-memory", "SEM_UNDO is not kept", sets);
}

const sigchld = 17;

/** Small states that an image set has no field for: one loss each, with whose they are. */
function addStateLosses(list: LossList, states: readonly UnusualState[]): void {
  const byCode = new Map<string, { readonly loss: StateLoss; readonly holders: string[] }>();
  for (const { criu, holder } of states) {
    if (criu === "kept") continue;
    const known = byCode.get(criu.code);
    if (known) known.holders.push(holder);
    else byCode.set(criu.code, { loss: criu, holders: [holder] });
  }
  for (const { loss, holders } of byCode.values()) list.add(loss.code, loss.facet, loss.text, holders);
}

/** True if entries other than the terminating AT_NULL do not fit. */
function auxvIsLong(auxv: Uint8Array): boolean {
  return auxv.subarray(maxAuxvWords * 8).some((byte) => byte !== 0);
}

function xstateInUse(xstate: Uint8Array): bigint {
  return xstate.length < 520 ? 3n : new DataView(xstate.buffer, xstate.byteOffset).getBigUint64(512, true);
}

/** True for a file whose other name is its own, not one that a dump gave it. */
function hasOtherName(checkpoint: Checkpoint, row: number): boolean {
  const object = checkpoint.tables.objects[row];
  return object?.kind === "file" && object.linkTarget !== "" && !hasKept(checkpoint, "objects", row, "link-id");
}

function hasKept(checkpoint: Checkpoint, table: TableName, row: number, key?: string): boolean {
  const kind = tableSpecs.find((spec) => spec.table === table)?.kind;
  return checkpoint.tables.foreign.some(
    (foreign) => foreign.format === formatId && foreign.table === kind && foreign.row === row && (key === undefined || foreign.key === key),
  );
}
