/* test_programs.c: every example after every pass: its text reads back to the same text, the same rest of the way and the
 * same bits; no pass changes a bit, but those that say they add in another order; what the files of one program see of each
 * other; the text after each pass, as recorded.
 * link: nnc_front nnc_passes nnc_ir */
#include "test_programs.h"

static const char *text_of(Arena *arena, const Fn *f) {
	Text text = {.arena = arena};
	fn_print(&text, f);
	return text.data;
}

static Fn *read_back(Arena *arena, const char *text, const char *what) {
	Diag *diag = diag_new(arena);
	Fn *f = fn_parse(arena, diag, diag_source(diag, what, text, strlen(text), false));
	if (!f || diag->errors) {
		diag_print(diag, stderr, false);
		fail_msg("%s does not read back", what);
	}
	return f;
}

static void must_agree(const Fn *f, const Tensor *a, const Tensor *b, const char *what) {
	for (int i = 0; i < f->outputs.length; i++)
		if (!same_bits(&a[i], &b[i])) fail_msg("%s: %s has other bits", what, f->outputs.data[i].name);
}

static bool has_derivatives(const Fn *f) {
	for (int i = 0; i < f->vals.length; i++) {
		const Val *v = f->vals.data[i];
		if (v->op == OpGrad || v->op == OpMark || v->op == OpCustom || v->op == OpCotangent) return true;
		if (v->body && has_derivatives(v->body)) return true;
	}
	return false;
}

static int contracts_in(const Fn *f) {
	int n = 0;
	for (int i = 0; i < f->vals.length; i++) n += f->vals.data[i]->op == OpContract;
	return n;
}

/* Where pass i has made contracts of sums of products, it has given them another order as well. */
static bool keeps_bits(const Fn *f, int i) {
	return !passes[i].reorders &&
	       (strcmp(passes[i].name, "simplify") || contracts_in(f) == contracts_in(run_passes((Fn *)f, i, i + 1)));
}

static void check_passes(Arena *arena, Fn *raw, const char *what) {
	Fn *last = run_passes(raw, 0, pass_count);
	const char *last_text = text_of(arena, last);
	Tensor *inputs = some_inputs(arena, last, 11), *expected = evaluate_f32(arena, last, inputs);
	for (int i = pass_count; i >= 0; i--) {
		const char *place = arena_printf(arena, "%s after %s", what, i ? passes[i - 1].name : "elab");
		Fn *f = i == pass_count ? last : run_passes(raw, 0, i);
		const char *text = text_of(arena, f);
		Fn *back = read_back(arena, text, place);
		if (strcmp(text_of(arena, back), text)) fail_msg("%s: the text read back prints otherwise", place);
		if (strcmp(text_of(arena, run_passes(back, i, pass_count)), last_text))
			fail_msg("%s: the text read back compiles otherwise", place);
		if (has_derivatives(f)) continue;   /* not evaluated before the derivative is made */
		if (f->precision != DTYPE_F32) continue;   /* what is still to be rounded has other bits */
		Tensor *now = f == last ? expected : evaluate_f32(arena, f, inputs);
		if (f != last && !keeps_bits(f, i)) expected = now;
		must_agree(f, now, expected, place);
		must_agree(back, evaluate_f32(arena, back, inputs), expected, place);
	}
}

static void check_program_text(Arena *arena, const char *path, const char *text) {
	Program *p = open_good(arena, path, text, 4);
	for (int i = 0; i < p->trains.length; i++) {
		check_passes(arena, program_step(p, i), arena_printf(arena, "%s: step", path));
		check_passes(arena, program_eval(p, i, 3), arena_printf(arena, "%s: eval", path));
		check_passes(arena, program_loss(p, i, 3, true), arena_printf(arena, "%s: loss", path));
	}
	for (int i = 0; i < p->models.length; i++)
		check_passes(arena, program_infer(p, i, 2), arena_printf(arena, "%s: infer", path));
	check_passes(arena, program_init(p), arena_printf(arena, "%s: init", path));
}

static void check_program(const char *path) {
	Arena *arena = arena_new();
	size_t length;
	check_program_text(arena, path, file_text(arena, path, &length));
	arena_free(arena);
}

/* Every block of the language's reference is a program. */
static void test_reference(void **state) {
	(void)state;
	Arena *arena = arena_new();
	size_t length;
	int blocks = 0;
	for (const char *at = file_text(arena, NNC_SOURCE_DIR "/grammar/LANGUAGE.md", &length); (at = strstr(at, "```nn\n"));
	     blocks++) {
		const char *text = at + 6, *end = strstr(text, "```");
		assert_non_null(end);
		const char *name = arena_printf(arena, "block %d of LANGUAGE.md", blocks + 1);
		check_program_text(arena, name, arena_text(arena, text, (size_t)(end - text)));
		at = end + 3;
	}
	assert_true(blocks >= 3);
	arena_free(arena);
}

static void test_every_pass(void **state) {
	(void)state;
	for_programs(check_program);
}

/* ---- recorded ---- */

/* tests/golden/pipeline/NAME.nn, its step after each pass: NAME.PASS.txt.  NNC_ACCEPT=1 writes what is printed now. */
static void test_recorded(void **state) {
	(void)state;
	static const char *const names[] = {"line", "network", "windows", "rounded", "recurrent", "blocks"};
	for (size_t n = 0; n < COUNT(names); n++) {
		Arena *arena = arena_new();
		size_t length;
		const char *path = arena_printf(arena, NNC_SOURCE_DIR "/tests/golden/pipeline/%s.nn", names[n]);
		Program *p = open_good(arena, path, file_text(arena, path, &length), 0);
		for (int i = 0; i <= pass_count; i++) {
			const char *text = text_of(arena, run_passes(program_step(p, 0), 0, i)), *pass = i ? passes[i - 1].name : "elab";
			const char *record = arena_printf(arena, NNC_SOURCE_DIR "/tests/golden/pipeline/%s.%s.txt", names[n], pass);
			if (getenv("NNC_ACCEPT")) {
				FILE *out = fopen(record, "w");
				assert_non_null(out);
				fputs(text, out);
				fclose(out);
			}
			if (!strcmp(file_text(arena, record, &length), text)) continue;
			fprintf(stderr, "%s", text);
			fail_msg("%s after %s is not as recorded", names[n], pass);
		}
		arena_free(arena);
	}
}

/* ---- several files ---- */

static char folder[64];

static int make_folder(void **state) {
	(void)state;
	const char *tmp = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%.40s/nnc-XXXXXX", tmp ? tmp : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
	(void)state;
	char command[100];
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static const char *put(Arena *arena, const char *name, const char *text) {
	const char *path = arena_printf(arena, "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
	return path;
}

static const char main_text[] =
	"import \"parts.nn\"\n"
	"data d { x: f32[2] = [[0, 1], [1, 0]]; y: f32 = [0, 1] }\n"
	"model net(x: [B, 2]) -> [B] { let h = block(x); let y[b] = sum[j](h[b, j]); return y }\n"
	"train { data = d; batch = 2; steps = 3; loss = mse(net(x), y); optimizer = sgd(lr = 0.1) }\n";

/* An imported file sees what it imports itself; its train blocks are not part of the program. */
static void test_imports(void **state) {
	(void)state;
	Arena *arena = arena_new();
	put(arena, "leaf.nn", "const GAIN = 3\nfn bend(x) = max(x, 0) * GAIN\n");
	put(arena, "parts.nn",
	    "import \"leaf.nn\"\n"
	    "layer block(x: [B, n]) -> [B, n] { return bend(dense(x, n)) }\n"
	    "data other { x: f32[2] = [[5, 5]]; y: f32 = [5] }\n"
	    "model own(x: [B, 2]) -> [B, 2] = block(x)\n"
	    "train { data = other; batch = 1; steps = 1; let z = own(x); loss = mse(z, z); optimizer = sgd(lr = 1) }\n");
	const char *path = put(arena, "main.nn", main_text);
	Program *p = open_good(arena, path, main_text, 0);
	assert_int_equal(p->trains.length, 1);
	assert_int_equal(p->trains.data[0].steps, 3);
	Fn *f = run_passes(program_step(p, 0), 0, pass_count);
	assert_non_null(strstr(text_of(arena, f), "net/block.0/dense.0/w"));
	arena_free(arena);
}

static const char *errors_of(Arena *arena, const char *path, const char *text) {
	Diag *diag = diag_new(arena);
	char *said;
	size_t size;
	FILE *out = open_memstream(&said, &size);
	open_text(arena, diag, path, text, strlen(text), 0);
	diag_print(diag, out, false);
	fclose(out);
	const char *copy = arena_text(arena, said, size);
	free(said);
	return copy;
}

/* What a file imports is not visible to whoever imports that file; circles end; errors stand where they are. */
static void test_import_errors(void **state) {
	(void)state;
	Arena *arena = arena_new();
	put(arena, "leaf.nn", "fn bend(x) = max(x, 0)\n");
	put(arena, "parts.nn", "import \"leaf.nn\"\nfn twice(x) = bend(bend(x))\n");
	const char *text = "import \"parts.nn\"\nmodel net(x: [B, 2]) -> [B, 2] = bend(x)\n";
	const char *said = errors_of(arena, put(arena, "main.nn", text), text);
	assert_non_null(strstr(said, "main.nn:2:34: error: "));
	assert_non_null(strstr(said, "bend"));

	put(arena, "parts.nn", "import \"main.nn\"\nimport \"./parts.nn\"\nfn twice(x) = x + once(x)\n");
	text = "import \"./parts.nn\"\nfn once(x) = x\nmodel net(x: [B, 2]) -> [B, 2] = twice(x)\n";
	assert_string_equal(errors_of(arena, put(arena, "main.nn", text), text), "");

	put(arena, "parts.nn", "fn twice(x) = x + )\n");
	said = errors_of(arena, put(arena, "main.nn", text), text);
	assert_non_null(strstr(said, "parts.nn:1:19: error: "));
	assert_null(strstr(said, "main.nn"));

	text = "import \"absent.nn\"\nmodel net(x: [B, 2]) -> [B, 2] = twice(x)\n";
	said = errors_of(arena, put(arena, "main.nn", text), text);
	assert_non_null(strstr(said, "main.nn:1:8: error: cannot read `"));
	assert_null(strstr(said, "twice"));

	text = "import \".\"\n";
	said = errors_of(arena, put(arena, "main.nn", text), text);
	assert_non_null(strstr(said, "main.nn:1:8: error: cannot read `"));
	arena_free(arena);
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_pass), cmocka_unit_test(test_recorded),
	                                   cmocka_unit_test(test_reference),
	                                   cmocka_unit_test_setup_teardown(test_imports, make_folder, remove_folder),
	                                   cmocka_unit_test_setup_teardown(test_import_errors, make_folder, remove_folder)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
