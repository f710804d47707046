// SPDX-License-Identifier: Apache-2.0
/** Threads of a minidump in the words of a core. */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import { assertRange, type RandomBytes } from "../../src/bytes/random-bytes.js";
import { ByteWriter } from "../../src/bytes/byte-writer.js";
import { prstatus, writePrstatus } from "../../src/gen/core-notes.js";
import {
  type ContextAmd64,
  contextAmd64Size,
  exceptionSize,
  readContextAmd64,
  readException,
  readThread,
  streamException,
  streamThreadList,
  threadSize,
} from "../../src/gen/minidump.js";
import { gpregs, type Gpregs } from "../../src/gen/x86-64-regs.js";
import type { CoreThread } from "../core/process-notes.js";
import type { Streams } from "./streams.js";

/** XMM_SAVE_AREA32 follows the record: an FXSAVE area. */
const fxsaveSize = 512;

export interface Ids {
  readonly ppid: number;
  readonly pgrp: number;
  readonly sid: number;
}

/** In the order of the file, but those with an exception's signal first. Throws CrimgError `bytes.*`. */
export function readThreads(streams: Streams, file: RandomBytes, ids: Ids): CoreThread[] {
  const signals = new Map<number, number>();
  for (const reader of streams.all(streamException, "exception")) {
    reader.need(exceptionSize, "exception");
    const { threadId, code } = readException(reader);
    if (code > 0 && code <= 64) signals.set(threadId, code);
  }
  const threads: CoreThread[] = [];
  const reader = streams.one(streamThreadList, "thread_list");
  const count = reader ? reader.count(reader.u4(), threadSize, "num_threads") : 0;
  const seen = new Set<number>();
  for (let index = 0; reader && index < count; index++) {
    reader.enter("thread_list", index);
    const { threadId, lenContext, ofsContext } = readThread(reader);
    if (seen.has(threadId))
      throw reader.error("minidump.thread-twice", `thread ${threadId} stands twice in the list`, reader.pos - threadSize);
    seen.add(threadId);
    const place = `thread_list[${index}].context`;
    assertRange(file.name, file.size, BigInt(ofsContext), BigInt(lenContext), place);
    const length = Math.min(lenContext, contextAmd64Size + fxsaveSize);
    const bytes = file.read(BigInt(ofsContext), length);
    const context = new ByteReader(bytes, { source: file.name, format: "minidump", base: BigInt(ofsContext), path: place });
    context.need(contextAmd64Size, place);
    const regs = registersOf(readContextAmd64(context));
    const signal = signals.get(threadId) ?? 0;
    const status = prstatus({
      siSigno: signal,
      cursig: signal,
      pid: threadId,
      ppid: ids.ppid,
      pgrp: ids.pgrp,
      sid: ids.sid,
      regs,
      fpvalid: 1,
    });
    const writer = new ByteWriter(336);
    writePrstatus(writer, status);
    const area = bytes.subarray(contextAmd64Size);
    const isFilled = area.length === fxsaveSize && area.some((byte) => byte !== 0);
    threads.push({ prstatus: status, prstatusBytes: writer.finish(), ...(isFilled && { fpregset: area }) });
  }
  return threads;
}

/** Selectors and flags that the writer left out (all ones, or 0) are those of any 64-bit program. */
function registersOf(context: ContextAmd64): Gpregs {
  const isCode = context.cs === 0x33;
  return gpregs({
    r15: context.r15,
    r14: context.r14,
    r13: context.r13,
    r12: context.r12,
    bp: context.rbp,
    bx: context.rbx,
    r11: context.r11,
    r10: context.r10,
    r9: context.r9,
    r8: context.r8,
    ax: context.rax,
    cx: context.rcx,
    dx: context.rdx,
    si: context.rsi,
    di: context.rdi,
    // A minidump does not tell whether a thread is in a system call.
    origAx: (1n << 64n) - 1n,
    ip: context.rip,
    cs: 0x33n,
    flags: isCode && context.eflags !== 0xffffffff ? BigInt(context.eflags) | 2n : 0x202n,
    sp: context.rsp,
    ss: 0x2bn,
  });
}
