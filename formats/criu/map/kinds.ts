// SPDX-License-Identifier: Apache-2.0
/** CRIU's mapping of every kind of open file. */
import type { FileKind } from "../../../src/gen/tables.js";
import { mapping as epoll } from "../../../src/kinds/epoll/criu.js";
import { mapping as eventfd } from "../../../src/kinds/eventfd/criu.js";
import { mapping as fanotify } from "../../../src/kinds/fanotify/criu.js";
import { mapping as io_uring } from "../../../src/kinds/io_uring/criu.js";
import { mapping as inherited } from "../../../src/kinds/inherited/criu.js";
import { mapping as inotify } from "../../../src/kinds/inotify/criu.js";
import { mapping as memfd } from "../../../src/kinds/memfd/criu.js";
import { mapping as mqueue } from "../../../src/kinds/mqueue/criu.js";
import { mapping as path } from "../../../src/kinds/path/criu.js";
import { mapping as pidfd } from "../../../src/kinds/pidfd/criu.js";
import { mapping as pipe } from "../../../src/kinds/pipe/criu.js";
import { mapping as pty } from "../../../src/kinds/pty/criu.js";
import { mapping as signalfd } from "../../../src/kinds/signalfd/criu.js";
import { mapping as socket } from "../../../src/kinds/socket/criu.js";
import { mapping as timerfd } from "../../../src/kinds/timerfd/criu.js";
import { mapping as tty } from "../../../src/kinds/tty/criu.js";
import type { FileMapping } from "./kind.js";

export const fileMappings: Readonly<Record<FileKind, FileMapping>> = {
  path,
  pipe,
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
  // Before tty, which takes every terminal that is left.
  pty,
  tty,
};
