// SPDX-License-Identifier: Apache-2.0
import type { Checkpoint } from "../model/checkpoint.js";
import type { Loss } from "./format.js";

/** What formats lose that have no place for namespaces: whoever resumes their images is less confined than the tree was. */
export function namespaceLosses({ tables }: Checkpoint): Loss[] {
  const kinds = [...new Set(tables.namespaces.map(({ kind }) => kind))];
  if (kinds.length === 0) return [];
  const text = `namespaces of the tree's own are not kept, and a tree resumed from it is less confined: ${kinds.join(", ")}`;
  return [{ code: "tree.namespaces", facet: "tree", count: kinds.length, text }];
}
