// SPDX-License-Identifier: Apache-2.0
/** usage: collect-again.js PID: freezes, collects and lets go of a tree, again and again, until somebody ends this. */
import { collect } from "../../src/dump/collect.js";
import { FrozenTree } from "../../src/dump/freeze.js";

for (;;) {
  const tree = FrozenTree.freeze(Number(process.argv[2]));
  try {
    collect(tree, { creator: "test" }).close();
  } finally {
    tree.release();
  }
  process.stdout.write(".");
}
