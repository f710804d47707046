// SPDX-License-Identifier: Apache-2.0
/** Opening what the model calls objects (files, ghosts, memfds …) in the first process. */
import { posix } from "node:path";
import { decodeText, encodeText } from "../bytes/text.js";
import { CrimgError } from "../errors/crimg-error.js";
import type { ExtentRow, ObjectRow, VmaRow } from "../gen/tables.js";
import { vmaVmFlagsBits } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { isSharedForWriting } from "../model/needed-files.js";
import { mappingsOfObject } from "../model/mappings-of-object.js";
import { ringName } from "../linux/io-uring.js";
import { hugeShiftIn } from "../linux/huge-pages.js";
import { alignUp } from "./align.js";
import { AT, ERRNO, F, FS_IOC, F_SEAL_FUTURE_WRITE, MAP, MFD, O, PROT } from "./constants.js";
import type { EndedProcesses } from "./ended-processes.js";
import type { FileChecks } from "./file-checks.js";
import type { LowerContext } from "./context.js";
import type { Slot } from "./operands.js";
import { inImage, readExtents, verifyExtents } from "./page-loading.js";
import { isRemoved, makeRemoved, withParents } from "./fds/removed.js";
import type { ProgramBuilder } from "./program-builder.js";
import type { StagedMemory } from "./shared-memory.js";

/** An object that stands for a mapped socket, or a mapped ring of io_uring. */
function isDescriptor({ kind, path }: ObjectRow): boolean {
  return kind === "other" && (path.startsWith("socket:[") || path === ringName);
}

/** The first process has nothing there: staged memory and the hole lie below. */
const hugeFillAt = 0x6000_0000_0000n;

/** sendfile moves at most this many bytes a call (MAX_RW_COUNT), rounded down to something even. */
export const maxTransfer = 0x4000_0000n;
const stillThere = "put the file back, or resume where it is; `crimg dump --bundle` makes images that need no other file";

export const slotNameOf = ({ path }: ObjectRow): string => `fd of ${path}`;

/** The message of opening something by its name. */
export const openingOf = ({ path }: ObjectRow, purpose: string): string => `open ${path} ${purpose}`;

/** Whether opening an object is nothing but opening its name. */
export const isOpenedByName = (object: ObjectRow): boolean =>
  object.kind === "file" && object.linkTarget === "" && object.bundled === 0 && object.isEnded === 0;

export interface OpenOptions {
  /** open(2) flags. */
  readonly flags: number;
  /** Ends messages, such as `for fd 8 of task 7 (cat)`. */
  readonly purpose: string;
  /** The content is relied on: it must be that of the dump. */
  readonly mustBeUnchanged?: boolean;
}

/** Opens objects; makes ghosts and memfds once. All ops are those of the first process. */
export class ObjectOpener {
  readonly #checkpoint: Checkpoint;
  readonly #builder: ProgramBuilder;
  readonly #firstHighFd: number;
  readonly #imageFd: Slot;
  /** Descriptor of the first opening of something that has no name to open. */
  readonly #nameless = new Map<number, Slot>();
  readonly #mapped = new Map<string, Slot>();
  /** Slots that mapped sockets and rings will be in, by object. */
  readonly #descriptors = new Map<number, Slot>();
  /** Memfds whose first description belongs to the tree. */
  readonly #handedOut = new Set<number>();
  /** What waits until everything is opened and mapped. */
  readonly #late: (() => void)[] = [];
  #isSealed = false;
  /** Does what is to be done in the mount namespace that the path of an object is of. */
  within: <Result>(object: number, build: () => Result) => Result = (_, build) => build();
  /** Opens what told of processes that are gone. */
  ended: EndedProcesses | undefined;
  #hasTold: Slot | undefined;
  #low: Slot | undefined;

  constructor(
    checkpoint: Checkpoint,
    builder: ProgramBuilder,
    firstHighFd: number,
    imageFd: Slot,
    private readonly checks: FileChecks,
    private readonly staged: StagedMemory,
  ) {
    this.#checkpoint = checkpoint;
    this.#builder = builder;
    this.#firstHighFd = firstHighFd;
    this.#imageFd = imageFd;
  }

  /** The first process's ops end: whatever is not open now cannot be opened any more. */
  seal(): void {
    this.#isSealed = true;
  }

  /** Moves the descriptor in a slot to a high number. */
  keepHigh(fd: Slot): void {
    this.#builder.compute(this.#lowSlot, "move", fd);
    this.#raise(fd);
  }

  /** Moves the descriptor in `#lowSlot` to a high number, which goes to `fd`. */
  #raise(fd: Slot): void {
    const b = this.#builder;
    b.syscall("fcntl", [this.#lowSlot, F.dupfdCloexec, this.#firstHighFd], {
      store: fd,
      message: "keep a descriptor for later",
      hint: "raise the hard limit on open files (ulimit -Hn)",
    });
    b.syscall("close", [this.#lowSlot]);
  }

  /** One for all: nothing comes between the ops that use it. */
  get #lowSlot(): Slot {
    return (this.#low ??= this.#builder.slot("a low descriptor"));
  }

  /** A new open file description of the object, at a high number. */
  open(index: number, options: OpenOptions): Slot {
    return this.within(index, () => this.#open(index, options));
  }

  #open(index: number, options: OpenOptions): Slot {
    if (this.#isSealed) throw new Error(`object ${index} is opened too late`);
    const object = this.#object(index);
    switch (object.kind) {
      case "memfd": {
        const made = this.#makeNameless(index, object, options.purpose);
        // memfd_create's own description does not count as open for writing, so that the memfd can be executed; one
        // that is opened through /proc does (ETXTBSY).
        if ((options.flags & O.accmode) !== O.rdwr || this.#handedOut.has(index)) return this.#reopen(made, object, options);
        this.#handedOut.add(index);
        this.#builder.syscall("fcntl", [made, F.setfl, options.flags], {
          message: `set the flags of memfd ${object.path} ${options.purpose}`,
        });
        return made;
      }
      case "ghost":
        if (this.#isHandedOut(index, options.flags)) {
          const made = this.#makeNameless(index, object, options.purpose);
          this.#builder.syscall("fcntl", [made, F.setfl, options.flags], { message: `set the flags of ${object.path} ${options.purpose}` });
          return made;
        }
        return this.#reopen(this.#makeNameless(index, object, options.purpose), object, options);
      case "shared_memory":
        return this.#openSharedMemory(index, options);
      default:
        if (object.isEnded === 1) return this.#openEnded(object, options);
        if (object.bundled === 1) return this.#openBundled(index, object, options);
        if (!isRemoved(object)) return this.#openNamed(object, options);
        // A link cannot be opened through another descriptor of it.
        if (object.kind === "symlink") return makeRemoved(this.#making, object, options.flags, options.purpose);
        return this.#reopen(this.#makeRemovedOnce(index, object, options.purpose), object, options);
    }
  }

  #openEnded(object: ObjectRow, { flags, purpose }: OpenOptions): Slot {
    if (this.ended === undefined) throw new Error("nobody makes processes that are gone");
    return this.ended.open(object, flags & ~(O.creat | O.excl | O.nofollow), purpose);
  }

  #openSharedMemory(index: number, { flags, purpose }: OpenOptions): Slot {
    const fd = this.staged.open({ builder: this.#builder }, index, flags & ~(O.creat | O.excl | O.nofollow), purpose);
    this.keepHigh(fd);
    return fd;
  }

  /** A descriptor to map an object with; the same one for all mappings of the same access. */
  openToMap(index: number, isWritable: boolean, options: OpenOptions): Slot {
    return this.within(index, () => this.#openToMap(index, isWritable, options));
  }

  #openToMap(index: number, isWritable: boolean, options: OpenOptions): Slot {
    const mapped = this.#object(index);
    if (isDescriptor(mapped)) return this.#descriptorSlot(index);
    const key = `${index}:${isWritable}`;
    let fd = this.#mapped.get(key);
    if (fd === undefined) {
      if (this.#isSealed) throw new Error(`object ${index} is opened too late`);
      const object = this.#object(index);
      fd =
        object.kind === "ghost" || object.kind === "memfd"
          ? isWritable
            ? this.#makeNameless(index, object, options.purpose)
            : this.#reopen(this.#makeNameless(index, object, options.purpose), object, options)
          : this.open(index, options);
      this.#mapped.set(key, fd);
    }
    return fd;
  }

  #descriptorSlot(index: number): Slot {
    const slot = this.#descriptors.get(index) ?? this.#builder.slot(`fd of mapped ${this.#object(index).path}`);
    this.#descriptors.set(index, slot);
    return slot;
  }

  /** Ops of the first process when descriptors are open: those that are mapped are mapped from there. */
  takeDescriptors(slotOf: (object: ObjectRow) => Slot | undefined): void {
    for (const [index, slot] of this.#descriptors) {
      const object = this.#object(index);
      const open = slotOf(object);
      if (open === undefined) {
        throw new CrimgError("lower.mapped-descriptor", `${object.path} is mapped, and no task of the tree has it open`, {
          hint: "such a mapping cannot be made again",
        });
      }
      this.#builder.compute(slot, "move", open);
    }
  }

  /** F_SEAL_FUTURE_WRITE leaves the writable mappings that were there before it, and allows no new ones. */
  #isMappedBeforeSeal(index: number, { seals }: ObjectRow): boolean {
    const isWritable = ({ prot, vmFlags }: VmaRow): boolean => (prot & PROT.write) !== 0 || (vmFlags & vmaVmFlagsBits.mw) !== 0n;
    const { vmas } = this.#checkpoint.tables;
    return (
      (seals & F_SEAL_FUTURE_WRITE) !== 0 && mappingsOfObject(vmas, index).some((vma) => vma.kind === "file_shared" && isWritable(vma))
    );
  }

  /** Whether `finishLate` has something to do once every task has its mappings. */
  get hasLate(): boolean {
    return this.#late.length > 0;
  }

  /** Ops of the first process: seals and flags that had to wait until all is opened and mapped. */
  finishLate(): void {
    for (const build of this.#late) build();
  }

  #object(index: number): ObjectRow {
    const object = this.#checkpoint.tables.objects[index];
    if (object === undefined) throw new CrimgError("lower.reference", `there is no object ${index}`, { path: `objects[${index}]` });
    return object;
  }

  #openNamed(object: ObjectRow, { flags, purpose, mustBeUnchanged }: OpenOptions): Slot {
    const b = this.#builder;
    const fd = b.slot(slotNameOf(object));
    if (object.kind === "file" && object.linkTarget !== "") {
      this.#openUnderOldName(fd, object, flags, purpose);
      if (mustBeUnchanged) this.checks.checkMapped(fd, object, purpose);
      return fd;
    }
    b.syscall("openat", [AT.fdcwd, b.string(object.path), flags | O.cloexec | O.noctty, 0], {
      store: this.#lowSlot,
      message: openingOf(object, purpose),
      hint: object.kind === "file" ? stillThere : undefined,
    });
    this.#raise(fd);
    if (mustBeUnchanged && object.kind === "file") this.checks.checkMapped(fd, object, purpose);
    return fd;
  }

  /** A file whose bytes are in the image too: itself where it is still there as it was, else a memfd of those bytes. */
  #openBundled(index: number, object: ObjectRow, options: OpenOptions): Slot {
    const b = this.#builder;
    const bytes = this.#chooseBytes(index, object, options.purpose);
    const fd = b.slot(`fd of ${object.path}, or of its bytes`);
    const fromImage = b.label("bytes of the image");
    const done = b.label("bundled file is open");
    b.jumpIf(bytes, "ne", 0, fromImage);
    b.compute(fd, "move", this.#openNamed({ ...object, bundled: 0 }, { ...options, mustBeUnchanged: false }));
    b.jump(done);
    b.place(fromImage);
    b.compute(fd, "move", this.#reopen(bytes, object, options));
    b.place(done);
    return fd;
  }

  /**
   * Decides once for a bundled file where its bytes come from: the slot holds 0 for the file itself, else the descriptor
   * of a memfd. What the tree writes through memory that it shares with others is made again under its name.
   */
  #chooseBytes(index: number, object: ObjectRow, purpose: string): Slot {
    const known = this.#nameless.get(index);
    if (known !== undefined) return known;
    const b = this.#builder;
    const path = b.string(object.linkTarget === "" ? object.path : object.linkTarget);
    const bytes = b.slot(`bytes of ${object.path}`);
    const probe = b.slot(`${object.path} as it is now`);
    const changed = b.label("is another file");
    const gone = b.label("is gone");
    const inMemory = b.label("bytes in memory");
    const done = b.label("bytes are chosen");
    const extents = this.#checkpoint.extentsOf({ object: index });
    this.#nameless.set(index, bytes);
    b.syscall("openat", [AT.fdcwd, path, O.rdonly | O.nonblock | O.cloexec | O.noctty, 0], { store: probe, orElse: gone });
    const isShared = isSharedForWriting(this.#checkpoint.tables, index);
    if (!isShared) this.checks.checkMapped(probe, object, purpose, changed);
    b.syscall("close", [probe]);
    b.jump(done);
    if (!isShared) {
      b.place(changed);
      b.syscall("close", [probe]);
    }
    b.place(gone);
    if (isShared) {
      b.syscall("openat", [AT.fdcwd, path, O.rdwr | O.creat | O.excl | O.cloexec | O.nofollow, 0o600], { store: probe, orElse: inMemory });
      this.#fill(probe, object, extents, purpose);
      this.#finishFile(probe, object);
      b.syscall("close", [probe]);
      b.jump(done);
    }
    b.place(inMemory);
    this.#tellOfBytes(object);
    const memfd = this.#makeMemfd({ ...object, path: memfdName(object.path), memfdFlags: 0 }, purpose);
    b.compute(bytes, "move", memfd);
    this.keepHigh(bytes);
    this.#fill(bytes, object, extents, purpose);
    this.#finishFile(bytes, object);
    b.place(done);
    return bytes;
  }

  /** Says once that names differ now. */
  #tellOfBytes({ path }: ObjectRow): void {
    const b = this.#builder;
    this.#hasTold ??= b.slot("has told of bytes of the image");
    const silent = b.label("told already");
    b.jumpIf(this.#hasTold, "ne", 0, silent);
    b.print(
      `${path} is gone or another file now: its bytes come from the image, and so for all such files; /proc shows memfds of their names`,
    );
    b.compute(this.#hasTold, "move", 1);
    b.place(silent);
  }

  /** A file that lost this name and has another: it gets the name back for the moment, unless it is taken now. */
  #openUnderOldName(fd: Slot, object: ObjectRow, flags: number, purpose: string): void {
    const b = this.#builder;
    const message = `open ${object.path}, which is now ${object.linkTarget}, ${purpose}`;
    const open = (path: string): void => {
      b.syscall("openat", [AT.fdcwd, b.string(path), flags | O.cloexec | O.noctty, 0], { store: fd, message, hint: stillThere });
    };
    const isTaken = b.label("name is taken");
    const isOpen = b.label("file is open");
    b.jumpIf(b.rehearsal, "ne", 0, isTaken);
    b.syscall("linkat", [AT.fdcwd, b.string(object.linkTarget), AT.fdcwd, b.string(object.path), 0], { orElse: isTaken });
    open(object.path);
    b.syscall("unlinkat", [AT.fdcwd, b.string(object.path), 0], { message: `remove the name ${object.path} again` });
    b.jump(isOpen);
    b.place(isTaken);
    open(object.linkTarget);
    b.place(isOpen);
    this.keepHigh(fd);
  }

  /** Opens the inode behind a descriptor again. */
  #reopen(fd: Slot, object: ObjectRow, { flags, purpose }: OpenOptions): Slot {
    const b = this.#builder;
    const path = b.buffer(32);
    b.format(path, "/proc/self/fd/", fd);
    const again = b.slot(`another fd of ${object.path}`);
    b.syscall("openat", [AT.fdcwd, path, (flags & ~(O.creat | O.excl | O.nofollow)) | O.cloexec, 0], {
      store: again,
      message: `open ${object.path} (deleted) ${purpose}`,
    });
    this.keepHigh(again);
    return again;
  }

  get #making(): Pick<LowerContext, "builder" | "keepHigh"> {
    return { builder: this.#builder, keepHigh: (fd) => this.keepHigh(fd) };
  }

  /** One inode for all openings of a removed directory, device or FIFO. */
  #makeRemovedOnce(index: number, object: ObjectRow, purpose: string): Slot {
    let fd = this.#nameless.get(index);
    if (fd === undefined) {
      fd = makeRemoved(this.#making, object, O.path, purpose);
      this.#nameless.set(index, fd);
    }
    return fd;
  }

  #makeNameless(index: number, object: ObjectRow, purpose: string): Slot {
    let fd = this.#nameless.get(index);
    if (fd === undefined) {
      fd = object.kind === "memfd" ? this.#makeMemfd(object, purpose) : this.#makeGhost(index, object, purpose);
      this.keepHigh(fd);
      this.#nameless.set(index, fd);
      this.#fill(fd, object, this.#checkpoint.extentsOf({ object: index }), purpose);
      if (object.kind === "ghost" && this.#isExecutable(index)) this.#giveUpWriting(fd, object, purpose);
      this.#finish(index, fd, object, purpose);
    }
    return fd;
  }

  /** The open file of the tree that was opened with O_TMPFILE: its flags, or undefined if there is none. */
  #temporaryFlags(index: number): number | undefined {
    return this.#checkpoint.tables.files.find(({ object, flags }) => object === index && (flags & O.tmpfile) === O.tmpfile)?.flags;
  }

  /** The first open file like the one that made a temporary file is that very one, so that it shows how it was opened. */
  #isHandedOut(index: number, flags: number): boolean {
    const made = this.#temporaryFlags(index);
    if (made === undefined || this.#handedOut.has(index) || ((made ^ flags) & O.accmode) !== 0 || this.#isExecutable(index)) return false;
    this.#handedOut.add(index);
    return true;
  }

  /** Whether a deleted file is somebody's program, and nobody has it open or mapped for writing. */
  #isExecutable(index: number): boolean {
    const { mms, files, vmas } = this.#checkpoint.tables;
    const isWritten = files.some(({ object, flags }) => object === index && (flags & O.path) === 0 && (flags & O.accmode) !== 0);
    return mms.some(({ exe }) => exe === index) && !isWritten && !isSharedForWriting({ vmas }, index);
  }

  /** A file that somebody has open for writing can be nobody's program (ETXTBSY). */
  #giveUpWriting(fd: Slot, object: ObjectRow, purpose: string): void {
    const b = this.#builder;
    const read = this.#reopen(fd, object, { flags: O.rdonly, purpose });
    b.syscall("close", [fd]);
    b.compute(fd, "move", read);
  }

  #makeMemfd(object: ObjectRow, purpose: string): Slot {
    const b = this.#builder;
    const fd = b.slot(`memfd ${object.path}`);
    const isMade = b.label("memfd is made");
    const isOld = b.label("memfd without MFD_EXEC");
    const name = b.string(object.path);
    const flags = (object.memfdFlags | MFD.allowSealing) >>> 0;
    // Kernels before 6.3 do not know it; where vm.memfd_noexec is set, a memfd is sealed against it unless asked for.
    b.syscall("memfd_create", [name, flags | MFD.exec], { store: fd, orElse: isOld });
    b.jump(isMade);
    b.place(isOld);
    b.syscall("memfd_create", [name, flags], { store: fd, message: `make memfd ${object.path} ${purpose}` });
    b.place(isMade);
    return fd;
  }

  /**
   * A file whose name is gone: made under that name, so that /proc shows the same, and unlinked at once. If the name is
   * taken by another file now, one beside it is used.
   */
  #makeGhost(index: number, object: ObjectRow, purpose: string): Slot {
    const b = this.#builder;
    const fd = b.slot(`fd of ${object.path} (deleted)`);
    const isTaken = b.label("name is taken");
    const isMade = b.label("ghost is made");
    const flags = O.rdwr | O.creat | O.excl | O.cloexec | O.nofollow;
    const mode = object.mode & 0o7777;
    const hint = "the directory must exist and be writable, as it was at the dump";
    const temporary = this.#temporaryFlags(index);
    const build = (): void => {
      const name = b.nameToMake(object.path);
      if (temporary !== undefined) {
        // One that never had a name can be given one (linkat), unlike one whose name was removed.
        const cannot = b.label("no O_TMPFILE here");
        const how = O.tmpfile | (temporary & O.accmode) | O.cloexec;
        b.syscall("openat", [AT.fdcwd, b.string(posix.dirname(object.path)), how, mode], { store: fd, orElse: cannot });
        b.jump(isMade);
        b.place(cannot);
      }
      b.syscall("openat", [AT.fdcwd, name, flags, mode], { store: fd, orElse: isTaken });
      b.syscall("unlinkat", [AT.fdcwd, name, 0], { message: `unlink ${object.path} again` });
      b.jump(isMade);
      b.place(isTaken);
      const other = b.string(`${object.path}.crimg-${index}`);
      const message = `make the deleted file ${object.path} again ${purpose}`;
      const isOtherTrouble = b.label("other trouble");
      b.jumpIf(fd, "ne", -ERRNO.exist, isOtherTrouble);
      b.syscall("openat", [AT.fdcwd, other, flags, mode], { store: fd, message, hint });
      b.syscall("unlinkat", [AT.fdcwd, other, 0], { message: `unlink ${object.path}.crimg-${index} again` });
      b.jump(isMade);
      b.place(isOtherTrouble);
      b.fail(message, hint, fd);
      b.place(isMade);
    };
    withParents(this.#making, object.path, build);
    return fd;
  }

  /** Ops of the first process: content, owner, mode and times of an object go into a new file. */
  fillFile(index: number, fd: Slot, purpose: string): void {
    const object = this.#object(index);
    this.#fill(fd, object, this.#checkpoint.extentsOf({ object: index }), purpose);
    this.#finish(index, fd, object, purpose);
  }

  #fill(fd: Slot, object: ObjectRow, extents: readonly ExtentRow[], purpose: string): void {
    const b = this.#builder;
    const message = `fill ${object.path} ${purpose}`;
    const hint = "there must be room on its filesystem";
    b.syscall("ftruncate", [fd, object.size], { message, hint });
    const shift = object.kind === "memfd" ? hugeShiftIn(object.memfdFlags) : 0;
    if (shift !== 0) {
      this.#fillHuge(fd, object, extents, 1n << BigInt(shift));
      return;
    }
    verifyExtents(b, this.#imageFd, extents, object.path);
    for (const { address, length, fileOffset } of extents) {
      const wanted = address + length > object.size ? object.size - address : length;
      for (let done = 0n; done < wanted; done += maxTransfer) {
        const count = wanted - done < maxTransfer ? wanted - done : maxTransfer;
        b.syscall("lseek", [fd, address + done, 0], { message });
        b.syscall("sendfile", [fd, this.#imageFd, b.u8s(fileOffset + done), count], { expect: count, message, hint });
      }
    }
    b.syscall("lseek", [fd, 0, 0], { message });
  }

  /** The file system of huge pages knows no write: the content goes in through a mapping. */
  #fillHuge(fd: Slot, object: ObjectRow, extents: readonly ExtentRow[], page: bigint): void {
    const b = this.#builder;
    const length = ((object.size + page - 1n) / page) * page;
    if (length === 0n || extents.length === 0) return;
    const start = alignUp(hugeFillAt, page);
    b.syscall("mmap", [start, length, PROT.read | PROT.write, MAP.shared | MAP.fixedNoreplace, fd, 0], {
      expect: start,
      message: `map ${object.path} to fill it`,
      hint: "there are not enough huge pages: sysctl vm.nr_hugepages says how many there are",
    });
    readExtents(b, inImage(this.#imageFd), extents, (offset) => start + offset, object.path);
    b.syscall("munmap", [start, length]);
  }

  #finish(index: number, fd: Slot, object: ObjectRow, purpose: string): void {
    const b = this.#builder;
    if (object.kind === "memfd") {
      // Before the seals: F_SEAL_EXEC is one against another mode.
      this.#finishFile(fd, object);
      this.#setAttributes(index, fd, object);
      if (object.seals === 0) return;
      if (this.#isMappedBeforeSeal(index, object)) this.#late.push(() => seal(b, fd, object, "after it was mapped"));
      else seal(b, fd, object, purpose);
      return;
    }
    this.#finishFile(fd, object);
    this.#setAttributes(index, fd, object);
  }

  /** Extended attributes, and late, since they may forbid to open it again, inode flags. What cannot be set is told. */
  #setAttributes(index: number, fd: Slot, object: ObjectRow): void {
    const b = this.#builder;
    for (const { object: owner, name, value } of this.#checkpoint.tables.xattrs) {
      if (owner !== index) continue;
      const lost = b.label("attribute is lost");
      const done = b.label("attribute is set");
      b.syscall("fsetxattr", [fd, b.string(name), b.bytes(value), value.length, 0], { orElse: lost });
      b.jump(done);
      b.place(lost);
      b.print(`${object.path} (deleted) is without its extended attribute ${name}: it cannot be set here`);
      b.place(done);
    }
    if (object.inodeFlags === 0) return;
    this.#late.push(() => {
      const flags = b.buffer(8);
      const both = b.slot("inode flags");
      const lost = b.label("inode flags are lost");
      const done = b.label("inode flags are set");
      b.syscall("ioctl", [fd, FS_IOC.getFlags, flags], { orElse: lost });
      b.compute(both, "or", flags.u4, object.inodeFlags);
      b.store4(flags, both);
      b.syscall("ioctl", [fd, FS_IOC.setFlags, flags], { orElse: lost });
      b.jump(done);
      b.place(lost);
      b.print(`${object.path} (deleted) is without its inode flags (chattr): they cannot be set here`);
      b.place(done);
    });
  }

  /** Owner, mode and times of a file that was made again. */
  #finishFile(fd: Slot, object: ObjectRow): void {
    const b = this.#builder;
    // An ordinary user owns what it makes, and may not give it away.
    b.syscall("fchown", [fd, object.uid, object.gid], { expect: "any" });
    b.syscall("fchmod", [fd, object.mode & 0o7777], { message: `set the mode of ${object.path} (deleted)` });
    if (object.atimeNs === 0n && object.mtimeNs === 0n) return;
    const second = 1_000_000_000n;
    const times = b.u8s(object.atimeNs / second, object.atimeNs % second, object.mtimeNs / second, object.mtimeNs % second);
    b.syscall("utimensat", [fd, 0, times, 0], { message: `set the times of ${object.path} (deleted)` });
  }
}

/** memfd_create takes 249 bytes: of a longer path its last part. */
function memfdName(path: string): string {
  const bytes = encodeText(path);
  return bytes.length <= mostMemfdName ? path : decodeText(bytes.subarray(bytes.length - mostMemfdName));
}

const mostMemfdName = 249;

function seal(b: ProgramBuilder, fd: Slot, object: ObjectRow, purpose: string): void {
  b.syscall("fcntl", [fd, F.addSeals, object.seals], { message: `seal memfd ${object.path} ${purpose}` });
}
