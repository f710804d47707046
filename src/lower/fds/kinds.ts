// SPDX-License-Identifier: Apache-2.0
/** The lowering of every kind of open file. In this order they are opened. */
import type { FileKind } from "../../gen/tables.js";
import { lowering as epoll } from "../../kinds/epoll/lower.js";
import { lowering as eventfd } from "../../kinds/eventfd/lower.js";
import { lowering as fanotify } from "../../kinds/fanotify/lower.js";
import { lowering as io_uring } from "../../kinds/io_uring/lower.js";
import { lowering as inherited } from "../../kinds/inherited/lower.js";
import { lowering as inotify } from "../../kinds/inotify/lower.js";
import { lowering as memfd } from "../../kinds/memfd/lower.js";
import { lowering as mqueue } from "../../kinds/mqueue/lower.js";
import { lowering as path } from "../../kinds/path/lower.js";
import { lowering as pidfd } from "../../kinds/pidfd/lower.js";
import { lowering as pipe } from "../../kinds/pipe/lower.js";
import { lowering as pty } from "../../kinds/pty/lower.js";
import { lowering as signalfd } from "../../kinds/signalfd/lower.js";
import { lowering as socket } from "../../kinds/socket/lower.js";
import { lowering as timerfd } from "../../kinds/timerfd/lower.js";
import { lowering as tty } from "../../kinds/tty/lower.js";
import type { FileLowering } from "./kind.js";

export const fileLowerings: Readonly<Record<FileKind, FileLowering>> = {
  path,
  memfd,
  eventfd,
  timerfd,
  signalfd,
  inotify,
  fanotify,
  io_uring,
  epoll,
  tty,
  pty,
  inherited,
  mqueue,
  pidfd,
  pipe,
  socket,
};
