// SPDX-License-Identifier: Apache-2.0
/**
 * A program holds addresses in the vDSO of the kernel that it was dumped under. On a kernel with another one its pages are
 * mapped where they were, as memory like any other, and its functions jump to those of the running kernel's, which is mapped
 * at a room that no task uses. Where that has no such function, the code makes the system call.
 *
 * If such a program is dumped and resumed again, all this is a mapping of its own, and what it jumps to is the vDSO.
 */
import { dynamicFunctions } from "../elf/dynamic-functions.js";
import { vmaProtBits, type VmaRow } from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { unlikeOthers } from "../model/space-columns.js";
import { storedVdso } from "../model/vdso-image.js";
import { type AddressRange, findRoom } from "./address-space.js";
import { ARCH, AUXV, MAP, PROT, pageSize } from "./constants.js";
import { auxv, type DataRef, type Slot } from "./operands.js";
import type { ProgramBuilder } from "./program-builder.js";

/** More than any vDSO with its data: six pages and two of code on Linux 6.18. */
const roomSize = 64n * pageSize;
const MS_ASYNC = 1;

/** System calls that the vDSO has functions for, by their names without `__vdso_` (arch/x86/entry/vdso/vdso.lds.S). */
const vdsoCalls = { clock_gettime: 228, gettimeofday: 96, time: 201, getcpu: 309, clock_getres: 229, getrandom: 318 } as const;

interface VdsoFunction {
  readonly call: keyof typeof vdsoCalls;
  /** From the start of the vDSO. */
  readonly offset: number;
  /** Bytes of its code. */
  readonly size: number;
}

/** jmp *(%rip), with the address behind it. */
const jump = Uint8Array.of(0xff, 0x25, 0, 0, 0, 0);
const jumpSize = jump.length + 8;

/** mov $call, %eax; syscall; ret */
const call = (nr: number): readonly number[] => [0xb8, nr & 0xff, nr >> 8, 0, 0, 0x0f, 0x05, 0xc3];
/** With a length of -1 for the state getrandom is asked what state it needs: cmp $-1, %r8; jne; mov $-ENOSYS, %eax; ret. */
const noState = [0x49, 0x83, 0xf8, 0xff, 0x75, 0x08, 0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3];

const codeWithout = ({ call: name }: VdsoFunction): Uint8Array =>
  Uint8Array.from([...(name === "getrandom" ? noState : []), ...call(vdsoCalls[name])]);

/** The functions of a vDSO that stand for system calls; undefined if none can be made out, or one has no room for a jump. */
function vdsoFunctions(image: Uint8Array): readonly VdsoFunction[] | undefined {
  const found = new Map<number, VdsoFunction>();
  for (const { name, offset, size } of dynamicFunctions(image) ?? []) {
    const known = name.replace(/^__vdso_/, "");
    // Each has two names.
    if (Object.hasOwn(vdsoCalls, known)) found.set(offset, { call: known as VdsoFunction["call"], offset, size });
  }
  const functions = [...found.values()];
  const hasRoom = functions.every((one) => one.size >= Math.max(jumpSize, codeWithout(one).length));
  return functions.length > 0 && hasRoom ? functions : undefined;
}

/** What a resume on a kernel with another vDSO needs of a checkpoint; undefined if it has not that. */
function usableVdso(checkpoint: Checkpoint): { readonly image: Uint8Array; readonly functions: readonly VdsoFunction[] } | undefined {
  const image = storedVdso(checkpoint);
  const functions = image && vdsoFunctions(image);
  if (image === undefined || functions === undefined) return undefined;
  const isOther = ({ kind, start, end }: VmaRow): boolean => kind === "vdso" && end - start !== BigInt(image.length);
  const fits = ![...unlikeOthers(checkpoint.tables.vmas)].some(([, row]) => isOther(row));
  return fits ? { image, functions } : undefined;
}

export const hasUsableVdso = (checkpoint: Checkpoint): boolean => usableVdso(checkpoint) !== undefined;

/** A thread inside the vDSO: its next instruction would be of code that nobody has any more. */
export function threadInVdso({ tables }: Checkpoint): number | undefined {
  const code = new Map<number, VmaRow[]>();
  for (const [, vma] of unlikeOthers(tables.vmas)) if (vma.kind === "vdso") code.set(vma.mm, [...(code.get(vma.mm) ?? []), vma]);
  return tables.threads.find(({ task, regs }) => {
    const areas = code.get(tables.tasks[task]?.mm ?? -1);
    return areas?.some((vma) => vma.start <= regs.ip && regs.ip < vma.end) === true;
  })?.tid;
}

export class OtherVdso {
  /** Where the running kernel's is put then, with its data. */
  readonly room: AddressRange;
  /** Not 0 if the running kernel's is another than at the dump. */
  readonly isOther: Slot;
  readonly #image: DataRef;
  readonly #entries: readonly { readonly vdsoFunction: VdsoFunction; readonly target: Slot }[];

  /** Undefined if the checkpoint does not have the bytes, or they have no functions to put jumps into. */
  static of(builder: ProgramBuilder, checkpoint: Checkpoint, used: readonly AddressRange[]): OtherVdso | undefined {
    const usable = usableVdso(checkpoint);
    return usable && new OtherVdso(builder, usable.image, usable.functions, findRoom(used, roomSize));
  }

  private constructor(
    private readonly builder: ProgramBuilder,
    image: Uint8Array,
    functions: readonly VdsoFunction[],
    start: bigint,
  ) {
    this.room = { start, end: start + roomSize };
    this.isOther = builder.slot("is another vDSO");
    const changed = Uint8Array.from(image);
    for (const { offset } of functions) changed.set(jump, offset);
    this.#image = builder.bytes(changed);
    this.#entries = functions.map((vdsoFunction) => ({ vdsoFunction, target: builder.slot(`${vdsoFunction.call} of the vDSO`) }));
  }

  /** Finds the functions of the running kernel's, which is still where execve put it. Ops of the first process. */
  findFunctions(): void {
    const b = this.builder;
    const base = b.slot("start of this kernel's vDSO");
    b.compute(this.isOther, "move", 1);
    b.compute(base, "move", auxv(AUXV.sysinfoEhdr));
    for (const { vdsoFunction, target } of this.#entries) {
      const [isAbsent, done] = [b.label("it has no such function"), b.label("next function")];
      b.op("symbol", [base, b.string(`__vdso_${vdsoFunction.call}`)], { store: target, orElse: isAbsent, expect: "not_error" });
      b.compute(target, "sub", target, base);
      b.jump(done);
      b.place(isAbsent);
      const code = codeWithout(vdsoFunction);
      b.copy(this.#image.at(vdsoFunction.offset), b.bytes(code), code.length);
      b.compute(target, "move", 0);
      b.place(done);
    }
  }

  /** Completes the jumps. Ops of the first process, when it has no vDSO any more. */
  completeJumps(): void {
    const b = this.builder;
    const [same, look, end, fits] = [b.label("the vDSO is the same"), b.label("where it ends"), b.label("its end"), b.label("it fits")];
    b.jumpIf(this.isOther, "eq", 0, same);
    const [size, at] = [b.slot("bytes of this kernel's vDSO"), b.slot("end of this kernel's vDSO")];
    b.syscall("arch_prctl", [ARCH.mapVdso64, this.room.start], { store: size, message: "map this kernel's vDSO" });
    // Its code, of the size that the call returns, lies behind its data, of which nobody tells the size.
    b.compute(at, "move", this.room.start);
    b.place(look);
    b.syscall("msync", [at, pageSize, MS_ASYNC], { orElse: end });
    b.compute(at, "add", at, pageSize);
    b.jump(look);
    b.place(end);
    b.jumpIf(at, "lt", this.room.end, fits);
    b.fail(`this kernel's vDSO does not fit into ${roomSize} bytes`, "resume on the kernel build that it was dumped on");
    b.place(fits);
    b.syscall("munmap", [this.room.start, roomSize], { message: "unmap this kernel's vDSO" });
    b.compute(at, "sub", at, size);
    for (const { vdsoFunction, target } of this.#entries) {
      const isAbsent = b.label("it has no such function");
      b.jumpIf(target, "eq", 0, isAbsent);
      b.compute(target, "add", target, at);
      b.store8(this.#image.at(vdsoFunction.offset + jump.length), target);
      b.place(isAbsent);
    }
    b.place(same);
  }

  /** Maps both. Ops of a task with these mappings. */
  map(vmas: readonly VmaRow[]): void {
    const b = this.builder;
    b.syscall("arch_prctl", [ARCH.mapVdso64, this.room.start], { message: "map this kernel's vDSO" });
    for (const { kind, start, end, prot } of vmas) {
      if (kind !== "vdso" && kind !== "vvar") continue;
      const where = `${start.toString(16)}-${end.toString(16)}`;
      const length = end - start;
      const code = prot & (vmaProtBits.read | vmaProtBits.exec);
      b.syscall(
        "mmap",
        [start, length, kind === "vdso" ? PROT.read | PROT.write : PROT.read, MAP.private | MAP.anonymous | MAP.fixedNoreplace, -1, 0],
        { expect: start, message: `map memory for the old vDSO at ${where}` },
      );
      if (kind !== "vdso") continue;
      b.copy(start, this.#image, length);
      b.syscall("mprotect", [start, length, code], { message: `protect ${where}` });
    }
  }

  /** Takes the running kernel's away from a task that has it of its parent. */
  unmap(): void {
    this.builder.syscall("munmap", [this.room.start, roomSize], { message: "take away the vDSO of the parent" });
  }
}
