// SPDX-License-Identifier: Apache-2.0
/** What an op's argument can be: a number, or something whose value is known only when the program is linked or runs. */

/** In texts of ops that are run for rows: the id that the row begins with. */
export const rowId = "\u0001";

/** Slots from here on are of whoever runs the op (firstLocalSlot.. + 15). */
export const firstLocalSlot = 0x8000_0000;
export const numLocalSlots = 16;

/** Bits of an argument's mode: the value is the u4, or the u8, that the row has (op each). */
export const inRow = { u4: 0x40, u8: 0x80 } as const;
/** Of a text: the row has its offset. */
export const textInRow = 0x8000_0000;
/** The longest row: the interpreter refuses longer ones. */
export const maxRowSize = 4096;

/** A u8 that an op fills and later ops read. Every process has its own copy (made by fork); threads of one share it. */
export class Slot {
  constructor(
    readonly index: number,
    /** For people: `fd of /var/log/x`. */
    readonly name: string,
  ) {}

  /** The content plus a constant (signed 32 bits). */
  plus(addend: number): Operand {
    return { mode: "slot", slot: this, addend };
  }

  /** The address of the slot, for system calls that store 8 bytes. */
  get address(): Operand {
    return { mode: "slot_address", slot: this };
  }
}

/** A place in the program's data; `isZeroed` data takes no room in the file. */
export class DataRef {
  constructor(
    readonly offset: number,
    readonly size: number,
    readonly isZeroed: boolean,
  ) {}

  /** The place `bytes` further on. */
  at(bytes: number): DataRef {
    return new DataRef(this.offset + bytes, this.size - bytes, this.isZeroed);
  }

  /** The u4 that is there when the op runs. */
  get u4(): Operand {
    return { mode: "mem4", ref: this };
  }

  /** The s4 that is there when the op runs. */
  get s4(): Operand {
    return { mode: "mem4s", ref: this };
  }

  /** The u8 that is there when the op runs. */
  get u8(): Operand {
    return { mode: "mem8", ref: this };
  }
}

/** A u4 in the area that all tasks share. */
export class Shared {
  constructor(
    readonly kind: "counter" | "pid" | "ending_pid",
    readonly index: number,
    readonly name: string,
  ) {}

  /** The u4 that is there when the op runs. */
  get u4(): Operand {
    return { mode: "control4", shared: this };
  }
}

/** A place among the ops. */
export class Label {
  /** Op index once placed. */
  position: number | undefined;
  constructor(readonly name: string) {}
}

export type Operand =
  | { readonly mode: "slot"; readonly slot: Slot; readonly addend: number }
  | { readonly mode: "slot_address"; readonly slot: Slot }
  | { readonly mode: "mem4" | "mem4s" | "mem8"; readonly ref: DataRef }
  | { readonly mode: "control4"; readonly shared: Shared }
  /** What the row of `ProgramBuilder.forRows` has at an offset. */
  | { readonly mode: "row"; readonly as: RowValue; readonly offset: number }
  /** An entry of the auxiliary vector that the image was started with (AT_*). */
  | { readonly mode: "auxv"; readonly type: number }
  /** Addresses and sizes that linking decides. */
  | { readonly mode: "hole_base" | "hole_end" | "hole_size" | "control_aborted" | "control_supervisor" };

/** Fewer than these are not worth ops for rows. */
export const leastRows = 8;

/** What a u4 of a row is: a number, or a slot of which the content, or the address, is meant. */
export type RowValue = "imm" | "slot" | "slot_address";

/** The u4 of a column of the row, counted from 0, which is the id. */
export function ofRow(column: number, as: RowValue = "imm"): Operand {
  return { mode: "row", as, offset: 4 * column };
}

export type Arg = number | bigint | Slot | DataRef | Shared | Operand;

/** An entry of the auxiliary vector that the image was started with. */
export function auxv(type: number): Operand {
  return { mode: "auxv", type };
}

export const holeBase: Operand = { mode: "hole_base" };
export const holeEnd: Operand = { mode: "hole_end" };
export const holeSize: Operand = { mode: "hole_size" };
/** Address of the u4 that names the thread that reports failures. */
export const supervisor: Operand = { mode: "control_supervisor" };
/** The u4 that says that some op failed. */
export const aborted: Operand = { mode: "control_aborted" };
