// SPDX-License-Identifier: Apache-2.0
/** How every kind of open file is shown. */
import type { FileKind, OpenFileRow } from "../../gen/tables.js";
import { show as epoll } from "../../kinds/epoll/show.js";
import { show as eventfd } from "../../kinds/eventfd/show.js";
import { show as fanotify } from "../../kinds/fanotify/show.js";
import { show as io_uring } from "../../kinds/io_uring/show.js";
import { show as inherited } from "../../kinds/inherited/show.js";
import { show as inotify } from "../../kinds/inotify/show.js";
import { show as memfd } from "../../kinds/memfd/show.js";
import { show as mqueue } from "../../kinds/mqueue/show.js";
import { show as path } from "../../kinds/path/show.js";
import { show as pidfd } from "../../kinds/pidfd/show.js";
import { show as pipe } from "../../kinds/pipe/show.js";
import { show as pty } from "../../kinds/pty/show.js";
import { show as signalfd } from "../../kinds/signalfd/show.js";
import { show as socket } from "../../kinds/socket/show.js";
import { show as timerfd } from "../../kinds/timerfd/show.js";
import { show as tty } from "../../kinds/tty/show.js";
import type { Checkpoint } from "../../model/checkpoint.js";
import type { FileShow } from "./file-kind.js";
import { objectText } from "./scope.js";

const fileShows: Readonly<Record<FileKind, FileShow>> = {
  path,
  pipe,
  pty,
  socket,
  eventfd,
  epoll,
  timerfd,
  signalfd,
  inotify,
  fanotify,
  io_uring,
  memfd,
  inherited,
  mqueue,
  pidfd,
  tty,
};

/** What an open file description is, in a few words. */
export function fileText(checkpoint: Checkpoint, file: OpenFileRow | undefined): string {
  if (file === undefined) return "-";
  const show = fileShows[file.kind];
  return file.object === null || show.saysMore ? show.describe(checkpoint, file) : objectText(checkpoint.tables.objects[file.object]);
}
