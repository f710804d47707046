// SPDX-License-Identifier: Apache-2.0
/**
 * A pod by `podman kube play`, without a registry: the image is empty but for mount points and a pause program, and the host's own
 * files are mounted into the containers. podman gets a store of its own, and cgroups that it may write to.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crimgCommand, projectRoot } from "./project.js";
import { type Outcome, run } from "./processes.js";

const pauseSource = `#include <signal.h>
#include <unistd.h>
static void end(int signal) { _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
`;

/** podman refuses a read-only tmpfs at /sys/fs/cgroup: what is mounted below it is mounted below another one. */
const writableCgroups = `
set -e
old=$(mktemp -d)
mount --rbind /sys/fs/cgroup "$old"
mount -t tmpfs none /sys/fs/cgroup
for path in "$old"/*; do
  name=\${path##*/}
  mkdir "/sys/fs/cgroup/$name"
  if mountpoint -q "$path"; then mount --bind "$path" "/sys/fs/cgroup/$name"; fi
done
umount -l "$old"; rmdir "$old"
exec "$@"
`;

export class KubePod {
  readonly #env: NodeJS.ProcessEnv;
  readonly #podman: readonly string[];
  readonly #folders: readonly string[];
  readonly #yaml: string;

  /**
   * @param folder for images and state
   * @param yaml the pod, with `image: IMAGE` and the volume `/srv/job`
   * @param job the folder that stands for `/srv/job`
   */
  constructor(folder: string, yaml: string, job: string) {
    const conf = join(folder, "containers.conf");
    writeFileSync(
      conf,
      '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n' +
        '[engine]\ninfra_image = "localhost/crimg-test:latest"\n',
    );
    this.#env = { ...process.env, CONTAINERS_CONF: conf };
    this.#podman = [
      ...["podman", "--log-level", "error", "--runtime", "runc", "--cgroup-manager", "cgroupfs"],
      ...["--root", join(folder, "store"), "--runroot", join(folder, "run")],
    ];
    this.#folders = [...new Set(["usr", "etc", projectRoot, process.execPath].map((path) => path.split("/").filter(Boolean)[0] ?? ""))];
    this.#importImage(folder);
    this.#yaml = join(folder, "pod.yaml");
    const mounts = this.#folders.map((name) => `{ name: ${name}, mountPath: /${name} }`);
    const volumes = this.#folders.map((name) => `    - { name: ${name}, hostPath: { path: /${name} } }\n`);
    // podman 4.3 knows the annotation of earlier versions of Kubernetes, and no seccompProfile.
    const unconfined = "annotations: { container.seccomp.security.alpha.kubernetes.io/job: unconfined }";
    const text = yaml
      .replace(/^metadata: \{ (.*?) \}$/m, `metadata: { $1, ${unconfined} }`)
      .replace("image: IMAGE", "image: localhost/crimg-test\n      imagePullPolicy: Never")
      .replace("command: [crimg,", `env: [{ name: PATH, value: "/usr/bin:/bin" }]\n      command: [${crimgCommand},`)
      .replace("volumeMounts: [", `volumeMounts: [${mounts.join(", ")}, `)
      .replace("/srv/job", job);
    writeFileSync(this.#yaml, `${text.trimEnd()}\n${volumes.join("")}`);
  }

  #importImage(folder: string): void {
    const root = join(folder, "root");
    for (const name of ["job", "tmp", "proc", "sys", "dev", "run", ...this.#folders]) mkdirSync(join(root, name), { recursive: true });
    for (const name of ["bin", "sbin", "lib", "lib64"]) symlinkSync(`usr/${name}`, join(root, name));
    const source = join(folder, "pause.c");
    writeFileSync(source, pauseSource);
    const steps = [
      ["cc", "-static", "-O1", "-o", join(root, "pause"), source],
      ["tar", "-C", root, "-cf", join(folder, "image.tar"), "."],
      [...this.#podman, "import", "--change", 'CMD ["/pause"]', join(folder, "image.tar"), "crimg-test"],
    ];
    for (const [command = "", ...args] of steps) {
      const { status, stderr } = run(command, args, { env: this.#env });
      if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
    }
  }

  /** Runs podman; cgroups are writable for it. */
  podman(...args: string[]): Outcome {
    return run("unshare", ["-m", "bash", "-c", writableCgroups, "bash", ...this.#podman, ...args], { env: this.#env, seconds: 90 });
  }

  /** Ends the pod, and removes what podman made of cgroups. */
  remove(name: string): void {
    this.podman("pod", "rm", "-f", name);
    // rmdir takes none that still has a process or a cgroup of another pod.
    run("find", ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/libpod_parent*", "-exec", "rmdir", "{}", ";"]);
  }

  /** Makes the pod and starts its containers. */
  play(): Outcome {
    return this.podman("kube", "play", "--network", "none", this.#yaml);
  }
}
