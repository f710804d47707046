// SPDX-License-Identifier: Apache-2.0
/** What is lost of every kind of open file in the narrower formats. */
import type { FileKind } from "../gen/tables.js";
import { losses as epoll } from "../kinds/epoll/losses.js";
import { losses as eventfd } from "../kinds/eventfd/losses.js";
import { losses as fanotify } from "../kinds/fanotify/losses.js";
import { losses as io_uring } from "../kinds/io_uring/losses.js";
import { losses as inherited } from "../kinds/inherited/losses.js";
import { losses as inotify } from "../kinds/inotify/losses.js";
import { losses as memfd } from "../kinds/memfd/losses.js";
import { losses as mqueue } from "../kinds/mqueue/losses.js";
import { losses as path } from "../kinds/path/losses.js";
import { losses as pidfd } from "../kinds/pidfd/losses.js";
import { losses as pipe } from "../kinds/pipe/losses.js";
import { losses as pty } from "../kinds/pty/losses.js";
import { losses as signalfd } from "../kinds/signalfd/losses.js";
import { losses as socket } from "../kinds/socket/losses.js";
import { losses as timerfd } from "../kinds/timerfd/losses.js";
import { losses as tty } from "../kinds/tty/losses.js";
import type { FileLosses } from "./file-kind.js";

export const fileLosses: Readonly<Record<FileKind, FileLosses>> = {
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
