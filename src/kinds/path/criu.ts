// SPDX-License-Identifier: Apache-2.0
/** What has a path, in image sets: regular file entries. */
import type { FileMapping } from "../../../formats/criu/map/kind.js";
import { nameOnDisk, objectOf, objectOfReg, regToWire } from "../../../formats/criu/map/map-object.js";

export const mapping: FileMapping = {
  fromWire: (builder, { reg }) => (reg ? { kind: "path", object: objectOfReg(builder, reg), ...reg } : undefined),
  toWire: (context, row, file) => regToWire(objectOf(context, file), context.fileId(row), file, nameOnDisk(context, file.object)),
  pathEntryId: (context, row) => context.fileId(row),
};
