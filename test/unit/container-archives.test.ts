// SPDX-License-Identifier: Apache-2.0
/** Checkpoints of containers as engines write them: recognised, read and shown, as archive, folder and OCI image. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { readCriu } from "../../formats/criu/read.js";
import { registry } from "../../formats/registry.js";
import type { ContainerFacts } from "../../src/adapter/container-facts.js";
import { probeFormat, probeInputOf } from "../../src/adapter/detect.js";
import { run, temporaryDirectory } from "../support/processes.js";
import { crimgCommand, fixtures } from "../support/project.js";

const archive = join(fixtures, "containers/counter.tar.gz");

/** An OCI layout whose one layer is the archive, as podman container checkpoint --create-image makes it. */
function layoutOf(t: TestContext): string {
  const directory = join(temporaryDirectory(t), "layout");
  mkdirSync(join(directory, "blobs/sha256"), { recursive: true });
  const put = (bytes: Buffer, mediaType: string) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(directory, "blobs/sha256", hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
  const layer = put(readFileSync(archive), "application/vnd.oci.image.layer.v1.tar+gzip");
  const config = put(json({ architecture: "amd64", os: "linux" }), "application/vnd.oci.image.config.v1+json");
  const manifest = put(json({ schemaVersion: 2, config, layers: [layer] }), "application/vnd.oci.image.manifest.v1+json");
  writeFileSync(join(directory, "index.json"), json({ schemaVersion: 2, manifests: [manifest] }));
  writeFileSync(join(directory, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  return directory;
}

function tar(t: TestContext, directory: string, ...words: string[]): string {
  const path = join(temporaryDirectory(t), "a.tar");
  const { status, stderr } = spawnSync("tar", ["-cf", path, "-C", directory, ...(words.length === 0 ? ["."] : words)], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return path;
}

function unpacked(t: TestContext): string {
  const directory = temporaryDirectory(t);
  assert.equal(spawnSync("tar", ["-xzf", archive, "-C", directory]).status, 0);
  return directory;
}

async function readContainer(path: string): Promise<ContainerFacts | undefined> {
  let found: ContainerFacts | undefined;
  (await readCriu(path, { onContainer: (facts) => void (found = facts) })).close();
  return found;
}

/** Process ids in it. */
async function pidsIn(path: string): Promise<number[]> {
  assert.equal((await probeFormat(probeInputOf(path), registry))?.id, "criu");
  const checkpoint = await readCriu(path, {});
  try {
    return checkpoint.tables.tasks.map(({ pid }) => pid);
  } finally {
    checkpoint.close();
  }
}

test("an archive, its folder, an OCI layout and the tar of one hold the same container", async (t) => {
  const layout = layoutOf(t);
  for (const path of [archive, unpacked(t), layout, tar(t, layout)]) {
    assert.deepEqual(await pidsIn(path), [1, 6], path);
    const facts = await readContainer(path);
    assert.equal(facts?.name, "counter");
    assert.equal(facts.image, "localhost/demo/counter:1");
    assert.equal(facts.engine, "Podman");
    assert.equal(facts.runtime, "runc");
    assert.equal(facts.created, "2026-11-27T13:37:32.199159218Z");
    assert.equal(facts.hostname, "demo");
    assert.deepEqual(facts.addresses, [{ interface: "eth0", address: "10.88.0.8/16", mac: "22:ef:a8:19:f6:69" }]);
    assert.equal(facts.checkpointed, "2026-11-27T13:37:34.000Z", "when the members say, not when they were read");
    assert.ok(facts.mounts.some(({ destination, type }) => destination === "/proc" && type === "proc"));
    assert.ok(facts.sizes.pages > 400_000 && facts.sizes.set > facts.sizes.pages);
    assert.ok((facts.statistics?.pagesWritten ?? 0) > 100);
  }
});

test("an archive is recognised by its members wherever they stand", async (t) => {
  const directory = unpacked(t);
  // First a member that no engine writes, larger than what is read of a file to recognise it.
  writeFileSync(join(directory, "first.bin"), randomBytes(3 << 20));
  const path = tar(t, directory, "first.bin", "checkpoint");
  assert.deepEqual(await pidsIn(path), [1, 6]);
  for (const [command, suffix] of [
    ["gzip", "gz"],
    ["zstd", "zst"],
  ] as const) {
    const packed = `${path}.${suffix}`;
    const { error, stdout } = spawnSync(command, ["-c", path], { maxBuffer: 1 << 28 });
    if (error) return t.skip(`no ${command}`);
    writeFileSync(packed, stdout);
    assert.deepEqual(await pidsIn(packed), [1, 6], packed);
  }
});

test("crimg show tells what the container was", (t) => {
  const { status, stdout, stderr } = run(crimgCommand, ["show", archive]);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^Container\n {2}counter \(29f2a9517995\) of image localhost\/demo\/counter:1 \(955441a2eb4a\)$/m);
  assert.match(stdout, /^ {2}Podman, runtime runc; created 2026-11-27T13:37:32\.199159218Z; checkpointed 2026-11-27T13:37:34\.000Z$/m);
  assert.match(stdout, /host name demo, eth0 10\.88\.0\.8\/16 \(22:ef:a8:19:f6:69\); own namespaces: pid network ipc uts mount/);
  const json = run(crimgCommand, ["show", archive, "--json"]);
  const document = JSON.parse(json.stdout) as { container: { id: string; annotations: Record<string, string> } };
  assert.equal(document.container.id.length, 64);
  assert.equal(document.container.annotations["io.container.manager"], "libpod");
  t.diagnostic(`${stdout.length} characters`);
});

test("an OCI image that holds no checkpoint is refused by name", async (t) => {
  const layout = layoutOf(t);
  writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [] }));
  await assert.rejects(readCriu(layout, {}), /None of the blobs of this OCI image is the checkpoint of a container/);
});
