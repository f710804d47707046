// SPDX-License-Identifier: Apache-2.0
/** Which mappings are of an object: there may be as many objects as mappings, so the table is gone through once. */
import type { VmaRow } from "../gen/tables.js";
import { unlikeRows } from "./space-columns.js";

interface Found {
  /** Rows of the table when it was gone through. */
  readonly count: number;
  readonly ofObject: ReadonlyMap<number, readonly VmaRow[]>;
}

const found = new WeakMap<readonly VmaRow[], Found>();

/** The mappings of an object, in the order of the table. */
export function mappingsOfObject(vmas: readonly VmaRow[], object: number): readonly VmaRow[] {
  let known = found.get(vmas);
  if (known?.count !== vmas.length) found.set(vmas, (known = { count: vmas.length, ofObject: byObject(vmas) }));
  return known.ofObject.get(object) ?? [];
}

function byObject(vmas: readonly VmaRow[]): Map<number, VmaRow[]> {
  const ofObject = new Map<number, VmaRow[]>();
  for (const vma of unlikeRows(vmas)) {
    if (vma.object === null) continue;
    const others = ofObject.get(vma.object);
    if (others === undefined) ofObject.set(vma.object, [vma]);
    else others.push(vma);
  }
  return ofObject;
}
