// SPDX-License-Identifier: Apache-2.0
/** Random files of every kind, and what is compared of them. */
import type { FileKind } from "../../src/gen/tables.js";
import { arbitrary as epoll } from "../../src/kinds/epoll/arbitrary.js";
import { arbitrary as eventfd } from "../../src/kinds/eventfd/arbitrary.js";
import { arbitrary as fanotify } from "../../src/kinds/fanotify/arbitrary.js";
import { arbitrary as io_uring } from "../../src/kinds/io_uring/arbitrary.js";
import { arbitrary as inherited } from "../../src/kinds/inherited/arbitrary.js";
import { arbitrary as inotify } from "../../src/kinds/inotify/arbitrary.js";
import { arbitrary as memfd } from "../../src/kinds/memfd/arbitrary.js";
import { arbitrary as mqueue } from "../../src/kinds/mqueue/arbitrary.js";
import { arbitrary as path } from "../../src/kinds/path/arbitrary.js";
import { arbitrary as pidfd } from "../../src/kinds/pidfd/arbitrary.js";
import { arbitrary as pipe } from "../../src/kinds/pipe/arbitrary.js";
import { arbitrary as pty } from "../../src/kinds/pty/arbitrary.js";
import { arbitrary as signalfd } from "../../src/kinds/signalfd/arbitrary.js";
import { arbitrary as socket } from "../../src/kinds/socket/arbitrary.js";
import { arbitrary as timerfd } from "../../src/kinds/timerfd/arbitrary.js";
import { arbitrary as tty } from "../../src/kinds/tty/arbitrary.js";
import { projection as epollProjection } from "../../src/kinds/epoll/projection.js";
import { projection as eventfdProjection } from "../../src/kinds/eventfd/projection.js";
import { projection as fanotifyProjection } from "../../src/kinds/fanotify/projection.js";
import { projection as ioUringProjection } from "../../src/kinds/io_uring/projection.js";
import { projection as inheritedProjection } from "../../src/kinds/inherited/projection.js";
import { projection as inotifyProjection } from "../../src/kinds/inotify/projection.js";
import { projection as memfdProjection } from "../../src/kinds/memfd/projection.js";
import { projection as mqueueProjection } from "../../src/kinds/mqueue/projection.js";
import { projection as pathProjection } from "../../src/kinds/path/projection.js";
import { projection as pidfdProjection } from "../../src/kinds/pidfd/projection.js";
import { projection as pipeProjection } from "../../src/kinds/pipe/projection.js";
import { projection as ptyProjection } from "../../src/kinds/pty/projection.js";
import { projection as signalfdProjection } from "../../src/kinds/signalfd/projection.js";
import { projection as socketProjection } from "../../src/kinds/socket/projection.js";
import { projection as timerfdProjection } from "../../src/kinds/timerfd/projection.js";
import { projection as ttyProjection } from "../../src/kinds/tty/projection.js";
import type { FileArbitrary, FileProjection } from "./file-kind.js";

export const fileArbitraries: Readonly<Record<FileKind, FileArbitrary>> = {
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

export const fileProjections: Readonly<Record<FileKind, FileProjection>> = {
  path: pathProjection,
  pipe: pipeProjection,
  pty: ptyProjection,
  socket: socketProjection,
  eventfd: eventfdProjection,
  epoll: epollProjection,
  timerfd: timerfdProjection,
  signalfd: signalfdProjection,
  inotify: inotifyProjection,
  fanotify: fanotifyProjection,
  io_uring: ioUringProjection,
  memfd: memfdProjection,
  inherited: inheritedProjection,
  mqueue: mqueueProjection,
  pidfd: pidfdProjection,
  tty: ttyProjection,
};
