// SPDX-License-Identifier: Apache-2.0
/**
 * Descriptions of records as data, so that JSON, show and validate can be generic.
 * The instances are generated from spec/ksy (src/gen/table-specs.ts).
 */

/** How a field lies in its record. `str_ref` and `blob_ref` point into the heaps of the tables segment. */
export type WireType = "u1" | "u2" | "u4" | "u8" | "s1" | "s2" | "s4" | "s8" | "str_ref" | "blob_ref" | "record" | "bytes" | "str";

/** How a value is best shown. */
export type FieldFormat = "hex" | "octal" | "signal" | "signal_set" | "time_ns" | "u4_array" | "sockaddr";

/** An enumeration of the specification. */
export interface EnumSpec {
  /** ksy name, such as `task_state`. */
  readonly id: string;
  /** Name → number. */
  readonly values: Readonly<Record<string, number>>;
}

/** A field of a record. */
export interface FieldSpec {
  /** ksy name, such as `exit_signal`: what JSON and messages use. */
  readonly id: string;
  /** Property of the row, such as `exitSignal`. */
  readonly name: string;
  /** How it lies in the record. */
  readonly wire: WireType;
  /** Bytes from the start of the record. */
  readonly offset: number;
  /** Bytes of all repetitions. */
  readonly size: number;
  /** Number of elements, if the value is an array. */
  readonly repeat?: number;
  /** Property of `Tables` that the value is a row index of. */
  readonly ref?: string;
  /** The value may be null (0xffffffff on the wire). */
  readonly optional?: boolean;
  /** Names of the values. */
  readonly enum?: EnumSpec;
  /** Flag name → bit number. */
  readonly flags?: Readonly<Record<string, number>>;
  /** How it is best shown. */
  readonly format?: FieldFormat;
  /** What the specification says of it. */
  readonly doc: string;
  /** Wire type `record`: the fields of the value. */
  readonly record?: RecordSpec;
}

/** A record of the specification. */
export interface RecordSpec {
  /** ksy name, such as `signal_action`. */
  readonly id: string;
  /** Bytes. */
  readonly size: number;
  /** What the specification says of it. */
  readonly doc: string;
  /** Without reserved fields. */
  readonly fields: readonly FieldSpec[];
}
