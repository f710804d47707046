// SPDX-License-Identifier: Apache-2.0
/** Build-ids are read by whoever needs them (src/elf); the dumper keeps its own name for them. */
export { type ReadAt, findBuildId, imageBuildId } from "../elf/build-id.js";
