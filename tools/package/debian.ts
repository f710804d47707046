// SPDX-License-Identifier: Apache-2.0
/** A Debian package of the single executable: it needs nothing that Debian 11 or later does not have. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { manifest, manualFolder, packageFolder, root, run } from "./places.js";

export function makeDebian(): string {
  const { version } = manifest();
  const stage = join(packageFolder, "deb");
  rmSync(stage, { recursive: true, force: true });
  const put = (path: string, content: string | Uint8Array, mode = 0o644): void => {
    const target = join(stage, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
    writeFileSync(target, content);
    chmodSync(target, mode);
  };
  const executable = join(packageFolder, "crimg");
  mkdirSync(join(stage, "usr/bin"), { recursive: true, mode: 0o755 });
  copyFileSync(executable, join(stage, "usr/bin/crimg"));
  chmodSync(join(stage, "usr/bin/crimg"), 0o755);
  put(
    "usr/bin/crimg-exec",
    '#!/bin/sh\n# What a binfmt_misc rule names: the kernel starts "crimg-exec FILE ARGUMENTS", and the arguments are ignored.\n' +
      'case $1 in /*) ;; *) set -- "./$1" ;; esac\nexec "$(dirname "$0")/crimg" exec "$1"\n',
    0o755,
  );
  for (const page of readdirSync(join(manualFolder, "man"))) {
    put(`usr/share/man/man1/${page}.gz`, gzipSync(readFileSync(join(manualFolder, "man", page)), { level: 9 }));
  }
  const completion = (name: string): Uint8Array => readFileSync(join(manualFolder, "completions", name));
  put("usr/share/bash-completion/completions/crimg", completion("crimg.bash"));
  put("usr/share/zsh/vendor-completions/_crimg", completion("_crimg"));
  put("usr/share/fish/vendor_completions.d/crimg.fish", completion("crimg.fish"));
  put("usr/share/doc/crimg/copyright", copyright());
  put("usr/share/doc/crimg/README.md.gz", gzipSync(readFileSync(join(root, "README.md")), { level: 9 }));
  const changes = join(root, "CHANGELOG.md");
  if (existsSync(changes)) put("usr/share/doc/crimg/changelog.gz", gzipSync(readFileSync(changes), { level: 9 }));
  const kilobytes = Math.ceil(statSync(executable).size / 1024);
  put(
    "DEBIAN/control",
    [
      "Package: crimg",
      `Version: ${version}`,
      "Architecture: amd64",
      "Maintainer: The crimg authors <crimg@localhost>",
      `Installed-Size: ${kilobytes}`,
      "Depends: libc6 (>= 2.31), libstdc++6 (>= 10), libgcc-s1",
      "Section: utils",
      "Priority: optional",
      "Description: freeze a process tree into one ELF file and resume it by executing that file",
      " crimg dumps running Linux process trees into executable images, resumes them, shows and",
      " checks what is in them, converts to and from the formats of other tools, and runs jobs",
      " that survive being preempted.",
      "",
    ].join("\n"),
  );
  const name = `crimg_${version}_amd64.deb`;
  run("dpkg-deb", ["--root-owner-group", "-Zgzip", "--build", stage, join(packageFolder, name)]);
  rmSync(stage, { recursive: true, force: true });
  return name;
}

/** crimg's licence, and that of the Node inside. */
function copyright(): string {
  const node = ["LICENSE", "share/doc/node/LICENSE", "share/doc/nodejs/LICENSE", "share/doc/nodejs/copyright"]
    .map((name) => join(dirname(process.execPath), "..", name))
    .find(existsSync);
  return [
    "crimg: Apache License 2.0, /usr/share/common-licenses/Apache-2.0\n",
    `The executable holds Node.js ${process.versions.node}, under the MIT licence and others:\n`,
    `https://github.com/nodejs/node/blob/v${process.versions.node}/LICENSE\n`,
    node === undefined ? "" : `\n${readFileSync(node, "utf8")}`,
  ].join("");
}
