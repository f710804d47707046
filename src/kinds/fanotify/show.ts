// SPDX-License-Identifier: Apache-2.0
/** Fanotify groups: what they mark. */
import type { FileShow } from "../../ops/show/file-kind.js";

/** More marks are counted. */
const mostMarks = 3;
const words = { inode: "", mount: "mount ", file_system: "file system " } as const;

export const show: FileShow = {
  describe: ({ tables }, file) => {
    const row = tables.files.indexOf(file);
    const marks = tables.fanotifyMarks.filter((mark) => mark.file === row);
    const paths = marks.slice(0, mostMarks).map(({ kind, object }) => `${words[kind]}${tables.objects[object]?.path || "?"}`);
    const more = marks.length > mostMarks ? `, and ${marks.length - mostMarks} more` : "";
    return `fanotify${paths.length === 0 ? "" : ` marks ${paths.join(", ")}${more}`}`;
  },
};
