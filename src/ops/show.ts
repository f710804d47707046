// SPDX-License-Identifier: Apache-2.0
/** crimg show: one pass over the model collects what a section is about; text and JSON both render that. */
import type { ContainerFacts } from "../adapter/container-facts.js";
import { CrimgError } from "../errors/crimg-error.js";
import { pipes } from "../kinds/pipe/show.js";
import { sockets } from "../kinds/socket/show.js";
import type { Checkpoint } from "../model/checkpoint.js";
import type { SectionName, ShowDocument } from "./show/document.js";
import type { Scope } from "./show/scope.js";
import { fds, files } from "./show/section-descriptors.js";
import { grep, mem, strings } from "./show/section-content.js";
import { signals, timers } from "./show/section-events.js";
import { containerBlocks, containerJson } from "./show/section-container.js";
import { overview } from "./show/section-overview.js";
import { namespaces } from "./show/section-namespaces.js";
import { auxv, env, program } from "./show/section-program.js";
import { ipc } from "./show/section-ipc.js";
import { maps, pages } from "./show/section-memory.js";
import { state } from "./show/section-state.js";
import { type Section, creds, limits, regs, threads, tree } from "./show/section-tasks.js";

export { sectionNames, type SectionName, type ShowDocument } from "./show/document.js";
export { renderText } from "./show/render-text.js";
export { renderJson } from "./show/render-json.js";

export interface ShowOptions {
  /** For the heading. */
  readonly source: string;
  /** Format id. */
  readonly format: string;
  readonly section: SectionName;
  /** Only this process. */
  readonly pid?: number;
  /** The address of `mem`, the pattern of `grep`, the length of `strings`. */
  readonly operand?: string;
  /** The overview also says whether it would resume here. */
  readonly checkHost?: boolean;
  /** What an engine wrote beside the checkpoint of a container, for the overview. */
  readonly container?: ContainerFacts;
}

const sections: Readonly<Record<SectionName, (scope: Scope, options: ShowOptions) => Section>> = {
  overview,
  tree,
  threads,
  regs,
  maps,
  pages,
  files,
  fds,
  pipes,
  sockets,
  ipc,
  signals,
  timers,
  creds,
  limits,
  state,
  env,
  auxv,
  program: (scope, { source }) => program(scope, source),
  namespaces,
  mem: (scope, { operand }) => mem(scope, operand),
  strings: (scope, { operand }) => strings(scope, operand),
  grep: (scope, { operand }) => grep(scope, operand),
};

/** Collects a section. Throws CrimgError `show.no-such-pid`. */
export function collect(checkpoint: Checkpoint, options: ShowOptions): ShowDocument {
  const all = checkpoint.tables.tasks.map((_, index) => index);
  const tasks = options.pid === undefined ? all : all.filter((index) => checkpoint.tables.tasks[index]?.pid === options.pid);
  if (options.pid !== undefined && tasks.length === 0) {
    const pids = checkpoint.tables.tasks
      .slice(0, 8)
      .map((task) => task.pid)
      .join(", ");
    throw new CrimgError("show.no-such-pid", `${options.source} holds no process ${options.pid}`, {
      source: options.source,
      hint: `it holds ${pids}${checkpoint.tables.tasks.length > 8 ? ", …" : ""}`,
    });
  }
  const { blocks, selected, values, found } = sections[options.section]({ checkpoint, tasks, isTree: tasks.length > 1 }, options);
  const { container } = options;
  return {
    source: options.source,
    format: options.format,
    section: options.section,
    ...(options.pid === undefined ? {} : { pid: options.pid }),
    blocks: container === undefined ? blocks : [...blocks.slice(0, 1), ...containerBlocks(container), ...blocks.slice(1)],
    selected,
    ...(container === undefined ? {} : { container: containerJson(container) }),
    ...(values === undefined ? {} : { values }),
    ...(found === undefined ? {} : { found }),
  };
}
