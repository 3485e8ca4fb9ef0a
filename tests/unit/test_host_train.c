/* The training loop, evaluation and runs, on the interpreter: linear regression written by hand.
 * link: nnc_host */
#include "host.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLES = 50, BATCH = 8, FEATURES = 3 };
static char folder[64];

/* Everything a command would have: y = x . w + b, mean of squared errors, plain gradient descent. */
typedef struct World {
	Arena *arena;
	Program *program;
	Train *train;
	Layout layout;
	char *block;
	Pool *pool;
	Data *data;
	int compiled;                /* evaluations asked for */
	double poison;               /* added to the loss from sample 20 on: nan for the tests of that */
} World;

static Val *prediction(Fn *f, int64_t batch, Val **error) {
	int64_t dim[] = {batch, FEATURES}, row[] = {0, 1}, column[] = {1}, result[] = {0};
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, dim)),
	    *y = fn_input(f, "y", INPUT_DATA, type_make(DTYPE_F32, 1, dim));
	Val *w = fn_input(f, "m/w", INPUT_PARAM, type_make(DTYPE_F32, 1, dim + 1)),
	    *b = fn_input(f, "m/b", INPUT_PARAM, type_scalar(DTYPE_F32));
	Val *p = ir_Add(f, ir_contract(f, x, row, w, column, 1, result), ir_broadcast(f, b, 1, dim, NULL));
	*error = ir_Sub(f, p, y);
	return x;
}

static Val *mean_square(Fn *f, Val *error, int64_t batch) {
	int64_t axis[] = {0};
	return ir_Div(f, ir_reduce(f, OpReduceSum, ir_Mul(f, error, error), 1, axis), ir_const(f, DTYPE_F32, (double)batch));
}

static Fn *step_fn(World *w) {
	Fn *f = fn_new(w->arena, "step");
	Val *error, *x = prediction(f, BATCH, &error);
	Val *step = fn_input(f, "step", INPUT_STEP, type_scalar(DTYPE_I32)),
	    *rate = fn_input(f, "rate", INPUT_SETTING, type_scalar(DTYPE_F32));
	int64_t row[] = {0, 1}, along[] = {0}, result[] = {1}, axis[] = {0}, features[] = {FEATURES};
	Val *loss = mean_square(f, error, BATCH);
	Val *scale = ir_Mul(f, rate, ir_const(f, DTYPE_F32, 2.0 / BATCH));
	Val *dw = ir_contract(f, x, row, error, along, 1, result), *db = ir_reduce(f, OpReduceSum, error, 1, axis);
	Val *w_new = ir_Sub(f, f->inputs.data[2].val, ir_Mul(f, dw, ir_broadcast(f, scale, 1, features, NULL)));
	Val *b_new = ir_Sub(f, f->inputs.data[3].val, ir_Mul(f, db, scale));
	if (w->poison != 0) { /* the loss becomes log(negative) from step 10 on */
		Val *late = ir_Lt(f, ir_const(f, DTYPE_I32, 9), step);
		b_new = ir_Where(f, late, ir_Log(f, ir_Sub(f, ir_Abs(f, b_new), ir_const(f, DTYPE_F32, 100))), b_new);
		loss = ir_Add(f, loss, ir_Mul(f, b_new, ir_const(f, DTYPE_F32, 0)));
	}
	fn_output(f, "loss", loss, -1);
	fn_output(f, "m/w", w_new, 2);
	fn_output(f, "m/b", b_new, 3);
	return fn_canonical(f);
}

static const Executable *compile_eval(void *context, int64_t batch) {
	World *w = context;
	Fn *f = fn_new(w->arena, "eval");
	Val *error;
	prediction(f, batch, &error);
	int64_t axis[] = {0};
	Val *near = ir_cast(f, ir_Lt(f, ir_Abs(f, error), ir_like(f, error, 0.5)), DTYPE_F32);
	fn_output(f, "loss", mean_square(f, error, batch), -1);
	fn_output(f, "near", ir_reduce(f, OpReduceSum, near, 1, axis), -1);
	fn_output(f, "squares", ir_reduce(f, OpReduceSum, ir_Mul(f, error, error), 1, axis), -1);
	w->compiled++;
	return exec_interpret(w->arena, fn_canonical(f), w->program, &w->layout);
}

static float feature(int i, int k) { return (float)(hash_mix((uint64_t)(i * FEATURES + k)) % 200) / 100 - 1; }

static World *world_new(double poison) {
	Arena *arena = arena_new();
	World *w = NEW(arena, World);
	*w = (World){.arena = arena, .program = NEW(arena, Program), .poison = poison};
	Program *p = w->program;
	p->arena = arena;
	p->diag = diag_new(arena);
	p->name = "line";
	int64_t features[] = {FEATURES};
	vec_push(arena, &p->persistent,
	         ((Persistent){.path = "m/w", .kind = INPUT_PARAM, .type = type_make(DTYPE_F32, 1, features), .train = -1}));
	vec_push(arena, &p->persistent,
	         ((Persistent){.path = "m/b", .kind = INPUT_PARAM, .type = type_scalar(DTYPE_F32), .train = -1}));
	DataField *fields = NEW_ARRAY(arena, DataField, 2);
	double *x = NEW_ARRAY(arena, double, SAMPLES * FEATURES), *y = NEW_ARRAY(arena, double, SAMPLES);
	for (int i = 0; i < SAMPLES; i++) {
		y[i] = 0.25;
		for (int k = 0; k < FEATURES; k++) y[i] += (x[i * FEATURES + k] = (double)feature(i, k)) * (k - 1);
	}
	fields[0] = (DataField){.name = "x", .type = type_make(DTYPE_F32, 1, features), .kind = SOURCE_LITERAL, .values = x,
	                        .nvalues = SAMPLES * FEATURES};
	fields[1] = (DataField){.name = "y", .type = type_scalar(DTYPE_F32), .kind = SOURCE_LITERAL, .values = y, .nvalues = SAMPLES};
	vec_push(arena, &p->data, ((DataSet){.name = "line", .fields = fields, .nfields = 2}));
	Metric *metrics = NEW_ARRAY(arena, Metric, 2);
	metrics[0] = (Metric){.name = "near", .first_total = 1, .ntotals = 1, .elements = BATCH};
	Fn *finish = fn_new(arena, "rms");
	Val *near = fn_input(finish, "near", INPUT_DATA, type_scalar(DTYPE_F32)),
	    *squares = fn_input(finish, "squares", INPUT_DATA, type_scalar(DTYPE_F32));
	fn_output(finish, "ratio", ir_Div(finish, near, ir_Add(finish, squares, near)), -1);
	metrics[1] = (Metric){.name = "ratio", .first_total = 1, .ntotals = 2, .finish = finish, .elements = 1};
	Setting *rate = NEW(arena, Setting);
	*rate = (Setting){"rate", 0.1};
	int *inputs = NEW_ARRAY(arena, int, 2);
	inputs[1] = 1;
	vec_push(arena, &p->trains, ((Train){.data = 0, .validate = -1, .validate_fraction = 0.2, .shuffle = true, .batch = BATCH,
		.epochs = 30, .accumulate = 1, .seed = 1, .inputs = inputs, .ninputs = 2, .metrics = metrics, .nmetrics = 2,
		.settings = rate, .nsettings = 1}));
	w->train = &p->trains.data[0];
	w->layout = layout_program(arena, p);
	w->block = block_new(w->layout.bytes);
	w->pool = pool_new(2, 0);
	w->data =
	    data_load(arena, p->diag, files_open(arena, "line.nn", NULL), &p->data.data[0], data_wanted(arena, p, w->train, false));
	assert_non_null(w->data);
	return w;
}

static void world_free(World *w) {
	pool_free(w->pool);
	block_free(w->block, w->layout.bytes);
	data_free(w->data);
	arena_free(w->arena);
}

static TrainJob job_of(World *w) {
	return (TrainJob){.arena = w->arena, .diag = w->program->diag, .program = w->program, .train = w->train,
		.layout = &w->layout, .pool = w->pool, .persistent = w->block,
		.step = exec_interpret(w->arena, step_fn(w), w->program, &w->layout), .compile = compile_eval, .context = w,
		.data = samples_split(w->data, w->train->validate_fraction, 1, false),
		.validate = samples_split(w->data, w->train->validate_fraction, 1, true), .seed = 1, .file = "line.nn", .quiet = true};
}

static void learns(void **state) {
	(void)state;
	World *w = world_new(0);
	TrainJob job = job_of(w);
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_int_equal(result.steps, 30 * 5);   /* 40 samples make 5 batches of 8 */
	assert_true(result.loss < 1e-2 && result.validation.loss < 1e-2);
	float weights[FEATURES];
	layout_store(&w->layout, w->program, 0, w->block, weights);
	for (int k = 0; k < FEATURES; k++) assert_true(fabsf(weights[k] - (float)(k - 1)) < 0.15f);
	assert_true(result.validation.metrics[0] == 1);
	assert_int_equal(w->compiled, 2);   /* 10 samples: 8 and 2, once each over all epochs */
	/* The same run again, and in steps: the same bits. */
	World *v = world_new(0);
	v->train->epochs = 0;
	v->train->steps = 150;
	job = job_of(v);
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_memory_equal(v->block, w->block, w->layout.bytes);
	world_free(v);
	/* Accumulation: two runs of the step are one update; a rest is carried into the next epoch, dropped at the end. */
	v = world_new(0);
	v->train->accumulate = 2;
	v->train->epochs = 3;
	job = job_of(v);
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_int_equal(result.steps, 7);
	assert_int_equal(result.epochs, 3);
	world_free(v);
	world_free(w);
}

/* Loss and metrics over partial batches equal those over all samples at once. */
static void exact_evaluation(void **state) {
	(void)state;
	World *w = world_new(0);
	float start[FEATURES] = {0.5f, 0.25f, -0.5f};
	layout_load(&w->layout, w->program, 0, w->block, start);
	double near = 0, squares = 0;
	for (int i = 0; i < SAMPLES; i++) {
		double error = -0.25;
		for (int k = 0; k < FEATURES; k++) error += (double)feature(i, k) * ((double)start[k] - (k - 1));
		near += fabs(error) < 0.5;
		squares += error * error;
	}
	int64_t batches[] = {1, 7, 8, 50, 64};
	for (size_t i = 0; i < COUNT(batches); i++) {
		w->train->batch = batches[i];
		w->train->metrics[0].elements = (double)batches[i];
		EvalJob job = {.train = w->train, .pool = w->pool, .persistent = w->block,
		               .samples = samples_all(w->data), .seed = 1, .compile = compile_eval, .context = w};
		EvalResult result;
		assert_int_equal(evaluate(w->arena, &job, &result), EXIT_DONE);
		assert_int_equal(result.samples, SAMPLES);
		assert_true(fabs(result.loss - squares / SAMPLES) < 1e-6);
		assert_true(fabs(result.metrics[0] - near / SAMPLES) < 1e-12);
		assert_true(fabs(result.metrics[1] - near / (squares + near)) < 1e-6);
		evaluate_close(&job);
	}
	world_free(w);
}

static void entry_nothing(Frame *frame, int64_t tid, int64_t n) {
	(void)frame, (void)tid, (void)n;
}

/* Batches filled by several workers hold what one alone puts there. */
static void filled_by_all(void **state) {
	(void)state;
	World *w = world_new(0);
	Fn *f = fn_new(w->arena, "f");
	int64_t dim[] = {BATCH, FEATURES};
	Val *x = fn_input(f, "x", INPUT_DATA, type_make(DTYPE_F32, 2, dim)),
	    *y = fn_input(f, "y", INPUT_DATA, type_make(DTYPE_F32, 1, dim));
	fn_output(f, "x", x, -1);
	fn_output(f, "y", y, -1);
	Samples samples = samples_split(w->data, 0.2, 1, false);
	for (int workers = 1; workers <= 3; workers++) {
		Pool *pool = pool_new(workers, 0);
		Executable exe = {.fn = f, .entry = entry_nothing, .workers = workers};
		Runner *r = runner_new(&exe, pool, w->block);
		Batch *b = batch_new(w->arena, &samples, r, BATCH);
		for (int epoch = 0; epoch < 20; epoch++) {
			Shuffle order = shuffle_make(samples.count, 9, (uint64_t)epoch);
			for (int first = 0; first + BATCH <= samples.count; first += BATCH) {
				batch_run(b, r, epoch ? &order : NULL, first);
				for (int i = 0; i < BATCH; i++) {
					int64_t row = samples_row(&samples, epoch ? shuffle_at(&order, first + i) : first + i);
					assert_memory_equal(r->frame.io[0] + i * FEATURES * 4, w->data->field[0] + row * FEATURES * 4, FEATURES * 4);
					assert_memory_equal(r->frame.io[1] + i * 4, w->data->field[1] + row * 4, 4);
				}
			}
		}
		runner_free(r);
		pool_free(pool);
	}
	world_free(w);
}

static json_t *last_line(const char *path, const char *event, int *count) {
	FILE *in = fopen(path, "r");
	assert_non_null(in);
	char line[4096];
	json_t *last = NULL;
	*count = 0;
	while (fgets(line, sizeof line, in)) {
		json_t *one = json_loads(line, 0, NULL);
		assert_non_null(one);
		if (strcmp(json_string_value(json_object_get(one, "event")), event) == 0) {
			json_decref(last);
			last = json_incref(one);
			++*count;
		}
		json_decref(one);
	}
	fclose(in);
	return last;
}

static void writes_a_run(void **state) {
	(void)state;
	World *w = world_new(0);
	TrainJob job = job_of(w);
	const char *file = arena_printf(w->arena, "%s/line.nn", folder);
	job.out = run_folder(w->arena, w->program->diag, file, NULL);
	assert_non_null(job.out);
	assert_string_equal(job.out, arena_printf(w->arena, "%s/line.run", folder));
	job.log = arena_printf(w->arena, "%s/extra.jsonl", folder);
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	int lines;
	json_t *end = last_line(job.log, "end", &lines);
	assert_int_equal(lines, 1);
	assert_int_equal(json_integer_value(json_object_get(end, "step")), 150);
	json_decref(end);
	json_t *epoch = last_line(arena_printf(w->arena, "%s/log.jsonl", job.out), "epoch", &lines);
	assert_int_equal(lines, 30);
	assert_true(json_real_value(json_object_get(epoch, "val_near")) == 1);
	json_decref(epoch);
	char *again = block_new(w->layout.bytes);
	WeightsInfo info;
	assert_true(weights_load(w->program->diag, arena_printf(w->arena, "%s/weights.safetensors", job.out), w->program, &w->layout,
	                         again, false, &info));
	assert_memory_equal(again, w->block, w->layout.infer_bytes);
	assert_int_equal(info.step, 150);
	block_free(again, w->layout.bytes);
	/* A log on a full disk: said at the end, after the weights are safe. */
	if (access("/dev/full", W_OK) == 0) {
		TrainJob full = job_of(w);
		full.out = job.out;
		full.log = "/dev/full";
		assert_int_equal(train_run(&full, &result), EXIT_RUN);
		assert_int_equal(w->program->diag->errors, 1);
		w->program->diag->errors = 0;
	}
	/* Again into the same folder: fine; as another program, or into a folder of other things: refused. */
	assert_non_null(run_folder(w->arena, w->program->diag, file, NULL));
	assert_null(run_folder(w->arena, w->program->diag, "other.nn", job.out));
	assert_null(run_folder(w->arena, w->program->diag, file, folder));
	assert_null(run_folder(w->arena, w->program->diag, file, job.log));
	assert_null(run_folder(w->arena, w->program->diag, file, "/no/such/folder"));
	assert_int_equal(w->program->diag->errors, 4);
	world_free(w);
}

/* While a training writes to a folder, another one is refused and changes nothing. */
static void one_at_a_time(void **state) {
	(void)state;
	World *w = world_new(0);
	Diag *diag = w->program->diag;
	TrainJob job = job_of(w);
	const char *file = arena_printf(w->arena, "%s/twice.nn", folder);
	job.out = run_folder(w->arena, diag, file, NULL);
	assert_non_null(job.out);
	int lock = run_lock(diag, job.out);
	assert_true(lock >= 0);
	assert_null(run_folder(w->arena, diag, file, NULL));
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_INPUT);
	assert_int_equal(diag->errors, 1);   /* said once */
	assert_int_not_equal(access(arena_printf(w->arena, "%s/log.jsonl", job.out), F_OK), 0);
	run_unlock(lock);
	assert_non_null(run_folder(w->arena, diag, file, NULL));
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_int_equal(diag->errors, 1);   /* said once */
	world_free(w);
}

/* What a run of one step an epoch leaves in the arena; lines: of its epochs in the log. */
static size_t bytes_of_epochs(int epochs, int *lines) {
	World *w = world_new(0);
	w->train->epochs = epochs;
	w->train->batch = BATCH;
	TrainJob job = job_of(w);
	job.data.count = BATCH;
	job.validate.count = BATCH + 1;
	job.log = arena_printf(w->arena, "%s/epochs.jsonl", folder);
	size_t before = arena_bytes(w->arena);
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_int_equal(result.steps, epochs);
	size_t bytes = arena_bytes(w->arena) - before;
	json_t *last = last_line(job.log, "epoch", lines);
	assert_int_equal(json_integer_value(json_object_get(last, "epoch")), epochs);
	assert_true(fabs(json_real_value(json_object_get(last, "val_loss")) - result.validation.loss) < 1e-7);
	json_decref(last);
	world_free(w);
	return bytes;
}

/* However many epochs: as much memory, and hardly a longer log. */
static void many_epochs(void **state) {
	(void)state;
	int lines;
	size_t few = bytes_of_epochs(10, &lines);
	assert_int_equal(lines, 10);
	assert_int_equal(bytes_of_epochs(12345, &lines), few);
	assert_int_equal(lines, 1000 + 900 + 23 + 1);   /* to 1000 each, to 10000 every tenth, every hundredth, the last */
}

/* A loss of nan: a warning and on, or with strict the end; both name the log that made it. */
static void not_finite(void **state) {
	(void)state;
	World *w = world_new(1);
	TrainJob job = job_of(w);
	job.strict = true;
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_RUN);
	assert_int_equal(result.steps, 10);
	Diag *diag = w->program->diag;
	assert_int_equal(diag->errors, 1);
	assert_string_equal(diag->messages.data[0].text, "the loss is nan at step 10 (epoch 2)");
	assert_string_equal(diag->messages.data[1].text, "the first value that is nan is `log`, f32[]");
	world_free(w);
}

static void too_few_samples(void **state) {
	(void)state;
	World *w = world_new(0);
	TrainJob job = job_of(w);
	w->train->batch = 41;
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_INPUT);
	assert_string_equal(w->program->diag->messages.data[0].text, "the data has 40 samples, fewer than one batch of 41");
	world_free(w);
}

/* SIGINT: the step under way ends, the weights are saved, 130. */
static void interrupt(void **state) {
	(void)state;
	const char *out = "interrupted.run";
	pid_t child = fork();
	if (child == 0) {
		if (chdir(folder) != 0) _exit(1);
		World *w = world_new(0);
		w->train->epochs = 100000000;
		TrainJob job = job_of(w);
		job.out = run_folder(w->arena, w->program->diag, "line.nn", out);
		TrainResult result;
		_exit(train_run(&job, &result));
	}
	char *log = NULL;
	assert_true(asprintf(&log, "%s/%s/log.jsonl", folder, out) > 0);
	struct stat s;
	for (int i = 0; i < 2000 && (stat(log, &s) != 0 || s.st_size < 200); i++) usleep(5000);
	kill(child, SIGINT);
	int status;
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_INTERRUPTED + SIGINT);
	int lines;
	json_t *end = last_line(log, "end", &lines);
	assert_int_equal(lines, 1);
	assert_true(json_is_true(json_object_get(end, "interrupted")));
	json_decref(end);
	char *weights = NULL;
	assert_true(asprintf(&weights, "%s/%s/weights.safetensors", folder, out) > 0);
	assert_int_equal(access(weights, R_OK), 0);
	free(weights);
	free(log);
}

/* A metric of "near": its highest value is reached, and then only equalled. */
static World *watching_world(int64_t patience, int64_t accumulate) {
	World *w = world_new(0);
	w->train->watch = (Watch){.name = "val_near", .metric = 0, .rising = true};
	w->train->save_best = true;
	w->train->patience = patience;
	w->train->accumulate = accumulate;
	return w;
}

static const char *folder_of(World *w, const char *name) {
	const char *out = run_folder(w->arena, w->program->diag, "line.nn", arena_printf(w->arena, "%s/%s", folder, name));
	assert_non_null(out);
	return out;
}

/* The parameters that a run has saved. */
static void saved_weights(World *w, const char *out, char *block, WeightsInfo *info) {
	const char *path = arena_printf(w->arena, "%s/weights.safetensors", out);
	assert_true(weights_load(w->program->diag, path, w->program, &w->layout, block, false, info));
}

static void keeps_the_best(void **state) {
	(void)state;
	World *w = watching_world(4, 1);
	TrainJob job = job_of(w);
	job.out = folder_of(w, "best.run");
	job.log = arena_printf(w->arena, "%s/best.jsonl", folder);
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_true(result.impatient && result.best_epoch > 1 && result.best == 1);
	assert_int_equal(result.epochs, result.best_epoch + 4);
	int lines;
	json_t *end = last_line(job.log, "end", &lines), *epoch = last_line(job.log, "epoch", &lines);
	assert_int_equal(lines, result.epochs);
	assert_true(json_is_false(json_object_get(epoch, "better")) && json_is_true(json_object_get(end, "out_of_patience")));
	assert_int_equal(json_integer_value(json_object_get(end, "best_epoch")), result.best_epoch);
	json_decref(end);
	json_decref(epoch);
	World *v = watching_world(0, 1);   /* as many epochs, and no more: the same weights */
	v->train->epochs = result.best_epoch;
	TrainJob shorter = job_of(v);
	TrainResult until;
	assert_int_equal(train_run(&shorter, &until), EXIT_DONE);
	assert_true(!until.impatient && until.best_epoch == result.best_epoch);
	char *saved = block_new(w->layout.bytes);
	WeightsInfo info;
	saved_weights(w, job.out, saved, &info);
	assert_int_equal(info.epoch, result.best_epoch);
	assert_int_equal(info.step, until.steps);
	assert_memory_equal(saved, v->block, w->layout.infer_bytes);
	assert_memory_not_equal(saved, w->block, w->layout.infer_bytes);
	v->train->watch.rising = false;   /* the other way round, the first epoch is the best */
	memset(v->block, 0, v->layout.bytes);
	assert_int_equal(train_run(&shorter, &until), EXIT_DONE);
	assert_int_equal(until.best_epoch, 1);
	block_free(saved, w->layout.bytes);
	world_free(v);
	world_free(w);
	w = world_new(1);   /* the loss is nan from epoch 2 on: that is no better */
	w->train->watch = (Watch){.name = "val_loss", .metric = -1};
	w->train->patience = 2;
	job = job_of(w);
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_true(result.impatient && result.best_epoch == 1 && result.epochs == 3);
	world_free(w);
}

static EntryPoint real_entry;
static int64_t steps_left;

static void entry_interrupting(Frame *frame, int64_t tid, int64_t n) {
	if (!tid && --steps_left == 0) raise(SIGINT);
	real_entry(frame, tid, n);
}

/* Interrupted after some steps, and again after more; resumed each time by a process that knows nothing of the one before. */
static void resumes(void **state) {
	(void)state;
	World *w = watching_world(4, 2);
	TrainJob job = job_of(w);
	job.out = folder_of(w, "whole.run");
	TrainResult whole, result;
	assert_int_equal(train_run(&job, &whole), EXIT_DONE);
	char *saved = block_new(w->layout.bytes), *again = block_new(w->layout.bytes);
	WeightsInfo info, of_whole;
	saved_weights(w, job.out, saved, &of_whole);
	static const int64_t moments[][2] = {{1, 1}, {4, 1}, {5, 20}, {6, 9}, {13, 1000}, {25, 2}};
	for (size_t m = 0; m < COUNT(moments); m++) {
		const char *name = arena_printf(w->arena, "parts%zu.run", m);
		int code = EXIT_INTERRUPTED + SIGINT;
		for (int part = 0; code == EXIT_INTERRUPTED + SIGINT; part++) {
			World *v = watching_world(4, 2);
			TrainJob next = job_of(v);
			next.out = folder_of(v, name);
			next.resume = part > 0;
			Executable step = *next.step;
			real_entry = step.entry;
			step.entry = entry_interrupting;
			next.step = &step;
			steps_left = part < 2 ? moments[m][part] : 0;
			code = train_run(&next, &result);
			assert_true(code == EXIT_DONE || (code == EXIT_INTERRUPTED + SIGINT && part < 2));
			if (code == EXIT_DONE) {
				assert_memory_equal(v->block, w->block, w->layout.bytes);
				saved_weights(v, next.out, again, &info);
			}
			world_free(v);
		}
		assert_memory_equal(again, saved, w->layout.infer_bytes);
		assert_true(info.epoch == of_whole.epoch && info.step == of_whole.step);
		assert_true(result.loss == whole.loss && result.best_epoch == whole.best_epoch && result.epochs == whole.epochs);
	}
	/* What has ended stays as it is. */
	memset(w->block, 0, w->layout.bytes);
	job.resume = true;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	assert_true(result.steps == whole.steps && result.loss == whole.loss && result.impatient);
	saved_weights(w, job.out, again, &info);
	assert_memory_equal(again, saved, w->layout.infer_bytes);
	block_free(saved, w->layout.bytes);
	block_free(again, w->layout.bytes);
	world_free(w);
}

/* Folders without a checkpoint, checkpoints of other trainings. */
static void resumes_nothing_else(void **state) {
	(void)state;
	World *w = world_new(0);
	Diag *diag = w->program->diag;
	w->train->epochs = 1;
	TrainJob job = job_of(w);
	job.out = folder_of(w, "other.run");
	job.resume = true;
	TrainResult result;
	assert_int_equal(train_run(&job, &result), EXIT_INPUT);
	assert_string_equal(diag->messages.data[0].text, arena_printf(w->arena, "there is no training to resume in '%s'", job.out));
	job.resume = false;
	diag->errors = diag->messages.length = 0;
	assert_int_equal(train_run(&job, &result), EXIT_DONE);
	job.resume = true;
	job.seed = 2;
	assert_int_equal(train_run(&job, &result), EXIT_INPUT);
	assert_string_equal(diag->messages.data[0].text,
	                    arena_printf(w->arena, "the training in '%s' cannot be resumed: the seed was 1, and is 2 now", job.out));
	diag->errors = diag->messages.length = 0;
	job.seed = 1;
	const char *path = arena_printf(w->arena, "%s/checkpoint.safetensors", job.out);
	TensorEntry entry = {.name = "m/b", .type = type_scalar(DTYPE_F32), .data = (const char *)"\0\0\0"};
	MetaEntry meta = {"done", "-1"};
	assert_true(tensors_write(diag, path, &entry, 1, &meta, 1));
	assert_int_equal(train_run(&job, &result), EXIT_INPUT);
	assert_string_equal(diag->messages.data[0].text, arena_printf(w->arena, "'%s' is no checkpoint of a training", path));
	world_free(w);
}

static int set_up(void **state) {
	(void)state;
	strcpy(folder, "test_host_train.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state) {
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(learns),       cmocka_unit_test(exact_evaluation), cmocka_unit_test(filled_by_all),
	    cmocka_unit_test(writes_a_run), cmocka_unit_test(many_epochs),      cmocka_unit_test(one_at_a_time),
	    cmocka_unit_test(not_finite),   cmocka_unit_test(too_few_samples),  cmocka_unit_test(interrupt),
	    cmocka_unit_test(keeps_the_best), cmocka_unit_test(resumes),        cmocka_unit_test(resumes_nothing_else),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
