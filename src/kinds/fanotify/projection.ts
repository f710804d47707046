// SPDX-License-Identifier: Apache-2.0
/** Flags of the group, and its marks with their paths. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, file) => ({
  group: tables.fanotifyGroups[file.detail ?? -1],
  marks: tables.fanotifyMarks
    .filter((mark) => tables.files[mark.file] === file)
    .map(({ kind, flags, mask, ignoredMask, object }) => ({ kind, flags, mask, ignoredMask, path: tables.objects[object]?.path })),
});
