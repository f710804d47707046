// SPDX-License-Identifier: Apache-2.0
/** What a dump holds for as long as the tree stands still, such as the packets of its connections. */
export interface TreeEnd {
  /** The image is whole, and the tree is going to be killed: from here on it dies with crimg. */
  beforeKill(): void;
  /** The tree is gone, or about to be let go. May be called more than once. */
  release(): void;
}
