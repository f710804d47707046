// SPDX-License-Identifier: Apache-2.0
/** Rules about an image on this host: would it resume here and now? */
import { existsSync, lstatSync, statSync } from "node:fs";
import { elfBuildId } from "../../elf/build-id.js";
import { FileBytes } from "../../bytes/random-bytes.js";
import type { ObjectRow, Tables } from "../../gen/tables.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import { samplePartsOf } from "../../model/content-sample.js";
import { namespacesOf } from "../../model/own-namespaces.js";
import { placeOf } from "../../model/root-files.js";
import { keysComponent, usesKeys } from "../../model/xstate-layout.js";
import { useOfFile } from "../../model/file-use.js";
import { hasUsableVdso, threadInVdso } from "../../lower/other-vdso.js";
import { ownVdso } from "../../pages/own-vdso.js";
import type { Problem, Rule, RuleInfo } from "../finding.js";
import { hex } from "../model-context.js";
import { type HostFacts, capability, hasCapability } from "./facts.js";

export interface ImageOnHost {
  readonly checkpoint: Checkpoint;
  readonly tables: Tables;
  readonly facts: HostFacts;
}

export type ImageRule = Rule<ImageOnHost>;

function imageRule(
  rule: Pick<RuleInfo, "code" | "severity" | "facet" | "summary" | "spec">,
  check: (context: ImageOnHost) => Iterable<Problem>,
): ImageRule {
  return { ...rule, profile: "host", check };
}

/** Objects that must be found under their names: mapped, opened, or directories that tasks are in. */
function wantedObjects({ tables }: ImageOnHost): Map<number, "mapped" | "opened"> {
  const wanted = new Map<number, "mapped" | "opened">();
  const add = (row: number | null, how: "mapped" | "opened"): void => {
    if (row !== null && wanted.get(row) !== "mapped") wanted.set(row, how);
  };
  for (const vma of tables.vmas) if (vma.kind === "file_private" || vma.kind === "file_shared") add(vma.object, "mapped");
  for (const mm of tables.mms) add(mm.exe, "mapped");
  for (const file of tables.files) if (file.kind === "path") add(file.object, "opened");
  for (const task of tables.tasks) {
    add(task.cwd, "opened");
    add(task.root, "opened");
  }
  return wanted;
}

/** Kinds that live in the filesystem under their path; the others are made again from the image. */
const named: ReadonlySet<ObjectRow["kind"]> = new Set(["file", "directory", "char_device", "block_device", "fifo", "symlink"]);
const typeBits = 0o170000;

function* objectsOnHost(context: ImageOnHost): Generator<readonly [number, ObjectRow, "mapped" | "opened"]> {
  for (const [row, how] of wantedObjects(context)) {
    const object = context.tables.objects[row];
    if (object === undefined || object.bundled !== 0 || !named.has(object.kind) || !object.path.startsWith("/")) continue;
    // What lies in a root of the tree's own is looked for there; what the image holds of it comes with the resume.
    const path = placeOf(context.tables, object.path);
    if (path !== undefined) yield [row, { ...object, path }, how];
  }
}

function buildIdOfFile(path: string): string {
  let file: FileBytes | undefined;
  try {
    file = FileBytes.open(path);
    const source = file;
    return Buffer.from(
      elfBuildId((offset, length) => (offset + BigInt(length) <= source.size ? source.read(offset, length) : undefined), path),
    ).toString("hex");
  } catch {
    return "";
  } finally {
    file?.close();
  }
}

/** A difference between a file and what the dump says of it. */
interface Change {
  readonly field: "build_id" | "size" | "sample" | "mtime_ns";
  readonly what: string;
  readonly expected: string;
  readonly actual: string;
  /** An image refuses to run then, unless --files says otherwise. */
  readonly isFatal: boolean;
}

/** What has changed about a file, judged as the image itself does (lower/file-checks.ts). */
function* changes({ tables }: ImageOnHost, row: number, object: ObjectRow, how: "mapped" | "opened"): Generator<Change> {
  const { size, mtimeNs } = statSync(object.path, { bigint: true });
  const hasId = how === "mapped" && object.buildId.length > 0;
  if (hasId) {
    const expected = Buffer.from(object.buildId).toString("hex");
    const actual = buildIdOfFile(object.path);
    if (actual !== expected) yield { field: "build_id", what: "is another build", expected, actual: actual || "none", isFatal: true };
  }
  if (object.size === 0n && object.mtimeNs === 0n) return;
  const use = useOfFile(tables, row);
  if (how === "opened" && use === "appended") return;
  const sizes = { field: "size", expected: `${object.size} bytes`, actual: `${size} bytes`, isFatal: true } as const;
  if (size < object.size) yield { ...sizes, what: "is shorter" };
  else if (how === "mapped" && size !== object.size) yield { ...sizes, what: "is longer" };
  else if (how === "opened" && !hasSample(object)) {
    yield {
      field: "sample",
      what: "has other content",
      expected: "the first and last bytes of the dump",
      actual: "others",
      isFatal: use === "read",
    };
  } else if (object.mtimeNs !== 0n && size === object.size && mtimeNs !== object.mtimeNs && !hasId) {
    const times = { expected: String(object.mtimeNs), actual: String(mtimeNs) };
    yield { field: "mtime_ns", what: "has been written since", ...times, isFatal: how === "mapped" };
  }
}

/** Whether the bytes at the ends of an opened file, as far as they are known, are still there. */
function hasSample({ sample, size, path }: ObjectRow): boolean {
  if (sample.length === 0) return true;
  let file: FileBytes | undefined;
  try {
    file = FileBytes.open(path);
    const source = file;
    return samplePartsOf(size).every(
      ({ offset, length, at }) => Buffer.compare(source.read(offset, length), sample.subarray(at, at + length)) === 0,
    );
  } catch {
    return true;
  } finally {
    file?.close();
  }
}

function* changedFiles(context: ImageOnHost, isFatal: boolean): Generator<Problem> {
  for (const [row, object, how] of objectsOnHost(context)) {
    if (object.kind !== "file" || !existsSync(object.path)) continue;
    for (const change of changes(context, row, object, how)) {
      if (change.isFatal !== isFatal) continue;
      yield {
        message: `${object.path}, which the tree has ${how}, ${change.what}`,
        at: { table: "objects", row, field: change.field },
        expected: change.expected,
        actual: change.actual,
        hint: isFatal
          ? `put the file back as it was, or run the image with --files any:${object.path}`
          : "the program goes on with what it is now",
      };
    }
  }
}

/** Components in use by a thread: xstate_bv, or x87 and SSE of the legacy area. */
function componentsOf(xstate: Uint8Array): bigint {
  if (xstate.length === 0) return 0n;
  if (xstate.length < 520) return 3n;
  return Buffer.from(xstate.buffer, xstate.byteOffset, xstate.byteLength).readBigUInt64LE(512);
}

export const imageRules: readonly ImageRule[] = [
  imageRule(
    {
      code: "host.file-missing",
      severity: "error",
      facet: "files",
      summary: "Every file, directory and device that the tree maps, opened or is in exists, and is of the same type.",
      spec: "SPEC 10",
    },
    function* (context) {
      for (const [row, object, how] of objectsOnHost(context)) {
        const at = { table: "objects", row, field: "path" } as const;
        if (!existsSync(object.path)) {
          yield {
            message: `${object.path}, which the tree has ${how}, is not there`,
            at,
            hint: "put the file back, or dump with --bundle so that it is not needed",
          };
        } else if (
          object.mode !== 0 &&
          (statSync(object.path).mode & typeBits) !== (object.mode & typeBits) &&
          (lstatSync(object.path).mode & typeBits) !== (object.mode & typeBits)
        ) {
          yield {
            message: `${object.path} is of another type than at the dump`,
            at,
            expected: `mode 0${(object.mode & typeBits).toString(8)}`,
            actual: `mode 0${(statSync(object.path).mode & typeBits).toString(8)}`,
          };
        }
      }
    },
  ),
  imageRule(
    {
      code: "host.file-changed",
      severity: "error",
      facet: "files",
      summary: "Mapped files are those of the dump (build-id, else size and time); opened ones have at least grown from what they were.",
      spec: "SPEC 10",
    },
    (context) => changedFiles(context, true),
  ),
  imageRule(
    {
      code: "host.file-written",
      severity: "note",
      facet: "files",
      summary: "Opened files that the tree may go on with have not been written since.",
      spec: "SPEC 10",
    },
    (context) => changedFiles(context, false),
  ),
  imageRule(
    {
      code: "host.pid-taken",
      severity: "warning",
      facet: "tree",
      summary: "The pids of the tree are free: else it cannot have the same ones.",
      spec: "clone3(2)",
    },
    function* ({ checkpoint, tables, facts }) {
      if (!hasCapability(facts, capability.CHECKPOINT_RESTORE) && !hasCapability(facts, capability.SYS_ADMIN)) return;
      // In a pid namespace of its own all are free.
      if (namespacesOf(tables, tables.checkpoint[0]?.rootTask ?? 0).pid !== undefined) return;
      const ids = [...tables.tasks.keys()].flatMap((row) =>
        checkpoint.threadsOf(row).map((thread) => [thread, tables.threads[thread]?.tid ?? 0] as const),
      );
      for (const [row, tid] of ids) {
        if (tid > 0 && existsSync(`/proc/${tid}`)) {
          yield {
            message: `id ${tid} is taken by a process that runs`,
            at: { table: "threads", row, field: "tid" },
            hint: "end that process, or resume with --pid namespace",
          };
        }
      }
    },
  ),
  imageRule(
    {
      code: "host.cpu",
      severity: "error",
      facet: "fpu",
      summary: "This CPU has every register set that a thread uses.",
      spec: "Intel SDM 1, 13.4",
    },
    function* ({ tables, facts }) {
      if (facts.xfeatures === 0n) return;
      const available = facts.xfeatures | (usesKeys(tables) ? 0n : 1n << BigInt(keysComponent));
      for (const [row, thread] of tables.threads.entries()) {
        const used = componentsOf(thread.xstate);
        if ((used & ~available) === 0n) continue;
        yield {
          message: `thread ${thread.tid} uses registers that this CPU lacks`,
          at: { table: "threads", row, field: "xstate" },
          expected: `among ${hex(facts.xfeatures)}`,
          actual: hex(used),
          hint: "resume it on a machine with the same CPU features",
        };
      }
    },
  ),
  imageRule(
    {
      code: "host.vdso",
      severity: "error",
      facet: "memory",
      summary: "The kernel's vDSO is that of the dump, or the image has the code of that.",
      spec: "SPEC 10",
    },
    function* ({ checkpoint, tables }) {
      for (const [row, { vdsoBuildId, kernelRelease }] of tables.checkpoint.entries()) {
        if (vdsoBuildId.length === 0 || ownVdso(vdsoBuildId) !== undefined) continue;
        const at = { table: "checkpoint", row, field: "vdso_build_id" } as const;
        const expected = Buffer.from(vdsoBuildId).toString("hex");
        const hint = `resume it under the kernel that it was dumped on${kernelRelease === "" ? "" : ` (${kernelRelease})`}`;
        const inside = threadInVdso(checkpoint);
        if (!hasUsableVdso(checkpoint)) yield { message: "the vDSO of this kernel is different", at, expected, hint };
        else if (inside !== undefined)
          yield { message: `the vDSO of this kernel is different, and thread ${inside} stood in the old one`, at, expected, hint };
      }
    },
  ),
  imageRule(
    {
      code: "host.vdso-redirected",
      severity: "note",
      facet: "memory",
      summary: "No call of the dump's vDSO has to be redirected to that of another kernel.",
      spec: "SPEC 10",
    },
    function* ({ checkpoint, tables }) {
      for (const [row, { vdsoBuildId }] of tables.checkpoint.entries()) {
        if (vdsoBuildId.length === 0 || ownVdso(vdsoBuildId) !== undefined) continue;
        if (!hasUsableVdso(checkpoint) || threadInVdso(checkpoint) !== undefined) continue;
        yield {
          message: "the vDSO of this kernel is different: calls of the old one go to it",
          at: { table: "checkpoint", row, field: "vdso_build_id" },
          expected: Buffer.from(vdsoBuildId).toString("hex"),
        };
      }
    },
  ),
  imageRule(
    {
      code: "host.memory",
      severity: "warning",
      facet: "memory",
      summary: "There is enough free memory for the stored pages.",
      spec: "proc(5), meminfo",
    },
    function* ({ tables, facts }) {
      const wanted = tables.extents.reduce((sum, extent) => sum + extent.length, 0n);
      if (facts.availableBytes === 0n || wanted <= facts.availableBytes) return;
      yield {
        message: "the pages do not fit into free memory and swap",
        place: { path: "extents" },
        expected: `${wanted} bytes free`,
        actual: `${facts.availableBytes} bytes`,
      };
    },
  ),
  imageRule(
    {
      code: "host.user",
      severity: "error",
      facet: "credentials",
      summary: "The user who resumes can change to the users of the tree.",
      spec: "credentials(7)",
    },
    function* ({ tables, facts }) {
      if (facts.uid === 0) return;
      for (const [row, cred] of tables.creds.entries()) {
        const others = [cred.uid, cred.euid, cred.suid].filter((uid) => uid !== facts.uid);
        if (others.length > 0)
          yield {
            message: `the tree runs as user ${others[0]}, and crimg as ${facts.uid}`,
            at: { table: "creds", row, field: "uid" },
            expected: String(facts.uid),
            actual: String(others[0]),
            hint: "resume as root, or as that user",
          };
      }
    },
  ),
  imageRule(
    {
      code: "host.gpu",
      severity: "error",
      facet: "tree",
      summary: "The GPUs that the tree used are here, under a driver that can bring their state back.",
      spec: "SPEC 5.60",
    },
    function* ({ tables, facts: { cuda } }) {
      if (tables.cudaProcesses.length === 0) return;
      if ("problem" in cuda) {
        yield { message: `the tree used a GPU: ${cuda.problem}`, place: { path: "gpus" } };
        return;
      }
      const here = cuda.gpus.map(({ uuid, name }) => `${uuid} (${name})`).join(", ");
      for (const [row, gpu] of tables.gpus.entries()) {
        if (cuda.gpus.some(({ uuid }) => uuid === gpu.uuid)) continue;
        const other = cuda.gpus.find(({ name }) => name === gpu.name);
        yield {
          message: `the GPU ${gpu.name} that the tree used is not here`,
          at: { table: "gpus", row, field: "uuid" },
          expected: gpu.uuid,
          actual: here || "none",
          hint:
            other === undefined
              ? "resume it where a GPU of that kind is"
              : `another of the same kind is: --gpu-map ${gpu.uuid}=${other.uuid}`,
        };
      }
    },
  ),
  imageRule(
    {
      code: "host.gpu-driver",
      severity: "warning",
      facet: "tree",
      summary: "The CUDA driver is the one of the dump.",
      spec: "SPEC 5.60",
    },
    function* ({ tables, facts: { cuda } }) {
      const [gpu] = tables.cudaProcesses.length === 0 ? [] : tables.gpus;
      if (gpu === undefined || "problem" in cuda || gpu.driver === "" || cuda.release === "" || cuda.release === gpu.driver) return;
      yield {
        message: "the driver is another version, and may refuse the saved state",
        at: { table: "gpus", row: 0, field: "driver" },
        expected: gpu.driver,
        actual: cuda.release,
        hint: "the program has the driver's own library mapped, which must be the same file",
      };
    },
  ),
  imageRule(
    {
      code: "host.gpu-memory",
      severity: "warning",
      facet: "memory",
      summary: "There is enough free memory on the GPUs for what the tree had there.",
      spec: "SPEC 5.60",
    },
    function* ({ tables, facts: { cuda } }) {
      if (tables.cudaProcesses.length === 0 || "problem" in cuda) return;
      for (const [row, { uuid, name, usedBytes }] of tables.gpus.entries()) {
        const free = cuda.gpus.find((gpu) => gpu.uuid === uuid)?.freeBytes;
        if (free === undefined || usedBytes <= free) continue;
        yield {
          message: `what the tree had on the GPU ${name} does not fit into its free memory`,
          at: { table: "gpus", row, field: "used_bytes" },
          expected: `${usedBytes} bytes free`,
          actual: `${free} bytes`,
        };
      }
    },
  ),
];
