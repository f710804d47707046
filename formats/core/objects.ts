// SPDX-License-Identifier: Apache-2.0
/** Objects from the names of NT_FILE, and back. */
import { objectRow, type ObjectRow } from "../../src/gen/tables.js";
import type { HostFiles } from "./host-files.js";

const deletedSuffix = " (deleted)";
/** How the kernel names MAP_SHARED|MAP_ANONYMOUS memory (mm/shmem.c: shmem_zero_setup). */
const sharedMemoryName = "/dev/zero (deleted)";

export type ObjectClass = "file" | "ghost" | "memfd" | "shared_memory";

/** What a name of NT_FILE refers to. */
export function classOf(name: string): ObjectClass {
  if (name === sharedMemoryName || name.startsWith("/SYSV")) return "shared_memory";
  if (name.startsWith("/memfd:")) return "memfd";
  return name.endsWith(deletedSuffix) ? "ghost" : "file";
}

/** Whether its bytes belong to the object and not to the address space. */
export function isSharedMemory(kind: ObjectClass): boolean {
  return kind === "memfd" || kind === "shared_memory";
}

/**
 * @param size bytes that the mappings show at least
 * @param buildId that the core itself shows for the file
 */
export function objectFromName(name: string, size: bigint, buildId: Uint8Array | undefined, host: HostFiles): ObjectRow {
  const kind = classOf(name);
  const path = name.endsWith(deletedSuffix) ? name.slice(0, -deletedSuffix.length) : name;
  switch (kind) {
    case "shared_memory":
      return objectRow({ kind, path: name === sharedMemoryName ? "" : path, size, mode: 0o100777 });
    case "memfd":
      return objectRow({ kind, path: path.slice("/memfd:".length), size, mode: 0o100777 });
    case "ghost":
      return objectRow({ kind, path, size, mode: 0o100600 });
    case "file": {
      const file = host.get(path);
      const isSame = file && (buildId === undefined || (file.buildId !== undefined && equal(file.buildId, buildId)));
      return objectRow({
        kind,
        path,
        // Unknown (0) where the file on this host is another: what was mapped cannot be described then.
        size: isSame ? file.size : 0n,
        mtimeNs: isSame ? file.mtimeNs : 0n,
        mode: isSame ? file.mode : 0o100644,
        buildId: buildId ?? file?.buildId ?? new Uint8Array(0),
      });
    }
  }
}

/** The name that the kernel shows for a mapped object. */
export function nameOfObject(object: ObjectRow): string {
  switch (object.kind) {
    case "shared_memory":
      return object.path === "" ? sharedMemoryName : object.path + deletedSuffix;
    case "memfd":
      return `/memfd:${object.path}${deletedSuffix}`;
    case "ghost":
      return object.path + deletedSuffix;
    default:
      return object.path;
  }
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
