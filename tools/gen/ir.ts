// SPDX-License-Identifier: Apache-2.0
/**
 * What the emitters see of a .ksy file: records with resolved types, offsets and sizes.
 * Loading (load.ts) rejects everything that this cannot say, so that emitters need no error paths.
 */

/** Where a size or a count comes from. */
export type Count =
  | { readonly kind: "fixed"; readonly value: number }
  /** An integer field before this one in the same record; `id` is its ksy name. */
  | { readonly kind: "field"; readonly id: string }
  /** To the end of the input. */
  | { readonly kind: "eos" };

export interface IntType {
  readonly kind: "int";
  readonly width: 1 | 2 | 4 | 8;
  readonly isSigned: boolean;
}

export type FieldType =
  | IntType
  | { readonly kind: "record"; readonly record: RecordType }
  /** A reference into the string heap of the tables segment. */
  | { readonly kind: "str_ref" }
  /** A reference into the blob heap of the tables segment. */
  | { readonly kind: "blob_ref" }
  | { readonly kind: "bytes"; readonly length: Count }
  /** Text in a field of `length` bytes; with a terminator it ends there and the rest is zero. */
  | { readonly kind: "str"; readonly length: Count; readonly isTerminated: boolean }
  /** Bytes that are always the same. */
  | { readonly kind: "contents"; readonly bytes: readonly number[] };

/** What a value must be; numbers are exact. */
export type Valid =
  | { readonly kind: "any-of"; readonly values: readonly bigint[] }
  | { readonly kind: "range"; readonly min?: bigint; readonly max?: bigint }
  | { readonly kind: "in-enum" };

export interface EnumType {
  /** ksy name. */
  readonly id: string;
  readonly doc: string;
  /** The .ksy file (by meta/id) that declares it. */
  readonly specId: string;
  readonly values: readonly { readonly value: number; readonly id: string; readonly doc: string }[];
}

export interface Field {
  /** ksy name. */
  readonly id: string;
  /** Property in TypeScript. */
  readonly name: string;
  readonly doc: string;
  readonly type: FieldType;
  readonly repeat?: Count;
  readonly enum?: EnumType;
  readonly valid?: Valid;
  /** Table that the value is a row index of. */
  readonly ref?: string;
  /** 0xffffffff means none. */
  readonly isOptional: boolean;
  readonly flags?: readonly { readonly id: string; readonly bit: number }[];
  readonly format?: string;
  /** Skipped when read, zero when written, and not in row types. */
  readonly isReserved: boolean;
  /** Bytes from the start of the record; undefined after a field of variable length. */
  readonly offset?: number;
  /** Bytes of all repetitions; undefined if variable. */
  readonly size?: number;
}

export interface RecordType {
  /** Name of the record. */
  readonly id: string;
  /** Name of the type in the .ksy file; the same unless -crimg-row says otherwise. */
  readonly typeId: string;
  readonly specId: string;
  readonly doc: string;
  readonly docRef?: string;
  readonly fields: readonly Field[];
  /** Total bytes; undefined if variable. */
  readonly size?: number;
  /** Largest natural alignment of its integers. */
  readonly align: number;
  /** Directory entry of the v2 tables segment whose record this is. */
  readonly table?: { readonly kind: number; readonly name: string };
}

export interface Spec {
  readonly id: string;
  readonly title: string;
  readonly doc: string;
  readonly records: readonly RecordType[];
  readonly enums: readonly EnumType[];
  /** First part of the names in the C header; undefined: no C header. */
  readonly cPrefix?: string;
  /** Constants that are neither an enum nor a field (-crimg-constants). */
  readonly constants: readonly { readonly id: string; readonly value: bigint; readonly doc: string }[];
}
