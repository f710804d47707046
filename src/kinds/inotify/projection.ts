// SPDX-License-Identifier: Apache-2.0
/** Numbers, masks and paths of the watches. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, file) =>
  tables.inotifyWatches
    .filter((watch) => tables.files[watch.file] === file)
    .map(({ wd, mask, object }) => ({ wd, mask, path: tables.objects[object]?.path }));
