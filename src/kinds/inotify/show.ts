// SPDX-License-Identifier: Apache-2.0
/** Inotify instances: what they watch, and how many events wait. */
import type { FileShow } from "../../ops/show/file-kind.js";

/** More paths are counted. */
const mostPaths = 3;

export const show: FileShow = {
  describe: ({ tables }, file) => {
    const row = tables.files.indexOf(file);
    const paths = tables.inotifyWatches.flatMap((watch) => (watch.file === row ? [tables.objects[watch.object]?.path || "?"] : []));
    const events = tables.inotifyEvents.filter((event) => event.file === row).length;
    const more = paths.length > mostPaths ? `, and ${paths.length - mostPaths} more` : "";
    const what = paths.length === 0 ? "" : ` watches ${paths.slice(0, mostPaths).join(", ")}${more}`;
    return `inotify${what}${events > 0 ? ` (${events} event${events === 1 ? "" : "s"} waiting)` : ""}`;
  },
};
