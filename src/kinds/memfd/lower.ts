// SPDX-License-Identifier: Apache-2.0
/** Memfds: their object is made and filled once, and every description of it opened like a file with a path. */
import { eachAlone, type FileLowering } from "../../lower/fds/kind.js";
import { openPath } from "../path/lower.js";

export const lowering: FileLowering = { open: eachAlone(openPath) };
