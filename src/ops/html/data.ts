// SPDX-License-Identifier: Apache-2.0
/** What the page of `show --html` gets: plain data, written by report.ts and read by browser/. Addresses are hexadecimal. */

/** A mapping. Short names: a page may hold tens of thousands. */
export interface MappingData {
  /** First address and bytes. */
  readonly a: string;
  readonly n: number;
  readonly kind: string;
  readonly prot: string;
  readonly name: string;
  /** Stored parts: offset in the mapping and bytes, in turn. */
  readonly stored: readonly number[];
}

export interface ProcessData {
  readonly pid: number;
  readonly name: string;
  readonly command: string;
  readonly state: string;
  /** Index of the parent, -1 for none. */
  readonly parent: number;
  /** Index in `spaces`, -1 for a zombie. */
  readonly space: number;
  readonly threads: readonly {
    readonly tid: number;
    readonly name: string;
    readonly ip: string;
    readonly sp: string;
    readonly in: string;
  }[];
  readonly descriptors: readonly { readonly fd: number; readonly file: number; readonly cloexec: boolean }[];
}

export interface ReportData {
  readonly title: string;
  readonly facts: readonly (readonly [string, string])[];
  readonly processes: readonly ProcessData[];
  /** Address spaces. */
  readonly spaces: readonly (readonly MappingData[])[];
  readonly files: readonly { readonly kind: string; readonly what: string; readonly position: string }[];
  readonly findings: readonly { readonly severity: string; readonly message: string }[];
  readonly losses: readonly string[];
  readonly program: {
    /** Operations by name, most frequent first. */
    readonly counts: readonly (readonly [string, number])[];
    readonly lines: readonly string[];
    readonly total: number;
  };
}
