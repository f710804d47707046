// SPDX-License-Identifier: Apache-2.0
/** What a scenario found. Times in milliseconds, sizes in bytes. */
export type Result =
  | { readonly kind: "claim"; readonly what: string; readonly holds: boolean; readonly seen: string }
  | {
      readonly kind: "dump";
      readonly program: string;
      readonly imageBytes: number;
      readonly lockMs: number;
      readonly checkpointMs: number;
      readonly frozenMs: number;
      readonly commandMs: number;
    }
  | {
      readonly kind: "resume";
      readonly program: string;
      readonly imageBytes: number;
      /** The driver's restore and unlock in the same process, as --leave-running needs them. */
      readonly driverMs: number;
      readonly nextStepMs: number;
    };
