/* print_nn_scan.c: a scan as a `scan`.  In: a Scan value whose operands have names; out: the loop, its carries and emits named as
 * the results that the text around it reads.
 *
 * The body is a function of its own, printed with names that nothing around it has.  Its constants are the names of the operands.
 * All that a step makes is computed and emitted before the carries change. */
#include "print_nn.h"

#include <string.h>

/* By number of a result: its name around the loop; NULL: nobody reads it. */
static const char **result_names(const Print *p, const Val *scan) {
	const char **name = NEW_ARRAY(p->arena, const char *, scan->body->outputs.length + 1);
	for (int i = scan->id + 1; i < p->f->vals.length; i++) {
		const Val *v = p->f->vals.data[i];
		if (v->op == OpProject && v->arg[0] == scan) name[v->list[0].data[0]] = p->name[i];
	}
	return name;
}

static void print_head(Print *p, const Val *scan, const char *index, const char **result) {
	int carries = (int)scan->list[0].data[0];
	text_add(p->out, "\tscan %s < %lld%s", index, (long long)scan_count(scan), scan->list[1].data[0] ? " reversed" : "");
	for (int i = 0; i < carries; i++)
		text_add(p->out, "%s%s = %s", i ? ", " : " carry ", result[i], p->name[scan->arg[i]->id]);
	text_add(p->out, " {\n");
}

/* emit ys[t, i, j] = v[i, j] */
static void print_emit(Print *p, const char *name, const char *index, const Val *v) {
	Indices all = choose_indices(p, v->type.rank, v->type.dim);
	text_add(p->out, "\temit %s[%s", name, index);
	for (int i = 0; i < v->type.rank; i++) text_add(p->out, ", %s", all.name[i]);
	text_add(p->out, "] = ");
	print_read(p->out, p->name[v->id], v->type.rank, all.name, NULL);
	text_add(p->out, "\n");
}

static void print_assignments(Print *p, int carries, const char **result) {
	const char **next = NEW_ARRAY(p->arena, const char *, carries + 1);
	for (int i = 0; i < carries; i++) {
		const Val *v = p->f->outputs.data[i].val;
		next[i] = p->name[v->id];
		bool other = v->op == OpInput && v->list[0].data[0] != i + 1 && v->list[0].data[0] <= carries;
		if (!other) continue;
		next[i] = fresh_name(p, arena_printf(p->arena, "old_%s", p->name[v->id]));   /* another carry, which changes too */
		text_add(p->out, "\tlet %s = %s\n", next[i], p->name[v->id]);
	}
	for (int i = 0; i < carries; i++) text_add(p->out, "\t%s = %s\n", result[i], next[i]);
}

void print_scan(Print *outer, const Val *scan) {
	const Fn *body = scan->body;
	int carries = (int)scan->list[0].data[0];
	const char **result = result_names(outer, scan), *index = fresh_name(outer, "t");
	for (int i = 0; i < carries; i++)
		if (!result[i]) result[i] = fresh_name(outer, result_wish(outer, scan, i));
	print_head(outer, scan, index, result);
	Print p = *outer;
	print_open(&p, body);
	p.name[body->inputs.data[0].val->id] = index;
	for (int i = 0; i < scan->nargs; i++)
		p.name[body->inputs.data[i + 1].val->id] = i < carries ? result[i] : outer->name[scan->arg[i]->id];
	p.index = body->inputs.data[0].val;
	p.steps = scan_count(scan);
	choose_names(&p);
	print_definitions(&p);
	for (int i = carries; i < body->outputs.length; i++)
		if (result[i]) print_emit(&p, result[i], index, body->outputs.data[i].val);
	print_assignments(&p, carries, result);
	text_add(p.out, "\t}\n");
	outer->ntaken = p.ntaken;
	outer->nletters = p.nletters;
	memcpy(outer->letter_of, p.letter_of, sizeof p.letter_of);
}
