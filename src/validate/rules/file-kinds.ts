// SPDX-License-Identifier: Apache-2.0
/** The validation of every kind of open file. */
import type { FileKind } from "../../gen/tables.js";
import { validation as epoll } from "../../kinds/epoll/validate.js";
import { validation as eventfd } from "../../kinds/eventfd/validate.js";
import { validation as fanotify } from "../../kinds/fanotify/validate.js";
import { validation as io_uring } from "../../kinds/io_uring/validate.js";
import { validation as inherited } from "../../kinds/inherited/validate.js";
import { validation as inotify } from "../../kinds/inotify/validate.js";
import { validation as memfd } from "../../kinds/memfd/validate.js";
import { validation as mqueue } from "../../kinds/mqueue/validate.js";
import { validation as path } from "../../kinds/path/validate.js";
import { validation as pidfd } from "../../kinds/pidfd/validate.js";
import { validation as pipe } from "../../kinds/pipe/validate.js";
import { validation as pty } from "../../kinds/pty/validate.js";
import { validation as signalfd } from "../../kinds/signalfd/validate.js";
import { validation as socket } from "../../kinds/socket/validate.js";
import { validation as timerfd } from "../../kinds/timerfd/validate.js";
import { validation as tty } from "../../kinds/tty/validate.js";
import type { FileValidation } from "./file-kind.js";

export const fileValidations: Readonly<Record<FileKind, FileValidation>> = {
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
