/* generate_train.c: the user's functions with and without a derivative of their own, an optimizer of their own, losses, and
 * the train block with its settings. */
#include "generate.h"

#include <string.h>

void write_functions(Generator *g) {
	int n = roll(&g->dice, 3);
	for (int k = 0; k < n; k++) {
		bool two = one_in(&g->dice, 3);
		const char *name = new_name(g, "fn");
		Atom atoms[] = {{'F', "x"}, {'F', two ? "z" : "x"}},
		     more[] = {{'F', "x"}, {'F', "dy"}, {'F', "y"}, {'F', two ? "z" : "y"}};
		const char *body, *first, *second;
		WITH_ATOMS(g, atoms, 2, body = grow(g, 'F', 2));
		if (two) body = arena_printf(g->arena, "%s + 0.5 * z - 0.1 * x", body);
		else body = arena_printf(g->arena, "%s + 0.2 * x", body);
		text_add(&g->declarations, two ? "fn %s(x, z) = %s\n" : "fn %s(x) = %s\n", name, body);
		if (!g->smooth && one_in(&g->dice, 2)) {
			WITH_ATOMS(g, more, 4, first = grow(g, 'F', 2));
			WITH_ATOMS(g, more, 4, second = grow(g, 'F', 1));
			if (two)
				text_add(&g->declarations, "vjp %s(x, z -> y, dy) { return dy * tanh(%s), dy * tanh(%s) }\n", name, first,
				         second);
			else text_add(&g->declarations, "vjp %s(x -> y, dy) { return dy * tanh(%s) }\n", name, first);
		}
		if (two) vec_push(g->arena, &g->fns2, name);
		else vec_push(g->arena, &g->fns1, name);
	}
	/* grow() takes either list only when both kinds it may want exist */
	if (g->fns1.length == 0 && g->fns2.length) g->fns2.length = 0;
}

void write_optimizer(Generator *g) {
	Atom atoms[] = {{'F', "m"}, {'F', "g"}, {'F', "v"}, {'F', "p"}};
	const char *m, *v, *u;
	WITH_ATOMS(g, atoms, 2, m = grow(g, 'F', 1 + roll(&g->dice, 2)));
	WITH_ATOMS(g, atoms, 3, v = grow(g, 'F', 1 + roll(&g->dice, 2)));
	WITH_ATOMS(g, atoms, 4, u = grow(g, 'F', 1 + roll(&g->dice, 3)));
	if (g->typed)
		text_add(&g->declarations,
		         "optimizer low(p, g, lr = 0.01) {\n  state m: %s[dims(p)] = 0\n  m <- 0.75 * m + g\n  p <- p - lr * m\n}\n",
		         kind_type(g->typed));
	text_add(&g->declarations, "optimizer own(p, g, lr = 0.01, b = 0.8) {\n  state m: [dims(p)] = 0\n");
	bool two = one_in(&g->dice, 2);
	if (two) text_add(&g->declarations, "  state v: [dims(p)] = 1\n");
	text_add(&g->declarations, "  m <- b * m + (1 - b) * tanh(%s)\n", m);
	if (!two) {
		text_add(&g->declarations, "  let v = g * g\n");
		text_add(&g->declarations, "  p <- p - lr * (m + 0.1 * tanh(%s))\n}\n", u);
		return;
	}
	text_add(&g->declarations, "  v <- v + abs(%s)\n  p <- p - lr * (m / (sqrt(v) + 1e-3) + 0.1 * tanh(%s))\n}\n", v, u);
}

/* A target field of the shape of `i`, one per sample.  NULL: the item does not start with the batch. */
static const char *target(Generator *g, const Item *i, int drop, int classes) {
	Shape s = {0};
	if (!i->shape.rank || i->shape.size[0].n != 1 || !i->shape.size[0].batch) return NULL;
	for (int k = 1; k < i->shape.rank - drop; k++) {
		if (i->shape.size[k].batch) return NULL;
		s.size[s.rank++] = i->shape.size[k];
	}
	const char *name = new_name(g, "t");
	text_add(&g->fields, classes ? "  %s: class[%d]%s = npy(\"%s.npy\")\n" : "  %s: f32%.0d%s = npy(\"%s.npy\")\n", name, classes,
	         shape_source(g, s), name);
	return name;
}

static const char *loss_of(Generator *g, const Item *i, const char *name) {
	Arena *a = g->arena;
	int rank = i->shape.rank;
	if (i->kind != 'F') return arena_printf(a, "mean(%s as f32)", name);
	int n = rank && !i->shape.size[rank - 1].batch ? i->shape.size[rank - 1].n : 0;
	const char *z = i->tagged ? arena_printf(a, "(%s * 2)", name) : name, *t;
	int form = roll(&g->dice, 9);
	if (form < 3 && rank >= 2 && n >= 2 && (t = target(g, i, 1, n))) {
		const char *more = CHOOSE(g, "", "", ", smoothing = 0.1", ", weight = 0.5");
		if (form == 0) return arena_printf(a, "mean(nll(log_softmax(%s), %s))", z, t);
		return arena_printf(a, "mean(cross_entropy(%s, %s%s))", z, t, more);
	}
	if (form < 7 && rank >= 1 && (t = target(g, i, 0, 0))) {
		const char *what = CHOOSE(g, "mse", "mae", "huber", "hinge", "binary_cross_entropy", "cosine_similarity",
		                          "soft_cross_entropy", "kl_divergence");
		if (rank < 2 && (what[0] == 'c' || what[0] == 's' || what[0] == 'k')) what = "mse";
		if (what[0] == 'b')
			return arena_printf(a, "mean(%s(%s, sigmoid(%s), smoothing = %s))", what, z, t, CHOOSE(g, "0", "0.1"));
		if (what[0] == 's') return arena_printf(a, "mean(%s(%s, softmax(%s)))", what, z, t);
		if (what[0] == 'k') return arena_printf(a, "mean(%s(softmax(%s), softmax(%s)))", what, z, t);
		return arena_printf(a, "mean(%s(%s, %s))", what, z, t);
	}
	return arena_printf(
	    a, CHOOSE(g, "mean(%s ^ 2)", "mean(%s)", "sum(tanh(%s)) / 10", "mean(abs(%s)) * 0.5", "logsumexp(%s)", "max(%s)"), z);
}

/* A penalty on a derivative by a field: the first argument of the model is float. */
static void write_penalty(Generator *g, const Item *results, int n) {
	int which = -1;
	for (int i = 0; i < n; i++)
		if (results[i].kind == 'F') which = i;
	if (which < 0) return;
	text_add(&g->train, "  let q = sum(tanh(o%d)) + 0.001 * sum(%s)\n", which, g->items.data[0].name);
	text_add(&g->train, "  let dq = grad(q, %s)\n  l = l + 0.1 * mean(dq * dq)\n", g->items.data[0].name);
}

/* typed: they are for parameters of other types, too. */
static void write_rules(Generator *g, const char *indent, bool typed) {
	const char *rate = CHOOSE(g, "0.1", "0.01", "input(0.02)", "cosine(0.1, 5, 100)", "linear(0.1, 3, 50)", "step_decay(0.1, 7)",
	                          "exponential_decay(0.1, 9)", "one_cycle(0.1, 60)");
	if (g->has_input && strstr(rate, "input")) rate = "0.02";   /* two would have one name */
	g->has_input = g->has_input || strstr(rate, "input");
	const char *what = CHOOSE(g, "own", "own", "own", "sgd", "adam", "adamw", "rmsprop", "adagrad", "nadam", "lion");
	const char *more = "";
	if (!strcmp(what, "sgd")) more = CHOOSE(g, "", ", momentum = 0.9", ", momentum = 0.9, nesterov = true", ", decay = 0.01");
	if (!strcmp(what, "adamw") || !strcmp(what, "lion")) more = CHOOSE(g, "", ", decay = 0.1", ", decay = 0.1, decay_rank = 0");
	const char *some = one_in(&g->dice, 4) ? arena_printf(g->arena, "\"net/p*\": %s(lr = 0.05); ", CHOOSE(g, "sgd", "own")) : "";
	if (typed)
		some = arena_printf(g->arena, "\"net/q*\": %s; %s",
		                    CHOOSE_MORE(g, "sgd(lr = 0.05)", "sgd(lr = 0.1, decay = 0.01)", "low(lr = 0.05)", "none"), some);
	if (*some) text_add(&g->train, "%soptimizer = { %s\"*\": %s(lr = %s%s) }\n", indent, some, what, rate, more);
	else text_add(&g->train, "%soptimizer = %s(lr = %s%s)\n", indent, what, rate, more);
}

/* Several updates: of all parameters, of some, and of what the model gives with the parameters that the first one has made. */
static void write_updates(Generator *g, const Item *results, int n, const char *arguments, const char *clip) {
	const char *params = CHOOSE(g, "net", "net", "\"net/p*\"");
	text_add(&g->train, "  update one {\n    loss = l\n    params = %s\n", params);
	write_rules(g, "    ", g->typed && params[0] == 'n');
	if (clip) text_add(&g->train, "    %s", clip);
	text_add(&g->train, "  }\n");
	int which = roll(&g->dice, n);
	if (one_in(&g->dice, 2) && results[which].kind == 'F') {
		text_add(&g->train, "  let ");
		for (int i = 0; i < n; i++) text_add(&g->train, "%sa%d", i ? ", " : "", i);
		text_add(&g->train, " = net(%s)\n  update again {\n    loss = mean(tanh(a%d)) * 0.5\n", arguments, which);
		write_rules(g, "    ", g->typed);
		text_add(&g->train, "  }\n");
	}
	text_add(&g->train, "  update two {\n    loss = 0.3 * %s\n    optimizer = sgd(lr = 0.1)\n  }\n",
	         g->typed ? "sum(tanh(o0))" : "l2(net, decay_rank = 0)");
}

/* One in eight, a term that has a value for every sample: the loss is their mean then. */
static const char *per_sample(Generator *g, const Item *results, int n) {
	int k = roll(&g->more, 8);
	if (k >= n || results[k].kind != 'F' || !results[k].shape.rank) return "";
	Shape s = results[k].shape;
	if (!s.size[0].batch || s.size[0].n != 1 || s.rank > 3) return "";
	static const char *const forms[] = {"", " + 0.2 * sin(o%d)", " + 0.1 * sum(tanh(o%d), axis = 1)",
	                                    " + 0.1 * mean(abs(o%d), axis = [1, 2])"};
	return arena_printf(g->arena, forms[s.rank], k);
}

void write_train(Generator *g, const Item *results, int n, const char *arguments) {
	for (int i = 0; i < n; i++) {
		const char *term = loss_of(g, &results[i], arena_printf(g->arena, "o%d", i));
		if (i) text_add(&g->train, "  l = l + 0.3 * %s\n", term);
		else text_add(&g->train, "  let l = %s\n", term);
	}
	if (one_in(&g->dice, 6)) write_penalty(g, results, n);
	if (one_in(&g->dice, 6) && !g->typed) text_add(&g->train, "  l = l + 0.01 * %s(net)\n", CHOOSE(g, "l2", "l1"));
	if (!g->smooth && one_in(&g->dice, 10)) text_add(&g->train, "  precision = bf16\n");
	const char *clip = one_in(&g->dice, 4) ? "clip = norm(0.5)\n" : NULL;
	if (one_in(&g->dice, 5)) text_add(&g->train, "  accumulate = %d\n", 2 + roll(&g->dice, 3));
	if (one_in(&g->dice, 4)) text_add(&g->train, "  metric first = o0\n");
	if (one_in(&g->dice, 4)) text_add(&g->train, "  metric ratio = total(o0 > 0) / (1 + total(o0 <= 0))\n");
	if (one_in(&g->dice, 6)) {
		write_updates(g, results, n, arguments, clip);
		return;
	}
	text_add(&g->train, "  loss = l%s\n", per_sample(g, results, n));
	if (clip) text_add(&g->train, "  %s", clip);
	write_rules(g, "  ", g->typed);
}
