// SPDX-License-Identifier: Apache-2.0
/**
 * What formats that hold less than the model keep of each kind of open file. Every kind has one (file-kinds.ts), in
 * `src/kinds/KIND/losses.ts`. (CRIU's are beside its mapping: they are about single fields.)
 */
import type { ObjectRow } from "../gen/tables.js";
import type { FacetName } from "./format.js";

/** Formats of which few kinds have a place. */
export type NarrowFormat = "ckpt-elf-v1" | "crtools" | "core";

export interface FileLosses {
  /** The part of the model that lacks something where such a descriptor is left out. */
  readonly facet: FacetName;
  /** `some`: which of them is the format's own business. */
  readonly kept: Readonly<Record<NarrowFormat, "all" | "some" | "none">>;
  /** What such a descriptor is called in codes and words, where that is not the kind's name. */
  nameOf?(object: ObjectRow | undefined): string;
}
