/* init.c: nnc init: in: FILE.nn and a seed; out: a file of the parameters that training would start from. */
#include <stdio.h>

#include "cli.h"

static int init_program(Session *s) {
	const Options *o = s->options;
	const Program *p = s->program;
	uint64_t seed = o->has_seed ? (uint64_t)o->seed : p->trains.length ? p->trains.data[0].seed : 1;
	char *block = session_vocabs(s) ? session_block(s, seed) : NULL;
	if (!block) return session_report(s), EXIT_INPUT;
	WeightsInfo info = {.seed = seed, .has_seed = true};
	weights_save(s->diag, o->output, p, &s->layout, block, info, false);
	block_free(block, s->layout.bytes);
	return session_report(s);
}

int command_init(const Options *options) {
	if (!options->output) {
		fprintf(stderr, "nnc init: where to?\nhelp: add -o weights.safetensors\n");
		return EXIT_USAGE;
	}
	Options own = *options;
	own.made_up = own.stepless = true;
	return session_run(&own, 0, init_program);
}
