// SPDX-License-Identifier: Apache-2.0
/** Rows of the `foreign` table that belong to this format: what the model has no place for. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { type ForeignRow, foreignRow, type TableName, tableSpecs, type Tables } from "../../../src/gen/tables.js";
import { applyDelta, deltaOf } from "./message-delta.js";

export const formatId = "criu";

/** Where a foreign row hangs: a row of a table, or the checkpoint as a whole. */
export interface Anchor {
  readonly table: TableName;
  readonly row: number;
}

export const wholeCheckpoint: Anchor = { table: "checkpoint", row: 0 };

const kinds: ReadonlyMap<string, number> = new Map(Object.values(tableSpecs).map((spec) => [spec.table, spec.kind]));

function numberOf(anchor: Anchor): { table: number; row: number } {
  if (anchor.table === "checkpoint") return { table: 0, row: 0 };
  return { table: kinds.get(anchor.table) ?? 0, row: anchor.row };
}

/** Collects foreign rows while an image set is read. */
export class ForeignWriter {
  constructor(readonly rows: ForeignRow[]) {}

  add(anchor: Anchor, key: string, value: Uint8Array): void {
    this.rows.push(foreignRow({ format: formatId, ...numberOf(anchor), key, value: value.slice() }));
  }

  /** Keeps what `original` says beyond `rebuilt`. */
  addDelta<Schema extends DescMessage>(
    anchor: Anchor,
    key: string,
    schema: Schema,
    original: MessageShape<Schema>,
    rebuilt: MessageShape<Schema>,
    keep: readonly string[] = [],
  ): void {
    const rest = deltaOf(schema, original, rebuilt, keep);
    if (rest.bytes.length > 0) this.add(anchor, key, rest.bytes);
    if (rest.absent.length > 0) this.add(anchor, `${key}.absent`, Buffer.from(rest.absent.join(",")));
  }
}

/** Looks foreign rows up while an image set is written. */
export class ForeignReader {
  readonly #values = new Map<string, Uint8Array[]>();
  readonly #whole: { key: string; value: Uint8Array }[] = [];

  constructor(tables: Tables) {
    for (const row of tables.foreign) {
      if (row.format !== formatId) continue;
      if (row.table === 0) this.#whole.push({ key: row.key, value: row.value });
      const at = `${row.table}/${row.row}/${row.key}`;
      const values = this.#values.get(at);
      if (values) values.push(row.value);
      else this.#values.set(at, [row.value]);
    }
  }

  all(anchor: Anchor, key: string): readonly Uint8Array[] {
    const { table, row } = numberOf(anchor);
    return this.#values.get(`${table}/${row}/${key}`) ?? [];
  }

  get(anchor: Anchor, key: string): Uint8Array | undefined {
    return this.all(anchor, key)[0];
  }

  /** Rows of the checkpoint whose key begins with `prefix`. */
  whole(prefix: string): readonly { key: string; value: Uint8Array }[] {
    return this.#whole.filter((row) => row.key.startsWith(prefix));
  }

  /** Puts what was kept over a message built from the model. */
  apply<Schema extends DescMessage>(anchor: Anchor, key: string, schema: Schema, message: MessageShape<Schema>): MessageShape<Schema> {
    const absent = this.get(anchor, `${key}.absent`);
    applyDelta(schema, message, this.get(anchor, key) ?? new Uint8Array(0), absent ? Buffer.from(absent).toString().split(",") : []);
    return message;
  }
}
