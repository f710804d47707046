// SPDX-License-Identifier: Apache-2.0
/** A format as users see it: what it is called, what can be done with it, what it holds. */
import type { FacetName, FacetSupport, FormatAdapter } from "./format.js";

/** What a format is and can. */
export interface FormatInfo {
  /** What `from` and `to` take, such as `ckpt-elf`. */
  readonly id: string;
  /** Its name for people. */
  readonly title: string;
  /** Whether crimg reads it. */
  readonly canRead: boolean;
  /** Whether crimg writes it. */
  readonly canWrite: boolean;
  /** How it holds each part of a checkpoint. */
  readonly facets: Readonly<Record<FacetName, FacetSupport>>;
}

/** What users may know of an adapter. */
export function formatInfo({ id, title, facets, read, write }: FormatAdapter): FormatInfo {
  return { id, title, facets, canRead: read !== undefined, canWrite: write !== undefined };
}
