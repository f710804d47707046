// SPDX-License-Identifier: Apache-2.0
/** Image sets that are wrong: each ends in an error that says where, and leaves nothing behind. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import {
  clearField,
  create,
  type DescMessage,
  fromBinary,
  isFieldSet,
  type Message,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { pack } from "tar-stream";
import { format } from "../../formats/criu/index.js";
import { missingField } from "../../formats/criu/wire/required.js";
import { registry } from "../../formats/registry.js";
import { validate } from "../../src/ops/validate.js";
import { CoreEntrySchema, TaskCoreSchema } from "../../formats/criu/gen/core_pb.js";
import { FdinfoEntrySchema } from "../../formats/criu/gen/files_pb.js";
import { MmEntrySchema, PagemapEntrySchema, PagemapHeadSchema } from "../../formats/criu/gen/memory_pb.js";
import { TreeEntrySchema } from "../../formats/criu/gen/tree_pb.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { readSet } from "../support/criu.js";
import { temporaryDirectory } from "../support/processes.js";
import { fixtures } from "../support/project.js";

// What these tests count is theirs alone: other runs beside them unpack archives too.
process.env["TMPDIR"] = mkdtempSync(join(tmpdir(), "crimg-test-"));
process.on("exit", () => rmSync(tmpdir(), { recursive: true, force: true }));

/** A copy of a fixture's images. */
function copyOf(t: TestContext, fixture: string): string {
  const source = join(fixtures, "criu", fixture);
  const target = join(temporaryDirectory(t), "set");
  mkdirSync(target);
  for (const name of readdirSync(source).filter((one) => /\.img$|^stats-dump$/.test(one)))
    writeFileSync(join(target, name), readFileSync(join(source, name))); // writable, whatever the fixture is
  return target;
}

/** Expects reading to fail; returns the error. */
async function failure(path: string): Promise<CrimgError> {
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith("crimg-criu-"));
  const error = await readSet(path).then(
    (checkpoint) => {
      checkpoint.close();
      assert.fail("it was read");
    },
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof CrimgError, String(error));
  assert.equal(error.format, "criu");
  assert.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith("crimg-criu-")),
    before,
  );
  return error;
}

interface Entry {
  readonly schema: DescMessage;
  readonly message: MessageShape<DescMessage>;
}

/** Rewrites an image whose entries have the given types (the last one repeats). */
function edit(path: string, schemas: readonly DescMessage[], change: (messages: MessageShape<DescMessage>[]) => void): void {
  const bytes = readFileSync(path);
  const entries: Entry[] = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const schema = schemas[Math.min(entries.length, schemas.length - 1)] as DescMessage;
    entries.push({ schema, message: fromBinary(schema, bytes.subarray(at + 4, at + 4 + length)) });
    at += 4 + length;
  }
  const messages = entries.map((entry) => entry.message);
  change(messages);
  const pieces = messages.map((message, index) => {
    const body = toBinary(schemas[Math.min(index, schemas.length - 1)] as DescMessage, message);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(body.length);
    return Buffer.concat([length, body]);
  });
  writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), ...pieces]));
}

test("a missing image is named", async (t) => {
  const set = copyOf(t, "ctree");
  unlinkSync(join(set, "core-596.img"));
  const error = await failure(set);
  assert.equal(error.code, "criu.open");
  assert.equal(error.source, join(set, "core-596.img"));
});

test("an image of another type is refused at its magic", async (t) => {
  const set = copyOf(t, "single");
  copyFileSync(join(set, "pstree.img"), join(set, "mm-504.img"));
  const error = await failure(set);
  assert.equal(error.code, "criu.magic");
  assert.equal(error.offset, 4n);
});

test("an entry longer than its file is refused before anything is allocated", async (t) => {
  const set = copyOf(t, "single");
  const bytes = readFileSync(join(set, "mm-504.img"));
  bytes.writeUInt32LE(0xffffffff, 8);
  writeFileSync(join(set, "mm-504.img"), bytes);
  const error = await failure(set);
  assert.equal(error.code, "criu.entry");
  assert.equal(error.offset, 8n);
});

test("a broken message is located to its field", async (t) => {
  const set = copyOf(t, "single");
  const bytes = readFileSync(join(set, "core-504.img"));
  // The length of thread_info (field 2) behind mtype.
  const at = bytes.indexOf(Buffer.from([0x08, 0x01, 0x12]));
  bytes[at + 3] = 0xff;
  bytes[at + 4] = 0x7f;
  writeFileSync(join(set, "core-504.img"), bytes);
  const error = await failure(set);
  assert.equal(error.path, "entry 0 thread_info");
  assert.equal(error.offset, BigInt(at + 2));
});

test("areas that overlap, and areas of part pages", async (t) => {
  const set = copyOf(t, "single");
  edit(join(set, "mm-504.img"), [MmEntrySchema], ([mm]) => {
    const { vmas } = mm as MessageShape<typeof MmEntrySchema>;
    if (vmas[1] && vmas[0]) vmas[1].start = vmas[0].start;
  });
  assert.equal((await failure(set)).path, "entry 0 vmas[1]");
  edit(join(set, "mm-504.img"), [MmEntrySchema], ([mm]) => {
    const { vmas } = mm as MessageShape<typeof MmEntrySchema>;
    if (vmas[1]) vmas[1].start += 1n;
  });
  assert.equal((await failure(set)).code, "criu.vma");
});

test("an area that maps a file nobody knows", async (t) => {
  const set = copyOf(t, "single");
  edit(join(set, "mm-504.img"), [MmEntrySchema], ([mm]) => {
    const { vmas } = mm as MessageShape<typeof MmEntrySchema>;
    if (vmas[0]) vmas[0].shmid = 4711n;
  });
  const error = await failure(set);
  assert.equal(error.code, "criu.file-id");
  assert.match(error.path ?? "", /vmas\[0\] shmid/);
});

test("a descriptor of a file nobody knows", async (t) => {
  const set = copyOf(t, "single");
  edit(join(set, "fdinfo-2.img"), [FdinfoEntrySchema], ([fdinfo]) => ((fdinfo as MessageShape<typeof FdinfoEntrySchema>).id = 999));
  const error = await failure(set);
  assert.equal(error.code, "criu.file-id");
  assert.equal(error.source, join(set, "fdinfo-2.img"));
});

test("a map with more pages than there are, and one out of order", async (t) => {
  const set = copyOf(t, "single");
  truncateSync(join(set, "pages-2.img"), 4096);
  assert.equal((await failure(set)).code, "criu.pages");
  const other = copyOf(t, "single");
  edit(join(other, "pagemap-504.img"), [PagemapHeadSchema, PagemapEntrySchema], (entries) =>
    entries.push(create(PagemapEntrySchema, { vaddr: 4096n, compatNrPages: 1, nrPages: 1n, flags: 4 })),
  );
  const error = await failure(other);
  assert.equal(error.code, "criu.pagemap");
  assert.match(error.path ?? "", /vaddr/);
});

test("every field that CRIU requires is missed, in every message of a real set, with its path", async (t) => {
  const set = copyOf(t, "threads4");
  const path = join(set, "core-547.img");
  const bytes = readFileSync(path);
  const fresh = () => fromBinary(CoreEntrySchema, bytes.subarray(12));
  assert.equal(missingField(CoreEntrySchema, fresh()), undefined);
  let count = 0;
  /** Leaves out each field below a message, which `find` finds in a fresh one. */
  const visit = (schema: DescMessage, find: () => [core: Message, part: Message], at: string): void => {
    for (const field of schema.fields.filter(({ fieldKind }) => fieldKind === "scalar" || fieldKind === "message")) {
      const [core, part] = find();
      if (!isFieldSet(part, field)) continue;
      const path = at === "" ? field.name : `${at}.${field.name}`;
      clearField(part, field);
      const missing = missingField(CoreEntrySchema, core);
      assert.ok(missing === undefined || missing === path, `${path}: ${missing}`);
      if (missing !== undefined) count++;
      if (field.message === undefined) continue;
      const step = (): [Message, Message] => {
        const [whole, outer] = find();
        return [whole, (outer as unknown as Record<string, Message>)[field.localName] as Message];
      };
      visit(field.message, step, path);
    }
  };
  const start = (): [Message, Message] => {
    const core = fresh();
    return [core, core];
  };
  visit(CoreEntrySchema, start, "");
  assert.ok(count > 50, String(count));
  const core = fresh();
  if (core.tc) clearField(core.tc, TaskCoreSchema.field.taskState);
  const body = toBinary(CoreEntrySchema, core);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  writeFileSync(path, Buffer.concat([bytes.subarray(0, 8), length, body]));
  const error = await failure(set);
  assert.equal(error.code, "criu.required");
  assert.match(error.path ?? "", /tc\.task_state/);
  assert.equal((await validate(path, { registry, profile: "format" })).findings.at(-1)?.code, "file.unreadable");
});

test("a map of pages without its head, and entries behind the one of an image", async (t) => {
  const set = copyOf(t, "single");
  const map = join(set, "pagemap-504.img");
  truncateSync(map, 8);
  assert.equal((await failure(set)).code, "criu.empty");
  assert.equal((await validate(map, { registry, profile: "format" })).findings.at(-1)?.code, "file.unreadable");
  const other = copyOf(t, "single");
  const core = join(other, "core-504.img");
  const bytes = readFileSync(core);
  writeFileSync(core, Buffer.concat([bytes, bytes.subarray(8)]));
  assert.equal((await failure(other)).code, "criu.trailing");
});

test("a tree whose parents come after their children, or never", async (t) => {
  const set = copyOf(t, "ctree");
  edit(join(set, "pstree.img"), [TreeEntrySchema], (entries) => ((entries[1] as MessageShape<typeof TreeEntrySchema>).ppid = 597));
  assert.equal((await failure(set)).code, "criu.tree");
});

test("images that are links, directories or FIFOs are not opened", async (t) => {
  for (const make of [
    (path: string) => symlinkSync("/etc/passwd", path),
    (path: string) => mkdirSync(path),
    (path: string) => assert.equal(spawnSync("mkfifo", [path]).status, 0),
  ]) {
    const set = copyOf(t, "single");
    unlinkSync(join(set, "files.img"));
    make(join(set, "files.img"));
    assert.equal((await failure(set)).code, "criu.open");
  }
});

/** Bytes of an address space as the model gives them. */
function pageAt(checkpoint: Checkpoint, address: bigint): Buffer {
  const extent = checkpoint.extentsOf({ mm: 0 }).find((one) => one.address <= address && address < one.address + one.length);
  assert.ok(extent);
  const page = Buffer.alloc(4096);
  checkpoint.sources[extent.source]?.read(extent.fileOffset + address - extent.address, page);
  return page;
}

test("pages that an incremental set leaves to its parent are found there", async (t) => {
  const parent = copyOf(t, "single");
  const child = join(parent, "../child");
  mkdirSync(child);
  for (const name of readdirSync(parent)) copyFileSync(join(parent, name), join(child, name));
  symlinkSync("../set", join(child, "parent"));
  // The last run with more than one page: all but its first page move to the parent.
  let moved = 0n;
  edit(join(child, "pagemap-504.img"), [PagemapHeadSchema, PagemapEntrySchema], (entries) => {
    const runs = entries.slice(1) as MessageShape<typeof PagemapEntrySchema>[];
    const at = runs.findLastIndex((run) => run.nrPages > 1n);
    const run = runs[at];
    assert.ok(run);
    const rest = create(PagemapEntrySchema, { vaddr: run.vaddr + 4096n, compatNrPages: 0, nrPages: run.nrPages - 1n, flags: 1 });
    moved = rest.vaddr;
    const skippedPages = runs.slice(0, at).reduce((sum, one) => sum + one.nrPages, 0n);
    const pages = readFileSync(join(child, "pages-2.img"));
    const from = Number(skippedPages + 1n) * 4096;
    writeFileSync(join(child, "pages-2.img"), Buffer.concat([pages.subarray(0, from), pages.subarray(from + Number(rest.nrPages) * 4096)]));
    run.nrPages = 1n;
    entries.splice(at + 2, 0, rest);
  });
  const [whole, incremental] = [await readSet(parent), await readSet(child)];
  assert.deepEqual(pageAt(incremental, moved), pageAt(whole, moved));
  assert.deepEqual(pageAt(incremental, moved - 4096n), pageAt(whole, moved - 4096n));
  whole.close();
  incremental.close();

  renameSync(parent, `${parent}-gone`);
  assert.equal((await failure(child)).code, "criu.parent");
  unlinkSync(join(child, "parent"));
  const error = await failure(child);
  assert.equal(error.code, "criu.parent");
  assert.match(error.hint ?? "", /incremental/);
  symlinkSync(".", join(child, "parent"));
  assert.match((await failure(child)).message, /without end/);
});

type Member = { name: string; type?: "file" | "symlink" | "link" | "directory"; linkname?: string; content?: Buffer };

/** A tar in memory. */
async function tarOf(members: readonly Member[]): Promise<Buffer> {
  const tar = pack();
  for (const { name, type = "file", linkname, content = Buffer.alloc(0) } of members)
    tar.entry({ name, type, linkname, size: content.length }, content);
  tar.finalize();
  const pieces: Buffer[] = [];
  for await (const piece of tar) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

const membersOf = (set: string, prefix: string): Member[] =>
  readdirSync(set).map((name) => ({ name: prefix + name, content: readFileSync(join(set, name)) }));

test("archives: plain, gzip and zstd, with or without a folder, are what the directory is", async (t) => {
  const set = copyOf(t, "ctree");
  const expected = await readSet(set);
  const directory = temporaryDirectory(t);
  for (const prefix of ["", "./", "checkpoint/", "./checkpoint/"]) {
    const tar = await tarOf([
      { name: `${prefix}config.dump`, content: Buffer.from("{}") },
      ...membersOf(set, prefix),
      { name: "rootfs-diff.tar", content: Buffer.alloc(100_000, 1) },
    ]);
    const path = join(directory, "archive");
    writeFileSync(path, tar);
    writeFileSync(`${path}.gz`, gzipSync(tar));
    const files = [path, `${path}.gz`];
    if (spawnSync("zstd", ["-q", "-f", path, "-o", `${path}.zst`]).status === 0) files.push(`${path}.zst`);
    for (const file of files) {
      const head = readFileSync(file).subarray(0, 65536);
      assert.ok(format.probe({ path: file, isDirectory: false, head, entries: [] }), file);
      const checkpoint = await readSet(file);
      const { foreign: _, checkpoint: __, ...tables } = checkpoint.tables;
      const { foreign: ___, checkpoint: ____, ...wanted } = expected.tables;
      assert.deepEqual(tables, wanted);
      assert.deepEqual(pageAt(checkpoint, 0x40b000n), pageAt(expected, 0x40b000n));
      checkpoint.close();
    }
  }
  expected.close();
  assert.deepEqual(
    readdirSync(tmpdir()).filter((name) => name.startsWith("crimg-criu-")),
    [],
  );
});

test("hostile members are refused, and nothing is written outside", async (t) => {
  const set = copyOf(t, "single");
  const directory = temporaryDirectory(t);
  const path = join(directory, "archive.tar");
  const good = membersOf(set, "");
  const cases: [string, Member[], RegExp][] = [
    [
      "a link in place of an image",
      [...good.filter(({ name }) => name !== "files.img"), { name: "files.img", type: "symlink", linkname: "/etc/passwd" }],
      /symlink/,
    ],
    [
      "a hard link",
      [...good.filter(({ name }) => name !== "files.img"), { name: "files.img", type: "link", linkname: "../../etc/passwd" }],
      /link/,
    ],
    ["the same image twice", [...good, good[0] as Member], /twice/],
    ["no set at all", [{ name: "checkpoint/core-1.img", content: Buffer.from("x") }], /inventory/],
    ["images everywhere", Array.from({ length: 100 }, (_, index) => ({ name: `d${index}/core-1.img` })), /directories/],
  ];
  for (const [what, members, message] of cases) {
    writeFileSync(path, await tarOf(members));
    const error = await failure(path);
    assert.equal(error.code, "criu.archive", what);
    assert.match(error.message, message, what);
  }
  // Names that point elsewhere count by their last component only, so that they land in the private directory.
  writeFileSync(
    path,
    await tarOf([...membersOf(set, "../../../../../../tmp/crimg-escaped/"), { name: "/etc/crimg-escaped.img", content: Buffer.from("x") }]),
  );
  const checkpoint = await readSet(path);
  checkpoint.close();
  assert.ok(!existsSync("/etc/crimg-escaped.img") && !existsSync("/tmp/crimg-escaped"));
});

test("a member that claims more bytes than there are, or than fit, is refused", async (t) => {
  const set = copyOf(t, "single");
  const path = join(temporaryDirectory(t), "archive.tar");
  const tar = await tarOf(membersOf(set, ""));
  writeFileSync(path, tar.subarray(0, tar.length - 20_000));
  assert.equal((await failure(path)).code, "criu.archive");
  // 8 EiB, in the base-256 form.
  const header = Buffer.from(tar.subarray(0, 512));
  header.fill(0, 124, 136);
  header[124] = 0x80;
  header[128] = 0x7f;
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  writeFileSync(path, Buffer.concat([header, tar.subarray(512)]));
  assert.equal((await failure(path)).code, "criu.archive");
});

test("compressed garbage, and a zstd window nobody needs", async (t) => {
  const path = join(temporaryDirectory(t), "archive");
  writeFileSync(path, gzipSync(Buffer.alloc(100_000, 7)).subarray(0, 60));
  assert.equal((await failure(path)).code, "criu.archive");
  writeFileSync(path, Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 1, 2, 3]));
  assert.match((await failure(path)).message, /window/);
  writeFileSync(path, Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 0x08, 1, 2, 3]));
  assert.equal((await failure(path)).code, "criu.archive");
  assert.equal(format.probe({ path, isDirectory: false, head: readFileSync(path), entries: [] }), false);
  rmSync(path);
});

test("reading a set reads no pages", async (t) => {
  const set = copyOf(t, "single");
  // A page file of 1 TiB of nothing costs nothing.
  edit(join(set, "pagemap-504.img"), [PagemapHeadSchema, PagemapEntrySchema], (entries) => {
    const last = entries.at(-1) as MessageShape<typeof PagemapEntrySchema>;
    last.nrPages = (1n << 28n) - 1n;
    last.vaddr = 0x7e0000000000n;
  });
  truncateSync(join(set, "pages-2.img"), 2 ** 41);
  assert.equal(statSync(join(set, "pages-2.img")).size, 2 ** 41);
  const before = process.memoryUsage().rss;
  const checkpoint = await readSet(set).catch((error: unknown) => error);
  assert.ok(process.memoryUsage().rss - before < 100_000_000);
  if (checkpoint instanceof CrimgError) assert.equal(checkpoint.code, "criu.pagemap");
  else (checkpoint as Checkpoint).close();
});

test("a sparse member is refused, in whatever form tar writes it", async (t) => {
  const directory = copyOf(t, "single");
  const name = "pages-1.img";
  // A hole in the middle, so that tar sees one.
  truncateSync(join(directory, name), statSync(join(directory, name)).size + (1 << 20));
  for (const form of ["gnu", "posix"]) {
    const archive = join(temporaryDirectory(t), `${form}.tar`);
    const { status, stderr } = spawnSync("tar", ["-S", `--format=${form}`, "-cf", archive, "-C", directory, "."], { encoding: "utf8" });
    assert.equal(status, 0, stderr);
    await assert.rejects(format.read?.(archive, {}) as Promise<Checkpoint>, (error: unknown) => {
      assert.ok(error instanceof CrimgError);
      assert.match(error.message, /is sparse, and would be read without its holes/);
      assert.match(error.hint ?? "", /Unpack the archive/);
      return true;
    });
  }
});
