// SPDX-License-Identifier: Apache-2.0
/** The dump of every kind of open file. */
import type { FileKind } from "../../gen/tables.js";
import { dump as epoll } from "../../kinds/epoll/dump.js";
import { dump as eventfd } from "../../kinds/eventfd/dump.js";
import { dump as fanotify } from "../../kinds/fanotify/dump.js";
import { dump as io_uring } from "../../kinds/io_uring/dump.js";
import { dump as inherited } from "../../kinds/inherited/dump.js";
import { dump as inotify } from "../../kinds/inotify/dump.js";
import { dump as memfd } from "../../kinds/memfd/dump.js";
import { dump as mqueue } from "../../kinds/mqueue/dump.js";
import { dump as path } from "../../kinds/path/dump.js";
import { dump as pidfd } from "../../kinds/pidfd/dump.js";
import { dump as pipe } from "../../kinds/pipe/dump.js";
import { dump as pty } from "../../kinds/pty/dump.js";
import { dump as signalfd } from "../../kinds/signalfd/dump.js";
import { dump as socket } from "../../kinds/socket/dump.js";
import { dump as timerfd } from "../../kinds/timerfd/dump.js";
import { dump as tty } from "../../kinds/tty/dump.js";
import type { DerivedKind, FileDump } from "./kind.js";

export const fileDumps: Readonly<Record<FileKind, FileDump | DerivedKind>> = {
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
