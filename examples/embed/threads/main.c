/* Two threads use a model while a third goes on training a copy of it: xor.nn as an object file.
 *
 *     make NNC=path/to/nnc && ./threads
 *
 * What inference reads, an xor_params, may be shared by any number of threads, each with scratch of its own.  The trainer
 * works on an xor_train of its own and now and then publishes its parameters, a copy of one struct, in the one of two places
 * that nobody uses.  Users never wait. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "xor.h"

enum { ROUNDS = 2000, STEPS = 10, USERS = 2, NONE = -1 };

static const float bits[4][2] = {{0, 0}, {0, 1}, {1, 0}, {1, 1}};
static const float differ[4] = {0, 1, 1, 0};

static xor_params shared[2];
static atomic_int current = NONE, done, in_use[USERS] = {NONE, NONE}; /* in_use: which of the two a user reads */

static void publish(const xor_params *params) {
	int next = atomic_load(&current) == 0;
	for (int i = 0; i < USERS; i++)
		while (atomic_load(&in_use[i]) == next) sched_yield();
	shared[next] = *params;
	atomic_store(&current, next);
}

/* The parameters to use until release(); NULL: there are none yet. */
static const xor_params *acquire(int user) {
	int now;
	do {
		now = atomic_load(&current);
		atomic_store(&in_use[user], now);
	} while (now != atomic_load(&current)); /* published meanwhile: the trainer may not have seen us */
	return now == NONE ? NULL : &shared[now];
}

static void release(int user) { atomic_store(&in_use[user], NONE); }

static void *train(void *result) {
	static xor_train model;
	static xor_scratch scratch;
	xor_init(&model, 1);
	for (int round = 0; round < ROUNDS; round++) {
		for (int step = 0; step < STEPS; step++)
			if (xor_step(&model, &bits[0][0], differ, result, &scratch) != xor_OK) return NULL;
		publish(&model.params);
	}
	atomic_store(&done, 1);
	return result;
}

typedef struct User { pthread_t thread; int number; long right; float bias; } User;

static void *use(void *argument) {
	User *user = argument;
	xor_scratch scratch; /* on this thread's stack: the header says how large it is */
	float logit[4];
	for (int last = 0; !last;) {
		last = atomic_load(&done);
		const xor_params *params = acquire(user->number);
		int status = params ? xor_mlp(params, &bits[0][0], logit, 4, &scratch) : xor_BAD_BLOCK;
		if (params) user->bias = params->mlp_dense_1_b[0]; /* members are there to be read, too */
		release(user->number);
		if (status != xor_OK) continue;
		user->right = 0;
		for (int i = 0; i < 4; i++) user->right += (logit[i] > 0) == (differ[i] > 0.5f);
	}
	return NULL;
}

int main(void) {
	static float loss;
	User user[USERS] = {{0}};
	pthread_t trainer;
	void *trained = NULL;
	if (pthread_create(&trainer, NULL, train, &loss)) return 1;
	for (int i = 0; i < USERS; i++) {
		user[i].number = i;
		if (pthread_create(&user[i].thread, NULL, use, &user[i])) return 1;
	}
	pthread_join(trainer, &trained);
	printf("trained for %d steps, loss %.6f\n", ROUNDS * STEPS, (double)loss);
	int wrong = !trained;
	for (int i = 0; i < USERS; i++) {
		pthread_join(user[i].thread, NULL);
		printf("user %d: %ld of 4 right, with the bias %.6f\n", i, user[i].right, (double)user[i].bias);
		wrong |= user[i].right != 4;
	}
	return wrong;
}
