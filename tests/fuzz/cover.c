/* cover.c: in: kernel programs; out: a table of op rows by the places in kernels where they stood. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

static const char *const place_text[POSITIONS] = {"map", "column", "row", "after-reduce", "operand",
                                               "after-contract", "sequence", "after-sequence", "anchor"};
static const char *const feature_text[FEATURES] = {
    "map-alone",       "map-shared",   "reduce-alone",     "reduce-shared",    "contract-alone", "contract-shared",
    "contract-panels", "sequence-alone", "sequence-shared", "scan-alone", "scan-shared", "scan-dealt", "scan-barrier",
    "scan-nested", "scan-reversed", "contract-dot", "contract-batched", "contract-swapped", "stored-anchor",  "barrier",
    "no-barrier",      "in-place",     "copied",           "many-roots",
};

typedef struct Walk { Coverage *coverage; const KernelProgram *kp; const Kernel *kernel; bool *seen[POSITIONS]; } Walk;

/* Is it computed inside an element, as a loop over another axis than the operand's last? */
static bool is_column(const Val *v) { return is_reduce(v) || v->op == OpArgMax; }

static bool is_member(const Kernel *k, const Val *v) {
	for (int i = 0; i < k->members.length; i++)
		if (k->members.data[i].val == v) return true;
	return false;
}

static void walk(Walk *w, const Val *v, Position place, bool top) {
	if (!top && (v == w->kernel->anchor || is_member(w->kernel, v))) return;
	if ((!top && w->kp->buffer_of[v->id] >= 0) || w->seen[place][v->id]) return;
	w->seen[place][v->id] = true;
	w->coverage->count[v->op * POSITIONS + place]++;
	int nargs = v->op == OpCustom ? 1 : v->nargs;
	for (int i = 0; i < nargs; i++) walk(w, v->arg[i], is_column(v) ? AT_COLUMN : place, false);
}

static void feature(Coverage *c, Feature f, bool on) { c->count[OP_COUNT * POSITIONS + f] += on; }

static void cover_features(Coverage *c, const KernelProgram *kp, const Kernel *k, int position) {
	bool alone = k->workers == 1;
	static const Feature of_alone[] = {FEATURE_MAP_ALONE, FEATURE_REDUCE_ALONE, FEATURE_CONTRACT_ALONE, FEATURE_SEQUENCE_ALONE},
	                     of_shared[] = {FEATURE_MAP_SHARED, FEATURE_REDUCE_SHARED, FEATURE_CONTRACT_SHARED,
	                                    FEATURE_SEQUENCE_SHARED};
	feature(c, alone ? of_alone[k->kind] : k->panels ? FEATURE_CONTRACT_PANELS : of_shared[k->kind], true);
	feature(c, FEATURE_DOT, k->kind == KERNEL_CONTRACT && k->contraction->dot);
	feature(c, FEATURE_BATCHED, k->kind == KERNEL_CONTRACT && k->contraction->nouter > 0);
	feature(c, FEATURE_SWAPPED, k->kind == KERNEL_CONTRACT && k->contraction->swapped);
	feature(c, FEATURE_MANY_ROOTS, k->roots.length > 1);
	feature(c, k->barrier_before ? FEATURE_BARRIER : FEATURE_NO_BARRIER, !alone && position > 0);
	for (int i = 0; i < k->roots.length; i++) {
		const Val *r = k->roots.data[i];
		feature(c, FEATURE_STORED_ANCHOR, (r == k->anchor || (k->kind == KERNEL_ROWS && is_column(r))) && k->roots.length > 1);
		bool persistent = kp->buffers.data[kp->buffer_of[r->id]].kind == BUFFER_PERSISTENT;
		feature(c, r->op == OpMark ? FEATURE_COPIED : FEATURE_IN_PLACE, persistent);
	}
}

static void cover_anchor(Walk *w, const Val *v, Position operands) {
	w->coverage->count[v->op * POSITIONS + AT_ANCHOR]++;
	for (int a = 0; a < v->nargs; a++) walk(w, v->arg[a], operands, false);
}

static void cover_scan(Coverage *c, const Kernel *k) {
	c->count[OpScan * POSITIONS + AT_ANCHOR]++;
	feature(c, k->dealt ? FEATURE_SCAN_DEALT : k->body->workers > 1 ? FEATURE_SCAN_SHARED : FEATURE_SCAN_ALONE, true);
	feature(c, FEATURE_SCAN_BARRIER, k->body->barrier_between);
	feature(c, FEATURE_SCAN_NESTED, k->body->parent->scan);
	feature(c, FEATURE_SCAN_REVERSED, k->scan->list[1].data[0]);
	cover_kernels(c, k->body);
}

void cover_kernels(Coverage *c, const KernelProgram *kp) {
	static const Position of_root[] = {
	    [KERNEL_MAP] = AT_MAP, [KERNEL_CONTRACT] = AT_AFTER_CONTRACT, [KERNEL_SEQUENCE] = AT_AFTER_SEQUENCE};
	Walk w = {.coverage = c, .kp = kp};
	int n = kp->fn->vals.length;
	for (int p = 0; p < POSITIONS; p++) w.seen[p] = NEW_ARRAY(kp->arena, bool, n + 1);
	for (int i = 0; i < kp->kernels.length; i++) {
		const Kernel *k = &kp->kernels.data[i];
		w.kernel = k;
		for (int p = 0; p < POSITIONS; p++) memset(w.seen[p], 0, (size_t)n);
		if (k->body) {
			cover_scan(c, k);
			continue;
		}
		if (k->anchor) cover_anchor(&w, k->anchor, k->kind == KERNEL_SEQUENCE ? AT_SEQUENCE : AT_OPERAND);
		for (int m = 0; m < k->members.length; m++) {
			const Val *v = k->members.data[m].val;
			if (is_column(v)) cover_anchor(&w, v, AT_ROW);
			else walk(&w, v, is_wide(k, v) ? AT_ROW : AT_AFTER_REDUCE, true);
		}
		for (int r = 0; r < k->roots.length; r++)
			if (k->roots.data[r] != k->anchor && !is_member(k, k->roots.data[r]))
				walk(&w, k->roots.data[r], of_root[k->kind], true);
		cover_features(c, kp, k, i);
	}
}

const char *cell_name(Arena *arena, int cell) {
	if (cell >= OP_COUNT * POSITIONS) return arena_printf(arena, "kernel %s", feature_text[cell - OP_COUNT * POSITIONS]);
	return arena_printf(arena, "%s %s", op_info[cell / POSITIONS].text, place_text[cell % POSITIONS]);
}

void print_coverage(const Coverage *c) {
	printf("%-13s", "op");
	for (int p = 0; p < POSITIONS; p++) printf("%15s", place_text[p]);
	printf("\n");
	for (int op = 0; op < OP_COUNT; op++) {
		bool any = false;
		for (int p = 0; p < POSITIONS; p++) any = any || c->count[op * POSITIONS + p];
		if (!any) continue;
		printf("%-13s", op_info[op].text);
		for (int p = 0; p < POSITIONS; p++)
			if (c->count[op * POSITIONS + p]) printf("%15llu", (unsigned long long)c->count[op * POSITIONS + p]);
			else printf("%15s", ".");
		printf("\n");
	}
	for (int f = 0; f < FEATURES; f++)
		printf("%s%s %llu", f ? ", " : "", feature_text[f], (unsigned long long)c->count[OP_COUNT * POSITIONS + f]);
	printf("\nnever in a kernel:");
	for (int op = 0; op < OP_COUNT; op++) {
		uint64_t sum = 0;
		for (int p = 0; p < POSITIONS; p++) sum += c->count[op * POSITIONS + p];
		if (!sum) printf(" %s", op_info[op].text);
	}
	printf("\n");
}

int compare_coverage(const Coverage *c, const char *path) {
	FILE *file = fopen(path, "r");
	if (!file) fatal("cannot read %s", path);
	Arena *arena = arena_new();
	bool *listed = NEW_ARRAY(arena, bool, CELLS);
	char line[200];
	int missed = 0;
	while (fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = 0;
		if (!line[0] || line[0] == '#') continue;
		int cell = 0;
		while (cell < CELLS && strcmp(cell_name(arena, cell), line)) cell++;
		if (cell == CELLS) fatal("%s: there is no cell \"%s\"", path, line);
		listed[cell] = true;
		if (c->count[cell]) continue;
		printf("missed, though reachable: %s\n", line);
		missed++;
	}
	fclose(file);
	for (int i = 0; i < CELLS; i++)
		if (c->count[i] && !listed[i]) printf("covered, not yet listed: %s\n", cell_name(arena, i));
	arena_free(arena);
	return missed;
}
