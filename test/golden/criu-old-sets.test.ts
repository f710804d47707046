// SPDX-License-Identifier: Apache-2.0
/** Sets in the forms of CRIU 3.0 to 4.1 say the same as today's. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FdinfoEntrySchema, FileEntrySchema, TtyInfoSchema } from "../../formats/criu/gen/files_pb.js";
import { PagemapEntrySchema } from "../../formats/criu/gen/memory_pb.js";
import { RemapFilePathSchema } from "../../formats/criu/gen/payload_pb.js";
import { fileType } from "../../formats/criu/map/file-types.js";
import { open } from "../../src/index.js";
import { Checkpoint } from "../../src/model/checkpoint.js";
import { readSet, writeSet } from "../support/criu.js";
import {
  copySet,
  messagesOf,
  unknownFile,
  withFilesByKind,
  withNarrowCounts,
  withoutMemoryFiles,
  withoutThreadNames,
  withSeparateActions,
  withSharedPathIds,
  writeImage,
} from "../support/old-criu-set.js";
import { temporaryDirectory } from "../support/processes.js";
import { fixtures } from "../support/project.js";

const fixture = (name: string): string => join(fixtures, "criu", name);

/** Everything but what is kept for CRIU alone, dates and the number of shared memory. */
function said(checkpoint: Checkpoint): unknown {
  const { foreign: _, ...tables } = checkpoint.tables;
  const plain = {
    ...tables,
    checkpoint: tables.checkpoint.map((row) => ({ ...row, createdNs: 0n })),
    objects: tables.objects.map((row) =>
      row.kind === "shared_memory" ? { ...row, uid: 0, gid: 0, seals: 0, memfdFlags: 0, ino: 0n, mode: 0 } : row,
    ),
  };
  return JSON.parse(
    JSON.stringify(plain, (_key, value: unknown) =>
      typeof value === "bigint" ? `${value}` : value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value,
    ),
  );
}

const forms = [
  ["4.1", [withNarrowCountsOnly]],
  ["3.13", [withNarrowCountsOnly, withoutMemoryFiles]],
  ["3.10", [withNarrowCountsOnly, withoutMemoryFiles, withoutThreadNames]],
  ["3.4", [withoutFlags, withoutMemoryFiles, withoutThreadNames, withSharedPathIds]],
  ["3.3", [withoutFlags, withoutMemoryFiles, withoutThreadNames, withSharedPathIds, withFilesByKind]],
  ["3.0", [withoutFlags, withoutMemoryFiles, withoutThreadNames, withSharedPathIds, withFilesByKind, withSeparateActions]],
] as const;

function withNarrowCountsOnly(set: string): void {
  withNarrowCounts(set, true);
}

function withoutFlags(set: string): void {
  withNarrowCounts(set, false);
}

for (const name of ["single", "ctree", "live", "threads4"]) {
  for (const [version, changes] of forms) {
    test(`${name} in the form of ${version}`, async (t) => {
      const set = join(temporaryDirectory(t), "set");
      copySet(fixture(name), set);
      for (const change of changes) change(set);
      const losses: string[] = [];
      const [now, then] = [await readSet(fixture(name)), await readSet(set, losses)];
      t.after(() => [now, then].forEach((one) => one.close()));
      assert.deepEqual(losses, []);
      const isNameless = changes.some((change) => change === withoutThreadNames);
      const threads = now.tables.threads.map((thread) => ({
        ...thread,
        comm: now.tables.threads.find(({ task }) => task === thread.task)?.comm ?? "",
      }));
      const expected = isNameless ? new Checkpoint({ tables: { ...now.tables, threads }, sources: [] }) : now;
      assert.deepEqual(said(then), said(expected));
      // What is written is of today's form, and says the same again.
      const again = join(set, "../again");
      await writeSet(then, again);
      assert.ok(existsSync(join(again, "files.img")));
      assert.deepEqual(
        readdirSync(again).filter((one) => /^(reg-files|pipes|unixsk|eventfd|sigacts-\d+)\.img$/.test(one)),
        [],
      );
      const twice = await readSet(again);
      assert.deepEqual(said(twice), said(then));
      twice.close();
    });
  }
}

test("maps keep the width of their counts; a set from elsewhere has both", async (t) => {
  const directory = temporaryDirectory(t);
  const set = join(directory, "set");
  copySet(fixture("single"), set);
  withNarrowCounts(set, true);
  const counts = (path: string): readonly [number, bigint][] =>
    messagesOf(join(path, "pagemap-504.img"))
      .slice(1)
      .map((bytes) => fromBinary(PagemapEntrySchema, bytes))
      .map((entry) => [entry.compatNrPages, entry.nrPages]);
  const checkpoint = await readSet(set);
  t.after(() => checkpoint.close());
  await writeSet(checkpoint, join(directory, "narrow"));
  assert.deepEqual(counts(join(directory, "narrow")), counts(set));
  const tables = { ...checkpoint.tables, foreign: [] };
  await writeSet(new Checkpoint({ tables, sources: checkpoint.sources }), join(directory, "both"));
  for (const [narrow, wide] of counts(join(directory, "both"))) {
    assert.ok(narrow > 0);
    assert.equal(BigInt(narrow), wide);
  }
});

test("a FIFO and a terminal that share their ids with their paths", async (t) => {
  const set = join(temporaryDirectory(t), "set");
  copySet(fixture("single"), set);
  withoutMemoryFiles(set);
  const files = messagesOf(join(set, "files.img"));
  const entries = files.map((bytes) => fromBinary(FileEntrySchema, bytes));
  const descriptors = messagesOf(join(set, "fdinfo-2.img")).map((bytes) => fromBinary(FdinfoEntrySchema, bytes));
  const opened = descriptors.filter(({ id, fd }) => fd > 2 && entries.some((entry) => entry.id === id && entry.reg));
  const [fifo, tty] = opened;
  assert.ok(fifo && tty && fifo.id !== tty.id);
  fifo.type = fileType.fifo;
  tty.type = fileType.tty;
  const added = [
    create(FileEntrySchema, { type: fileType.fifo, id: fifo.id, fifo: { id: fifo.id, pipeId: 77 } }),
    create(FileEntrySchema, {
      type: fileType.tty,
      id: tty.id,
      tty: { id: tty.id, ttyInfoId: 5, flags: 2, fown: { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 } },
    }),
  ];
  writeImage(join(set, "files.img"), "files", [...files, ...added.map((entry) => toBinary(FileEntrySchema, entry))]);
  writeImage(
    join(set, "fdinfo-2.img"),
    "fdinfo",
    descriptors.map((entry) => toBinary(FdinfoEntrySchema, entry)),
  );
  const tty5 = { id: 5, type: 3, locked: false, exclusive: false, packetMode: false, sid: 0, pgrp: 0, rdev: 0 };
  writeImage(join(set, "tty-info.img"), "tty-info", [toBinary(TtyInfoSchema, create(TtyInfoSchema, tty5))]);
  writeImage(join(set, "remap-fpath.img"), "remap-fpath", [
    toBinary(RemapFilePathSchema, create(RemapFilePathSchema, { origId: fifo.id, remapId: 9, remapType: 2 })),
  ]);
  withFilesByKind(set);
  const checkpoint = await readSet(set);
  t.after(() => checkpoint.close());
  const { tables } = checkpoint;
  const pathOf = (id: number): string => Buffer.from(entries.find((entry) => entry.id === id)?.reg?.name ?? []).toString();
  const fileAt = (fd: number): { kind: string | undefined; path: string | undefined } => {
    const file = tables.files[tables.descriptors.find((row) => row.fd === fd)?.file ?? -1];
    return { kind: file?.kind, path: tables.objects[file?.object ?? -1]?.path };
  };
  assert.deepEqual(fileAt(fifo.fd), { kind: "pipe", path: pathOf(fifo.id) });
  // Type 3 is a virtual terminal: a terminal of the machine.
  assert.deepEqual(fileAt(tty.fd), { kind: "pty", path: pathOf(tty.id) });
  assert.deepEqual(
    tables.terminals.map(({ kind }) => kind),
    ["device"],
  );
  // Written anew, each entry has an id of its own, and the remap follows the path.
  const again = join(set, "../again");
  await writeSet(checkpoint, again);
  const written = messagesOf(join(again, "files.img")).map((bytes) => fromBinary(FileEntrySchema, bytes));
  assert.equal(new Set(written.map(({ id }) => id)).size, written.length);
  const pathId = written.find(({ fifo: one }) => one)?.fifo?.regfId ?? 0;
  assert.equal(Buffer.from(written.find(({ id }) => id === pathId)?.reg?.name ?? []).toString(), pathOf(fifo.id));
  const [remap] = messagesOf(join(again, "remap-fpath.img")).map((bytes) => fromBinary(RemapFilePathSchema, bytes));
  assert.equal(remap?.origId, pathId);
});

test("kinds of files without a place in the model come through from an image of their own", async (t) => {
  const set = join(temporaryDirectory(t), "set");
  copySet(fixture("single"), set);
  withoutMemoryFiles(set);
  const files = messagesOf(join(set, "files.img"));
  const descriptors = messagesOf(join(set, "fdinfo-2.img"));
  files.push(Buffer.from(unknownFile(7, fileType.netlinkSocket, 501, "netlink")), Buffer.from(unknownFile(11, fileType.tun, 502, "tun")));
  for (const [id, type, fd] of [
    [501, fileType.netlinkSocket, 90],
    [502, fileType.tun, 91],
  ] as const) {
    descriptors.push(Buffer.from(toBinary(FdinfoEntrySchema, create(FdinfoEntrySchema, { id, type, fd, flags: 0 }))));
  }
  writeImage(join(set, "files.img"), "files", files);
  writeImage(join(set, "fdinfo-2.img"), "fdinfo", descriptors);
  withFilesByKind(set);
  const losses: string[] = [];
  const checkpoint = await readSet(set, losses);
  t.after(() => checkpoint.close());
  assert.deepEqual(losses, ["fd 90 of 504 (netlinkSocket) is kept for CRIU only.", "fd 91 of 504 (tun) is kept for CRIU only."]);
  await writeSet(checkpoint, join(set, "../again"));
  const written = messagesOf(join(set, "../again/files.img"));
  for (const bytes of files.slice(-2)) assert.ok(written.some((one) => one.equals(bytes)));
});

test("the unpacked checkpoint of a container engine is recognised", async (t) => {
  const directory = temporaryDirectory(t);
  copySet(fixture("single"), join(directory, "checkpoint"));
  writeFileSync(join(directory, "config.dump"), "{}");
  const checkpoint = await open(directory);
  assert.deepEqual(
    checkpoint.tasks.map(({ pid }) => pid),
    [504],
  );
  checkpoint.close();
});

test("what only CRIU can bring back is told", async (t) => {
  const set = join(temporaryDirectory(t), "set");
  copySet(fixture("single"), set);
  writeImage(join(set, "filelocks.img"), "filelocks", [Buffer.from([8, 1]), Buffer.from([8, 2])]);
  const losses: string[] = [];
  (await readSet(set, losses)).close();
  assert.deepEqual(losses, ["2 file locks are kept for CRIU only."]);
});
