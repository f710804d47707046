# SPDX-License-Identifier: Apache-2.0
# A loop with a pipeline of children: a producer, a filter and the loop that reads them.
# usage: bash pipeline.sh LOG
producer() { local n=0; while :; do n=$((n + 1)); echo "$n"; sleep 0.05; done; }
filter() { while read -r n; do echo "tick $n"; done; }
producer | filter | while read -r line; do echo "$line" >> "$1"; done
