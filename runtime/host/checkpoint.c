/* checkpoint.c: in: a training under way; out: checkpoint.safetensors in its folder; and back.
 * Guaranteed: a training that goes on from one gives the bits of a training that was never interrupted. */
#include "checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char best_prefix[] = "#best/";   /* '#' keeps them out of what others take from the file */

static const char *checkpoint_path(Arena *arena, const TrainJob *job) {
	return arena_printf(arena, "%s/checkpoint.safetensors", job->out);
}

static const char *train_name(const TrainJob *job) { return job->train->name ? job->train->name : ""; }

/* ---- numbers as metadata ---- */

static const char *whole(Arena *arena, int64_t n) { return arena_printf(arena, "%" PRId64, n); }
static const char *real(Arena *arena, double x) { return arena_printf(arena, "%.17g", x); }   /* reads back as the same */

static const char *reals(Arena *arena, const Train *t, const double *x) {
	Text text = {.arena = arena};
	for (int i = 0; i < loss_sums(t); i++) text_add(&text, i ? " %.17g" : "%.17g", x[i]);
	return text.data;
}

static bool read_whole(const TensorFile *file, const char *key, int64_t *n) {
	const char *text = tensors_meta(file, key);
	char *end;
	if (!text) return false;
	errno = 0;
	*n = strtoll(text, &end, 10);
	return end != text && !*end && !errno && *n >= 0;
}

static bool read_reals(const TensorFile *file, const char *key, int count, double *x) {
	const char *text = tensors_meta(file, key);
	char *end;
	for (int i = 0; text && i < count; i++, text = end) {
		x[i] = strtod(text, &end);
		if (end == text) return false;
	}
	return text && !*text;
}

/* ---- there ---- */

bool checkpoint_save(const TrainJob *job, const Progress *p, const char *best) {
	Arena *arena = arena_new();
	const Layout *layout = job->layout;
	TensorEntry *entries = NEW_ARRAY(arena, TensorEntry, 2 * layout->count + 1);
	int count = weights_entries(arena, job->program, layout, job->persistent, "", true, entries);
	if (best && p->best_epoch)
		count += weights_entries(arena, job->program, layout, best, best_prefix, false, entries + count);
	const Train *t = job->train;
	const MetaEntry own[] = {
		{"nnc", NNC_VERSION}, {"train", train_name(job)}, {"seed", arena_printf(arena, "%" PRIu64, job->seed)},
		{"batch", whole(arena, t->batch)}, {"accumulate", whole(arena, MAX(t->accumulate, 1))},
		{"samples", whole(arena, job->data.count)}, {"done", whole(arena, p->done)}, {"sum", reals(arena, t, p->sum)},
		{"interval", whole(arena, p->interval)}, {"interval_loss", reals(arena, t, p->interval_loss)},
		{"best", real(arena, p->best)}, {"best_epoch", whole(arena, p->best_epoch)}, {"best_step", whole(arena, p->best_step)},
		{"worse", whole(arena, p->worse)}};
	int nmeta;
	const MetaEntry *meta = with_constants(arena, job->program, own, COUNT(own), &nmeta);
	bool ok = tensors_write(job->diag, checkpoint_path(arena, job), entries, count, meta, nmeta);
	arena_free(arena);
	return ok;
}

/* ---- and back ---- */

static bool read_progress(const TensorFile *file, const Train *t, Progress *p) {
	int sums = loss_sums(t);
	return read_whole(file, "done", &p->done) && read_reals(file, "sum", sums, p->sum) &&
	       read_whole(file, "interval", &p->interval) && read_reals(file, "interval_loss", sums, p->interval_loss) &&
	       read_reals(file, "best", 1, &p->best) && read_whole(file, "best_epoch", &p->best_epoch) &&
	       read_whole(file, "best_step", &p->best_step) && read_whole(file, "worse", &p->worse);
}

/* What makes another training of it: the same samples in the same order, as many of them a step. */
static bool same_training(const TrainJob *job, const TensorFile *file) {
	Arena *arena = job->arena;
	const struct { const char *key, *here, *what; } facts[] = {
		{"train", train_name(job), "the train block"},
		{"seed", arena_printf(arena, "%" PRIu64, job->seed), "the seed"},
		{"batch", whole(arena, job->train->batch), "the batch"},
		{"accumulate", whole(arena, MAX(job->train->accumulate, 1)), "`accumulate`"},
		{"samples", whole(arena, job->data.count), "the number of samples"}};
	for (size_t i = 0; i < COUNT(facts); i++) {
		const char *there = tensors_meta(file, facts[i].key);
		if (strcmp(there ? there : "", facts[i].here) == 0) continue;
		diag_error(job->diag, (Span){0}, "the training in '%s' cannot be resumed: %s was %s, and is %s now", job->out,
		           facts[i].what, there && *there ? there : "another", *facts[i].here ? facts[i].here : "another");
		diag_help(job->diag, "give the same options as then, or train anew without --resume");
		return false;
	}
	return true;
}

bool checkpoint_load(const TrainJob *job, Progress *p, char *best) {
	Arena *arena = arena_new();
	const char *path = checkpoint_path(job->arena, job);
	if (access(path, F_OK) != 0) {
		diag_error(job->diag, (Span){0}, "there is no training to resume in '%s'", job->out);
		diag_help(job->diag, "train without --resume; `checkpoint.safetensors` is written at the end and every half a minute");
		arena_free(arena);
		return false;
	}
	TensorFile *file = tensors_read(arena, job->diag, path);
	bool ok = file != NULL;
	if (ok && !read_progress(file, job->train, p)) {
		diag_error(job->diag, (Span){0}, "'%s' is no checkpoint of a training", path);
		ok = false;
	}
	ok = ok && same_training(job, file) &&
	     weights_restore(job->diag, path, file, job->program, job->layout, job->persistent, "", true);
	if (ok && !best) p->best_epoch = 0;
	if (ok && p->best_epoch) ok = weights_restore(job->diag, path, file, job->program, job->layout, best, best_prefix, false);
	tensors_close(file);
	arena_free(arena);
	return ok;
}
