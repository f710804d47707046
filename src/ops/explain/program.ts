// SPDX-License-Identifier: Apache-2.0
/** A restore program read back from its bytes, every offset checked. */
import { ByteReader } from "../../bytes/byte-reader.js";
import { decodeText } from "../../bytes/text.js";
import { firstLocalSlot, rowId } from "../../lower/operands.js";
import { type Step, unrolled } from "../../lower/unroll.js";
import { type Op, type ProgramHeader, controlHeaderSize, opSize, readOp, readProgramHeader } from "../../gen/restore-program.js";

export class RestoreProgram {
  readonly header: ProgramHeader;
  readonly ops: readonly Op[];
  readonly #data: Uint8Array;
  readonly #names: readonly string[];

  /** @throws CrimgError `bytes.*`, `program.*` */
  constructor(bytes: Uint8Array, source: string) {
    const reader = new ByteReader(bytes, { source, path: "program_header" });
    this.header = readProgramHeader(reader);
    const { ofsOps, numOps, lenOp, ofsData, lenData } = this.header;
    if (lenOp !== opSize) throw reader.error("program.op-size", `ops have ${lenOp} bytes, this version knows ${opSize}`, 20, "len_op");
    if (ofsOps + BigInt(numOps) * BigInt(lenOp) > BigInt(bytes.length)) {
      throw reader.error("program.range", `${numOps} ops do not fit in ${bytes.length} bytes`, 16, "num_ops");
    }
    if (ofsData + lenData > BigInt(bytes.length))
      throw reader.error("program.range", `the data does not fit in ${bytes.length} bytes`, 32, "ofs_data");
    this.#data = bytes.subarray(Number(ofsData), Number(ofsData + lenData));
    reader.seek(Number(ofsOps));
    this.ops = Array.from({ length: numOps }, (_, index) => {
      reader.enter("ops", index);
      return readOp(reader);
    });
    this.#names = this.text(this.header.ofsSlotNames).split("\n");
  }

  /** The ops in the order of the program, those that are run for rows once for each. @throws CrimgError `program.rows` */
  steps(): Generator<Step> {
    return unrolled(this.ops, this.#data);
  }

  /** The text at an offset of the data; "" for 0 or what is not there. `id`: of the row that its op is run for. */
  text(offset: number | bigint, id?: number): string {
    const at = Number(offset);
    if (at <= 0 || at >= this.#data.length) return "";
    const end = this.#data.indexOf(0, at);
    const text = decodeText(this.#data.subarray(at, end < 0 ? this.#data.length : end));
    return id === undefined ? text : text.replaceAll(rowId, String(id));
  }

  /** Bytes of the data; undefined where the file holds none (zeroed buffers). */
  bytes(offset: number | bigint, length: number): Uint8Array | undefined {
    const at = Number(offset);
    return at >= 0 && at + length <= this.#data.length ? this.#data.subarray(at, at + length) : undefined;
  }

  slotName(index: number): string {
    if (index >= firstLocalSlot) return `own ${index - firstLocalSlot}`;
    return this.#names[index] ?? `slot ${index}`;
  }

  /** The counter or process id at an offset of the control area. */
  sharedName(offset: bigint): string {
    if (offset < BigInt(controlHeaderSize)) return `control+${offset}`;
    const index = Number(offset - BigInt(controlHeaderSize)) / 4;
    return this.#names[this.header.numSlots + index] ?? `control+${offset}`;
  }
}
