// SPDX-License-Identifier: Apache-2.0
import { addon } from "./addon.js";

/** Sets flags of V8, as they are written on the command line of Node. Where Node does not let addons do this nothing happens. */
export function setV8Flags(flags: string): void {
  addon().setFlags(flags);
}
