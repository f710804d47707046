// SPDX-License-Identifier: Apache-2.0
/** What the operations take and give, so that the command line and library agree with them. */
import type { FormatRegistry } from "../adapter/registry.js";
import type { GpuReport } from "../cuda/hold.js";
import type { ClockPolicy } from "../gen/tables.js";
import type { Loss } from "../adapter/format.js";

import type { ResumeChanges } from "./changes/apply.js";

/** Resources that reach outside the tree, and what to do about them (named as CRIU names them). */
export interface ExternalOptions {
  /** Keep established TCP connections. */
  readonly tcpEstablished?: boolean;
  /** Dump TCP connections as closed. */
  readonly tcpClose?: boolean;
  /** Drop connections that nobody has accepted yet. */
  readonly skipInFlight?: boolean;
  /** Unix sockets whose peer is outside; with names of those meant. */
  readonly extUnixSk?: boolean;
  readonly fileLocks?: boolean;
  /** The session leader and the terminal are outside. */
  readonly shellJob?: boolean;
  /** Unlinked files that still have a name may get a new one. */
  readonly linkRemap?: boolean;
  /** Largest unlinked file whose content is kept, bytes. */
  readonly ghostLimit?: bigint;
  readonly manageCgroups?: string;
  readonly cgroupRoot?: readonly string[];
  readonly networkLock?: string;
  /** Names by mount point of what is mounted from outside. */
  readonly externalMounts?: ReadonlyMap<string, string>;
}

/** src/ops/dump.ts: `dump(options: DumpOptions): Promise<DumpReport>`. */
export interface DumpOptions extends ExternalOptions {
  readonly registry: FormatRegistry;
  readonly pid: number;
  /** Final path. */
  readonly output: string;
  /** Format id; the executable image if absent. */
  readonly to?: string;
  /** What becomes of the tree once the image is complete. */
  readonly after: "kill" | "leave-running" | "leave-stopped";
  /** False: only this process, without its descendants. */
  readonly isTree: boolean;
  readonly force: boolean;
  /** fsync file and folder before the tree is ended. */
  readonly sync: boolean;
  /**
   * False: a tree that is left running is not forked, so that none of its pages has to be copied when it writes to them; it
   * stands still until its memory is written.
   */
  readonly fork?: boolean;
  /** The memory of the tree is made huge pages before it is frozen, so that it is frozen for less time. */
  readonly hugePages?: boolean;
  /** An earlier image of the same tree: pages that it has are not stored again. */
  readonly parent?: string;
  /** Store clean file pages too. */
  readonly bundle: boolean;
  /** Compress stored pages, in an executable image. */
  readonly compress?: "lz4" | undefined;
  /** Store equal pages once, in an executable image. */
  readonly dedup?: boolean | undefined;
  /** Resume the image in private namespaces and discard that, before the tree is ended; where it fails, the tree goes on. */
  readonly rehearse?: boolean;
  /** Takes the image without a rehearsal where none can be made, and is told why; if absent, such a dump is refused. */
  readonly onUnrehearsed?: (reason: string) => void;
  /** What the clocks do at a resume, if the one who resumes does not say; they go on where they were if absent. */
  readonly clock?: ClockPolicy;
  /** At a resume that does not say, the program runs before its memory is there. */
  readonly isLazy?: boolean;
  /** Classes of resources to leave out (as recorded losses) instead of refusing. */
  readonly ignore: readonly string[];
  /** Leave out what is ignored even where the program will surely break without it. */
  readonly forceLoss?: boolean;
  /** False: a program that uses CUDA is refused like any other with a device. */
  readonly cuda?: boolean;
  /** How long work on a GPU may take to come to an end, milliseconds; 10,000 if absent. */
  readonly gpuTimeoutMs?: number;
  readonly onProgress?: (doneBytes: bigint, totalBytes: bigint) => void;
  /** Output streams that are crimg's own too become those of whoever resumes the image. */
  readonly inheritStreams?: boolean;
  /** Signals do not end the dump: the caller handles them. */
  readonly ignoresSignals?: boolean;
}

export interface DumpReport {
  readonly output: string;
  readonly format: string;
  readonly processes: number;
  readonly threads: number;
  /** Page bytes stored. */
  readonly pageBytes: bigint;
  /** Time the tree stood still. */
  readonly frozenMs: number;
  readonly totalMs: number;
  /** For programs on GPUs. */
  readonly gpu?: GpuReport;
  readonly losses: readonly Loss[];
}

/** src/ops/exec.ts: `exec(options: ExecOptions): Promise<number>`, the exit status if it returns at all. */
export interface ExecOptions extends ExternalOptions, ResumeChanges {
  readonly registry: FormatRegistry;
  /** A checkpoint in any readable format. */
  readonly image: string;
  readonly from?: string;
  readonly detach: boolean;
  /** Do not look at checksums of stored bytes. */
  readonly noVerify?: boolean;
  /** Leave every process stopped (SIGCONT lets it run), to look at it first. */
  readonly leaveStopped?: boolean;
  readonly pidfile?: string;
  /** Version 1 images: the descriptors that areas name are open files of this process. */
  readonly mapFd?: boolean;
  /** What files must be that the tree needs, each POLICY or POLICY:/PATH; a later one counts. */
  readonly files?: readonly string[];
  /** Absent: the same pids where that is possible, else a new namespace. */
  readonly pid?: "same" | "namespace" | "any";
  /** `OLD=NEW`, both `GPU-…`: devices that take the place of those of the dump. */
  readonly gpuMap?: readonly string[];
  /** Whether the program runs before its memory is there; absent: what the image says. */
  readonly isLazy?: boolean;
  /** What the monotonic and the boot clock do; absent: what the image says. */
  readonly clock?: ClockPolicy;
  readonly onLoss?: (loss: Loss) => void;
  /** What is no executable image is linked into one first. */
  readonly onProgress?: (doneBytes: bigint, totalBytes: bigint) => void;
  /** Called right before this process becomes the executable image at `path`, if it is one that was given. */
  readonly onExecute?: (path: string) => void;
}

/** src/ops/explain.ts: `explain(options: ExplainOptions): Promise<Iterable<string>>`, one line an op. */
export interface ExplainOptions {
  readonly registry: FormatRegistry;
  readonly image: string;
  readonly from?: string;
}
