// SPDX-License-Identifier: Apache-2.0
/** What the engine of a container wrote beside its checkpoint, for people and for `show`. */

export interface ContainerMount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** Empty where the files do not say. */
export interface ContainerFacts {
  readonly name: string;
  readonly id: string;
  readonly image: string;
  readonly imageId: string;
  /** "Podman", "CRI-O" or "containerd". */
  readonly engine: string;
  readonly runtime: string;
  /** RFC 3339, as the engine wrote it. */
  readonly created: string;
  /** RFC 3339: when the inventory of the set was written, as its member says. */
  readonly checkpointed: string;
  readonly command: readonly string[];
  readonly hostname: string;
  readonly addresses: readonly { readonly interface: string; readonly address: string; readonly mac: string }[];
  readonly mounts: readonly ContainerMount[];
  /** Volumes with a name whose contents the engine keeps in its archives. */
  readonly volumes: readonly { readonly name: string; readonly destination: string }[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Namespaces that the runtime made, of its specification. */
  readonly namespaces: readonly string[];
  /** Bytes: the set, its pages, changes of the root file system, /dev/shm. */
  readonly sizes: { readonly set: number; readonly pages: number; readonly rootDiff: number; readonly sharedMemory: number };
  /** Of CRIU's own statistics, microseconds and pages; undefined without stats-dump. */
  readonly statistics: Statistics | undefined;
}

export interface Statistics {
  readonly freezingUs: number;
  readonly frozenUs: number;
  readonly memoryDumpUs: number;
  readonly memoryWriteUs: number;
  readonly pagesScanned: number;
  readonly pagesWritten: number;
}
