// SPDX-License-Identifier: Apache-2.0
/**
 * What the property tests ask of each kind of open file. Every kind has both (file-kinds.ts), in
 * `src/kinds/KIND/arbitrary.ts` and `projection.ts`.
 */
import type fc from "fast-check";
import type { MutableTables, OpenFileRow } from "../../src/gen/tables.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";

/** Random files of one kind. */
export interface FileArbitrary {
  /** What is random of them: plain data, so that a counterexample can be read. */
  readonly plans: fc.Arbitrary<unknown>;
  /** Adds the rows of one plan to a checkpoint under construction. */
  add(scene: FileScene, plan: unknown): void;
}

/** Where files are added. */
export interface FileScene {
  readonly tables: MutableTables;
  /** Row and pid of the task that gets them. */
  readonly task: number;
  readonly pid: number;
  /** Row of a file of the host of at least 16 pages. */
  readonly dataObject: number;
  /** Gives the task a descriptor of a row of `files`, at a free number or the one wanted. Returns the number. */
  hold(file: number, options?: { readonly fd?: number; readonly isCloexec?: boolean }): number;
}

/** Of a file of one kind what must come back through formats that hold its facet exactly; comparable by deepEqual. */
export type FileProjection = (checkpoint: Checkpoint, file: OpenFileRow) => unknown;

/** Ties a plan's type to what adds it. */
export function fileArbitrary<Plan>(plans: fc.Arbitrary<Plan>, add: (scene: FileScene, plan: Plan) => void): FileArbitrary {
  return { plans, add: (scene, plan) => add(scene, plan as Plan) };
}
