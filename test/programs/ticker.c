/* SPDX-License-Identifier: Apache-2.0 */
/* Says in /tmp/tick how far it is, which process it is, and on what host; with an argument it ends at once. */
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char host[65] = "";

	(void)argv;
	gethostname(host, sizeof host - 1);
	for (int n = 1;; n++) {
		FILE *out = fopen("/tmp/tick.new", "w");

		if (out) {
			fprintf(out, "tick %d of process %d on %s\n", n, getpid(), host);
			fclose(out);
			rename("/tmp/tick.new", "/tmp/tick");
		}
		if (argc > 1)
			return 0;
		usleep(50000);
	}
}
