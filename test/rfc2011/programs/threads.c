// SPDX-License-Identifier: Apache-2.0
/* Four threads with their own stacks and thread-local data, which take turns under a mutex. */
#include "status.h"
#include <pthread.h>

#define THREADS 4
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;
static __thread unsigned char local[512];

static void *work(void *argument)
{
	int self = (int)(intptr_t)argument;
	unsigned char stack[1024];
	fill(local, sizeof local, 10 + self);
	fill(stack, sizeof stack, 20 + self);
	for (;;) {
		pthread_mutex_lock(&lock);
		while (turn != self)
			pthread_cond_wait(&turned, &lock);
		status_round(holds(local, sizeof local, 10 + self) && holds(stack, sizeof stack, 20 + self));
		turn = (turn + 1) % THREADS;
		pthread_cond_broadcast(&turned);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}

int main(void)
{
	status_open();
	for (intptr_t i = 1; i < THREADS; i++) {
		pthread_t thread;
		need(!pthread_create(&thread, 0, work, (void *)i));
	}
	status_ready();
	work(0);
}
