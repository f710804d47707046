// SPDX-License-Identifier: Apache-2.0
/**
 * Whether the files that a tree needs are still what they were. Each path has a policy (`--files`, SPEC 10):
 *
 *   same    (default) mapped: the same build, which its build-id tells, or where it has none its size and modification
 *           time; opened: it may have grown, and what is only appended to may have been cut off
 *   strict  size and modification time too, of all of them
 *   any     whatever is there now is taken
 */
import { filePolicyValues } from "../gen/restore-program.js";
import type { ObjectRow } from "../gen/tables.js";
import { viewFileSystems } from "../linux/file-systems.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { samplePartsOf } from "../model/content-sample.js";
import { type FileUse, useOfFile } from "../model/file-use.js";
import type { DataRef, Label, Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** struct stat: its length, st_size, st_mtim. */
const statLength = 144;
const [sizeAt, mtimeAt] = [48, 88];
/** st_dev and st_ino, with which it begins. */
const inodeLength = 16;
const second = 1_000_000_000n;
/** Where a build-id is sought whose place no format has told. */
const headLength = 4096;

/** What is known of a file, and how it may be wrong. */
interface Check {
  readonly fd: Slot;
  readonly object: ObjectRow;
  readonly purpose: string;
  readonly policy: Slot;
  readonly stat: DataRef;
  readonly done: Label;
}

export class FileChecks {
  readonly #policies = new Map<string, Slot>();
  readonly #uses = new Map<number, FileUse>();
  /** Device and inode number of what has been examined and is opened again, by objects. */
  readonly #examined = new Map<number, DataRef>();
  #openings: ReadonlyMap<number, number> | undefined;
  #stat: DataRef | undefined;
  #head: DataRef | undefined;

  constructor(
    private readonly builder: ProgramBuilder,
    private readonly checkpoint: Checkpoint,
  ) {}

  /** Ops: the file behind `fd`, which is mapped for its content, must be that of the dump. A wrong one goes to `orElse`, if given. */
  checkMapped(fd: Slot, object: ObjectRow, purpose: string, orElse?: Label): void {
    const hasId = object.buildId.length > 0;
    // Images of formats that record neither.
    const hasTimes = object.size !== 0n || object.mtimeNs !== 0n;
    if (!hasId && !hasTimes) return;
    const check = this.#begin(fd, object, purpose);
    const { builder: b } = this;
    const changed = orElse ?? b.label("is another file");
    if (hasTimes) this.#compareSize(check, orElse);
    if (hasId) {
      this.#compareBuildId(check, changed);
      b.jumpIf(check.policy, "ne", filePolicyValues.strict, check.done);
    }
    if (object.mtimeNs !== 0n) this.#compareTime(check, orElse);
    if (hasId && orElse === undefined) {
      b.jump(check.done);
      b.place(changed);
      b.fail(`${object.path} ${purpose} is another build than at the dump: its build-id differs`, hintFor(object));
    }
    b.place(check.done);
  }

  /** Ops: the file that was opened may be used again. What has changed and does no harm is told. */
  checkOpened(fd: Slot, index: number, object: ObjectRow, purpose: string): void {
    if (object.kind !== "file" || object.size === 0n || viewFileSystems.has(object.fsMagic)) return;
    const examined = this.#examined.get(index);
    if (examined !== undefined) {
      // Of a file that is opened a thousand times nothing tells one from another.
      this.#compareInode(this.#begin(fd, object, "once more"), examined);
      return;
    }
    const { builder: b } = this;
    const check = this.#begin(fd, object, purpose);
    const { policy, stat, done } = check;
    if (this.#openingsOf(index) > 1) {
      const inode = b.buffer(inodeLength);
      b.copy(inode, stat, inodeLength);
      this.#examined.set(index, inode);
    }
    const use = this.#uses.get(index) ?? useOfFile(this.checkpoint.tables, index);
    this.#uses.set(index, use);
    const lenient = b.label("as it may be");
    b.jumpIf(policy, "ne", filePolicyValues.strict, lenient);
    this.#compareSize(check);
    if (object.mtimeNs !== 0n) this.#compareTime(check);
    b.jump(done);
    b.place(lenient);
    if (use !== "appended") {
      const longEnough = b.label("long enough");
      b.jumpIf(stat.at(sizeAt).u8, "ge", object.size, longEnough);
      b.fail(`${object.path} ${purpose} is shorter than at the dump (${object.size} bytes)`, hintFor(object));
      b.place(longEnough);
      this.#judgeContent(check, use === "written");
    }
    b.place(done);
  }

  /** How many open files are of an object. */
  #openingsOf(index: number): number {
    this.#openings ??= countOpenings(this.checkpoint);
    return this.#openings.get(index) ?? 0;
  }

  /** What was opened again is what has been examined, unless somebody put another file there in between. */
  #compareInode({ object, stat, done }: Check, examined: DataRef): void {
    this.builder.compare(stat, examined, inodeLength, {
      message: `${object.path} is another file than that which was opened a moment before`,
      hint: "let nobody replace it meanwhile, and try again",
    });
    this.builder.place(done);
  }

  #begin(fd: Slot, object: ObjectRow, purpose: string): Check {
    const b = this.builder;
    const policy = this.#policyOf(object.path);
    const done = b.label(`${object.path} is examined`);
    this.#stat ??= b.buffer(statLength);
    b.jumpIf(policy, "eq", filePolicyValues.any, done);
    b.syscall("fstat", [fd, this.#stat], { message: `examine ${object.path} ${purpose}` });
    return { fd, object, purpose, policy, stat: this.#stat, done };
  }

  /** The slot that --files fills for a path. */
  #policyOf(path: string): Slot {
    let slot = this.#policies.get(path);
    if (slot === undefined) {
      slot = this.builder.slot(`policy for ${path}`);
      this.builder.files.push({ path, slot });
      this.#policies.set(path, slot);
    }
    return slot;
  }

  #compareSize({ object, purpose, stat }: Check, orElse?: Label): void {
    this.builder.compare(stat.at(sizeAt), this.builder.u8s(object.size), 8, {
      message: `${object.path} ${purpose} has changed since the dump: its size is no longer ${object.size} bytes`,
      hint: hintFor(object),
      orElse,
    });
  }

  #compareTime({ object, purpose, stat }: Check, orElse?: Label): void {
    this.builder.compare(stat.at(mtimeAt), this.#timeOf(object), 16, {
      message: `${object.path} ${purpose} has changed since the dump: its modification time is another`,
      hint: hintFor(object),
      orElse,
    });
  }

  #timeOf({ mtimeNs }: ObjectRow): DataRef {
    return this.builder.u8s(mtimeNs / second, mtimeNs % second);
  }

  #compareBuildId({ fd, object: { buildId, buildIdOffset } }: Check, orElse: Label): void {
    const b = this.builder;
    this.#head ??= b.buffer(headLength);
    const id = b.bytes(buildId);
    if (buildIdOffset !== 0n && buildId.length <= headLength) {
      b.syscall("pread64", [fd, this.#head, buildId.length, buildIdOffset], { expect: buildId.length, orElse });
      b.compare(this.#head, id, buildId.length, { orElse });
      return;
    }
    const length = b.slot("bytes of the head");
    b.syscall("pread64", [fd, this.#head, headLength, 0], { store: length, orElse });
    b.find(this.#head, length, id, buildId.length, { orElse });
  }

  /** Bytes of the file's ends, then its time: what only grew has the same ones. */
  #judgeContent({ object, purpose, fd, stat }: Check, isWritten: boolean): void {
    const b = this.builder;
    const told = b.label("has changed");
    const end = b.label("content is judged");
    const parts = object.sample.length > 0 ? samplePartsOf(object.size) : [];
    const other = b.label("other content");
    this.#head ??= b.buffer(headLength);
    const sample = parts.length > 0 ? b.bytes(object.sample) : undefined;
    for (const { offset, length, at } of sample === undefined ? [] : parts) {
      // A descriptor that may only write cannot be read from.
      const readable = b.label("can be read");
      const count = b.slot("bytes read");
      b.syscall("pread64", [fd, this.#head, length, offset], { store: count, expect: "any" });
      b.jumpIf(count, "eq", length, readable);
      b.jump(end);
      b.place(readable);
      b.compare(this.#head, (sample as DataRef).at(at), length, { orElse: other });
    }
    if (object.mtimeNs !== 0n) {
      b.jumpIf(stat.at(sizeAt).u8, "ne", object.size, end);
      b.compare(stat.at(mtimeAt), this.#timeOf(object), 16, { orElse: told });
    }
    b.jump(end);
    b.place(other);
    if (sample !== undefined && !isWritten) {
      b.fail(`${object.path} ${purpose} has changed since the dump: its content is another`, hintFor(object));
    }
    b.place(told);
    b.print(`${object.path} ${purpose} has been written since the dump; the program goes on with what it is now`);
    b.place(end);
  }
}

function countOpenings({ tables }: Checkpoint): ReadonlyMap<number, number> {
  const openings = new Map<number, number>();
  for (const { object } of tables.files) if (object !== null) openings.set(object, (openings.get(object) ?? 0) + 1);
  return openings;
}

function hintFor({ path }: ObjectRow): string {
  return `put the file back as it was, or run with --files any:${path} to take what is there now`;
}
