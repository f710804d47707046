// SPDX-License-Identifier: Apache-2.0
/** Profiles lkml and host, single files of sets, SARIF, exit statuses. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../../formats/registry.js";
import { objectRow } from "../../../src/gen/tables.js";
import { exitOf, validate } from "../../../src/ops/validate.js";
import { allRules } from "../../../src/validate/catalogue.js";
import { type HostFacts, hostFacts } from "../../../src/validate/host/facts.js";
import { hostRules } from "../../../src/validate/host/host-rules.js";
import { type ImageOnHost, imageRules } from "../../../src/validate/host/image-rules.js";
import { pathLocator } from "../../../src/validate/locate.js";
import { toSarif } from "../../../src/validate/render-sarif.js";
import { renderFinding } from "../../../src/validate/render-text.js";
import { runRules } from "../../../src/validate/run-rules.js";
import { fixtures } from "../../support/project.js";
import { temporaryDirectory } from "../../support/processes.js";
import { smallImage } from "../../support/images.js";
import { checkpointOf, smallTables, xstate } from "./small-model.js";

const able: HostFacts = {
  machine: "x86_64",
  kernelRelease: "6.18.0",
  hasNative: true,
  hasSetMmMap: true,
  hasPidfdGetfd: true,
  hasClone3: true,
  hasKcmp: true,
  hasUserfaultfd: true,
  hasRseqConfiguration: true,
  hasPagemapScan: true,
  capabilities: (1n << 41n) - 1n,
  uid: 0,
  ptraceScope: 0,
  userNamespaces: 1000,
  xfeatures: 7n,
  availableBytes: 1n << 40n,
  cuda: {
    cudaVersion: 13000,
    release: "580.1",
    gpus: [{ uuid: "GPU-00112233-4455-6677-8899-aabbccddeeff", bus: "", totalBytes: 1n << 34n, freeBytes: 1n << 33n, name: "One" }],
  },
};

test("a host that can do everything has no findings; what it lacks is found", () => {
  const codes = (facts: Partial<HostFacts>): string[] => {
    return runRules(hostRules, { ...able, ...facts }, { source: "host", locate: pathLocator }).findings.map(({ code }) => code);
  };
  assert.deepEqual(codes({}), []);
  assert.deepEqual(codes({ machine: "aarch64" }), ["host.machine"]);
  assert.deepEqual(codes({ hasNative: false }), ["host.native"]);
  assert.deepEqual(codes({ cuda: { problem: "there is no CUDA driver here" } }), ["host.cuda"]);
  assert.deepEqual(codes({ hasSetMmMap: false }), ["host.checkpoint-restore"]);
  assert.deepEqual(codes({ hasPidfdGetfd: false }), ["host.pidfd-getfd"]);
  assert.deepEqual(codes({ hasClone3: false }), ["host.clone3"]);
  assert.deepEqual(codes({ hasKcmp: false }), ["host.kcmp"]);
  assert.deepEqual(codes({ hasRseqConfiguration: false }), ["host.rseq"]);
  assert.deepEqual(codes({ hasPagemapScan: false }), ["host.pagemap-scan"]);
  assert.deepEqual(codes({ ptraceScope: 3 }), ["host.ptrace-scope"]);
  assert.deepEqual(codes({ ptraceScope: 1 }), []);
  assert.deepEqual(codes({ capabilities: 0n, uid: 1000 }), ["host.same-pids"]);
  assert.deepEqual(codes({ capabilities: 0n, uid: 1000, userNamespaces: 0 }), ["host.same-pids", "host.user-namespaces"]);
  assert.deepEqual(codes({ capabilities: 0n, uid: 1000, ptraceScope: 1 }), ["host.ptrace-scope", "host.same-pids"]);
});

test("this host's facts can be asked for", () => {
  const facts = hostFacts();
  assert.equal(facts.machine, "x86_64");
  assert.ok(facts.hasNative && facts.hasPidfdGetfd && facts.hasClone3);
  assert.ok(facts.availableBytes > 0n && (facts.xfeatures & 3n) === 3n);
});

test("image rules on a host: each finds what breaks it", (t) => {
  const directory = temporaryDirectory(t);
  const program = join(directory, "program");
  writeFileSync(program, "x".repeat(0x3000));
  const { mtimeNs } = statSync(program, { bigint: true });
  const context = (fields: object = {}, facts: Partial<HostFacts> = {}): ImageOnHost => {
    const tables = smallTables();
    tables.tasks.forEach((task, index) => (tables.tasks[index] = { ...task, pid: 4_000_000 + index }));
    tables.threads.forEach((thread, index) => (tables.threads[index] = { ...thread, tid: 4_000_000 + index }));
    tables.objects[0] = objectRow({ ...tables.objects[0], path: program, mtimeNs, ...fields });
    const checkpoint = checkpointOf(tables);
    return { checkpoint, tables, facts: { ...able, ...facts } };
  };
  const codes = (given: ImageOnHost): string[] =>
    runRules(imageRules, given, { source: "image", locate: pathLocator }).findings.map(({ code }) => code);
  assert.deepEqual(codes(context()), []);
  assert.deepEqual(codes(context({ path: join(directory, "gone") })), ["host.file-missing"]);
  assert.deepEqual(
    codes(context({ path: directory })),
    ["host.file-missing", "host.file-changed"].slice(0, 1).concat(statSync(directory).size === 0x3000 ? [] : ["host.file-changed"]),
  );
  assert.deepEqual(codes(context({ size: 0x5000n })), ["host.file-changed"]);
  assert.deepEqual(codes(context({ size: 0x1000n })), ["host.file-changed"]);
  assert.deepEqual(codes(context({ mtimeNs: mtimeNs + 1n })), ["host.file-changed"]);
  assert.deepEqual(codes(context({ buildId: new Uint8Array(20) })), ["host.file-changed"]);
  assert.deepEqual(codes(context({}, { xfeatures: 3n })), ["host.cpu", "host.cpu", "host.cpu"]);
  assert.deepEqual(codes(context({}, { availableBytes: 4096n })), ["host.memory"]);
  assert.deepEqual(codes(context({}, { uid: 1000, capabilities: 0n })), ["host.user"]);
  const taken = context();
  taken.checkpoint.tables.threads.forEach((thread, index) => ((taken.tables.threads as object[])[index] = { ...thread, tid: process.pid }));
  assert.ok(codes(taken).includes("host.pid-taken"));
  const other = context();
  (other.tables.checkpoint as object[])[0] = { ...other.tables.checkpoint[0], vdsoBuildId: new Uint8Array(20).fill(7) };
  assert.deepEqual(codes(other), ["host.vdso"]);
  assert.equal(xstate().length, 832);
  utimesSync(program, 1, 1);
  assert.deepEqual(codes(context()), ["host.file-changed"]);
});

test("lkml: images of the original converter pass, a page outside is killed, anything else is ENOEXEC", async (t) => {
  const directory = temporaryDirectory(t);
  const original = join(fixtures, "crtools2011/tiny-sleep/elf/489.elf");
  const report = await validate(original, { registry, profile: "lkml" });
  assert.ok(report.findings.every(({ severity }) => severity === "warning"));
  assert.equal(exitOf([report], false), 0);
  assert.equal(exitOf([report], true), 1);
  const bytes = readFileSync(original);
  const judge = async (change: (copy: Buffer) => void): Promise<string[]> => {
    const copy = Buffer.from(bytes);
    change(copy);
    const path = join(directory, "changed.elf");
    writeFileSync(path, copy);
    const { findings } = await validate(path, { registry, profile: "lkml" });
    return findings.filter(({ severity }) => severity === "error").map(({ code }) => code);
  };
  const headers = bytes.readUInt16LE(56);
  const core = Number(bytes.readBigUInt64LE(64 + (headers - 2) * 56 + 8));
  const pages = Number(bytes.readBigUInt64LE(64 + (headers - 1) * 56 + 8));
  assert.deepEqual(await judge((copy) => void copy.writeUInt16LE(2, 16)), ["lkml.headers"]);
  assert.deepEqual(await judge((copy) => void copy.writeUInt16LE(2, core)), ["lkml.core"]);
  assert.deepEqual(await judge((copy) => void copy.writeUInt32LE(0, 64)), ["lkml.segments"]);
  assert.deepEqual(
    await judge((copy) => {
      for (let index = 0; index < headers - 2; index += 1) copy.writeUInt32LE(1, Number(copy.readBigUInt64LE(64 + index * 56 + 8)) + 32);
    }),
    ["lkml.special-areas"],
  );
  assert.deepEqual(await judge((copy) => void copy.writeUInt32LE(0, Number(copy.readBigUInt64LE(64 + 8)) + 28)), ["lkml.map"]);
  assert.deepEqual(await judge((copy) => void copy.writeBigUInt64LE(0x7000n, pages)), ["lkml.pages"]);
});

test("lkml of a directory cannot be judged", async (t) => {
  const report = await validate(temporaryDirectory(t), { registry, profile: "lkml" });
  assert.notEqual(report.unjudged, undefined);
  assert.equal(exitOf([report], false), 2);
});

test("all fixtures are valid", async () => {
  const root = fixtures;
  const images = [
    ...["crtools2011", "criu"].flatMap((kind) => readdirSync(join(root, kind)).map((name) => join(root, kind, name))),
    ...readdirSync(join(root, "core")).flatMap((name) =>
      readdirSync(join(root, "core", name))
        .filter((file) => file.startsWith("core"))
        .map((file) => join(root, "core", name, file)),
    ),
  ];
  for (const image of images) {
    const report = await validate(image, { registry, profile: "format" });
    assert.equal(report.unjudged, undefined, image);
    assert.deepEqual(
      report.findings.filter(({ code }) => code !== "file.readable-by-others"),
      [],
      image,
    );
  }
});

test("single files of sets are told apart by content, and judged", async (t) => {
  const directory = temporaryDirectory(t);
  const root = fixtures;
  for (const [source, format, part] of [
    ["crtools2011/tree3/core-480.img", "crtools", "core"],
    ["crtools2011/tree3/fdinfo-480.img", "crtools", "fdinfo"],
    ["crtools2011/tree3/pipes-480.img", "crtools", "pipes"],
    ["crtools2011/tree3/pstree-480.img", "crtools", "pstree"],
    ["crtools2011/tree3/shmem-480.img", "crtools", "shmem"],
    ["crtools2011/tree3/pages-480.img", "crtools", "pages"],
    ["criu/ctree/pagemap-595.img", "criu", "pagemap"],
    ["criu/ctree/core-595.img", "criu", "core"],
    ["criu/ctree/files.img", "criu", "files"],
    ["criu/ctree/sk-queues.img", "criu", "sk-queues"],
    ["criu/ctree/pipes-data.img", "criu", "pipes-data"],
    ["criu/ctree/inventory.img", "criu", "inventory"],
  ] as const) {
    const bytes = readFileSync(join(root, source));
    const path = join(directory, "some-name");
    writeFileSync(path, bytes, { mode: 0o600 });
    const report = await validate(path, { registry, profile: "format" });
    assert.deepEqual([report.format, report.part, report.findings], [format, part, []], source);
    writeFileSync(path, bytes.subarray(0, bytes.length - 3));
    const cut = await validate(path, { registry, profile: "format" });
    assert.deepEqual(
      cut.findings.map(({ code }) => code),
      ["file.unreadable"],
      source,
    );
    assert.equal(exitOf([cut], false), 1);
  }
});

test("SARIF names rules, levels and places", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(
    directory,
    "ckpt-elf",
    (tables) => void (tables.rlimits[0] = { ...tables.rlimits[0], soft: 99n } as (typeof tables.rlimits)[number]),
  );
  const report = await validate(image, { registry, profile: "format" });
  const log = toSarif(report.findings, allRules(), "1.2.3");
  const [result] = log.runs[0]?.results ?? [];
  assert.equal(result?.ruleId, "limit.order");
  assert.equal(log.runs[0]?.tool.driver.rules?.[result?.ruleIndex ?? -1]?.id, "limit.order");
  assert.equal(result?.level, "error");
  assert.equal(result?.locations?.[0]?.logicalLocations?.[0]?.fullyQualifiedName, "rlimits[0].soft");
  assert.ok((result?.locations?.[0]?.physicalLocation?.region?.byteOffset ?? 0) > 0);
});

test("a finding on a terminal has an excerpt with a caret", async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "d"));
  const path = join(directory, "file");
  writeFileSync(path, Buffer.from(Array.from({ length: 64 }, (_, index) => index)));
  const text = renderFinding(
    { code: "a.b", severity: "error", source: path, offset: 18n, length: 4, message: "wrong", spec: "" },
    { color: false, excerpt: true },
  );
  assert.match(text, / {6}10 \| 10 11 12 13 14 15/);
  assert.match(text, /\n {9} {2}\| {7}\^{11}\n/);
});

test("rules have unique codes and say where they come from", () => {
  const rules = allRules();
  assert.equal(new Set(rules.map(({ code }) => code)).size, rules.length);
  for (const { code, summary, spec } of rules) {
    assert.match(code, /^[a-z]+\.[a-z0-9-]+$/);
    assert.ok(summary.endsWith(".") && spec !== "", code);
  }
});

test("an image of a program on a GPU tells what this host lacks of it", () => {
  const tables = smallTables();
  tables.cudaProcesses.push({ task: 0, restoreThread: 0 });
  const gpu = {
    uuid: "GPU-00112233-4455-6677-8899-aabbccddeeff",
    name: "One",
    memoryBytes: 1n << 34n,
    usedBytes: 1n << 30n,
    driver: "580.1",
    cudaVersion: 13000,
  };
  const problems = (row: Partial<typeof gpu>, facts: Partial<HostFacts> = {}) => {
    tables.gpus = [{ ...gpu, ...row }];
    const context = { checkpoint: checkpointOf(tables), tables, facts: { ...able, ...facts } };
    return runRules(imageRules, context, { source: "image", locate: pathLocator }).findings.filter(({ code }) =>
      code.startsWith("host.gpu"),
    );
  };
  assert.deepEqual(problems({}), []);
  const other = problems({ uuid: "GPU-ffffffff-4455-6677-8899-aabbccddeeff" });
  assert.deepEqual(
    other.map(({ code, severity }) => [code, severity]),
    [["host.gpu", "error"]],
  );
  assert.match(other[0]?.hint ?? "", /--gpu-map GPU-ffffffff-\S+=GPU-00112233-/);
  assert.deepEqual(
    problems({ usedBytes: 1n << 34n, driver: "570.2" }).map(({ code, severity }) => [code, severity]),
    [
      ["host.gpu-driver", "warning"],
      ["host.gpu-memory", "warning"],
    ],
  );
  assert.match(problems({}, { cuda: { problem: "no driver" } })[0]?.message ?? "", /the tree used a GPU: no driver/);
});
