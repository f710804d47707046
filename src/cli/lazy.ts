// SPDX-License-Identifier: Apache-2.0
/** --lazy and --eager of convert and exec. */
import { CrimgError } from "../errors/crimg-error.js";

/** `when` it counts: `At this resume`. */
export function lazyOptions(when: string) {
  return {
    lazy: { type: "boolean", describe: `${when}, the program runs before its memory is there; a pager brings it` },
    eager: { type: "boolean", describe: `${when}, all memory is read before the program runs (the default)` },
  } as const;
}

/** @throws CrimgError `usage.lazy` */
export function parseLazy({ lazy, eager }: { readonly lazy: boolean; readonly eager: boolean }): { readonly isLazy?: boolean } {
  if (lazy && eager) throw new CrimgError("usage.lazy", "--lazy and --eager cannot both be given");
  return lazy || eager ? { isLazy: lazy } : {};
}
