// SPDX-License-Identifier: Apache-2.0
/** What the parts of the lowering of unix sockets share. */
import type { FileSlots } from "../../../lower/fds/shared.js";
import type { Slot } from "../../../lower/operands.js";
import type { ReachableAddress, UnixName } from "./lower-names.js";
import type { Origin } from "./lower-plan.js";

/** What is known of the unix sockets while they are made. */
export interface UnixState {
  readonly slots: FileSlots;
  /** Slots by row. */
  readonly made: Map<number, Slot>;
  /** The other ends of sockets whose peer is gone, by row; closed with everything else at the end. */
  readonly closedPeers: Map<number, Slot>;
  readonly names: ReadonlyMap<number, UnixName>;
  readonly origins: readonly (Origin | undefined)[];
  /** How to reach a socket that has a name, by row. */
  readonly addresses: Map<number, ReachableAddress>;
  purposeOf(socket: number): string;
}
