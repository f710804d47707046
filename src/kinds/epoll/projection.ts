// SPDX-License-Identifier: Apache-2.0
/** Busy polling, and the items: number, mask, data, and the kind of what is watched. */
import type { FileProjection } from "../../../test/support/file-kind.js";

export const projection: FileProjection = ({ tables }, file) => ({
  parameters: tables.epollParameters.filter(({ epoll }) => tables.files[epoll] === file).map(({ epoll: _, ...parameters }) => parameters),
  items: tables.epollWatches
    .filter(({ epoll }) => tables.files[epoll] === file)
    .map(({ fd, events, data, file: watched }) => ({ fd, events, data, watches: watched === null ? null : tables.files[watched]?.kind })),
});
