/* watch.c: `save = best(..)` and `patience`.
 *
 * In: the settings of a train block, its metrics.  Out: which figure of the validation says that an epoch is better than those
 * before it.  The loss is better where it is lower, a metric where it is higher; `best(-val_error)` turns a metric round. */
#include <string.h>

#include "session.h"

static const TrainItem *setting_of(const TrainState *t, const char *name) {
	for (int i = 0; i < t->decl->items.length; i++) {
		const TrainItem *item = &t->decl->items.data[i];
		if (item->kind == ITEM_SETTING && item->value && !strcmp(item->name.text, name)) return item;
	}
	return NULL;
}

/* What stands in best(..), a name or its negative; NULL after an error. */
static const Expr *best_of(Elab *e, const Expr *x, bool *negated) {
	bool call = x->kind == EXPR_CALL && x->left->kind == EXPR_NAME && !strcmp(x->left->name.text, "best") &&
	            x->arguments.length == 1 && !x->arguments.data[0].name.text && !x->arguments.data[0].to;
	const Expr *what = call ? x->arguments.data[0].value : NULL;
	*negated = what && what->kind == EXPR_UNARY && what->op == OPERATOR_NEGATE;
	if (*negated) what = what->left;
	if (what && what->kind == EXPR_NAME) return what;
	elab_error(e, x->span, "`save` is `best(val_loss)` or `best(val_NAME)`, NAME being a metric");
	elab_help(e, "`best(val_accuracy)` keeps the weights of the epoch where the metric `accuracy` is highest");
	return NULL;
}

static bool read_figure(Elab *e, Train *train, const Expr *what, bool negated) {
	const char *name = what->name.text, *near = NULL, *prefixed = arena_printf(e->arena, "val_%s", name);
	int nlosses = 1 + train->nlosses, n = nlosses + train->nmetrics;
	const char **names = NEW_ARRAY(e->arena, const char *, n);
	names[0] = "val_loss";
	for (int i = 1; i < nlosses; i++) names[i] = arena_printf(e->arena, "val_loss_%s", train->losses[i - 1].name);
	for (int i = nlosses; i < n; i++) names[i] = arena_printf(e->arena, "val_%s", train->metrics[i - nlosses].name);
	for (int i = 0; i < n; i++) {
		if (!strcmp(names[i], prefixed)) near = names[i];
		if (strcmp(names[i], name)) continue;
		if (i < nlosses && negated) {
			elab_error(e, what->span, "the best `%s` is the lowest already", name);
			elab_help(e, "write `best(%s)`", name);
			return false;
		}
		train->watch = (Watch){names[i], i < nlosses ? -1 : i - nlosses, i, i >= nlosses && !negated};
		return true;
	}
	if (!near) near = nearest_name(name, names, n);
	elab_error(e, what->span, "`%s` is no figure of the validation", name);
	if (near) elab_help(e, "did you mean `%s`?", near);
	else elab_help(e, "figures are val_loss, and val_NAME for each `metric NAME`");
	return false;
}

bool read_watch(Elab *e, const TrainState *t) {
	Train *train = &e->program->trains.data[t->index];
	const TrainItem *save = setting_of(t, "save"), *patience = setting_of(t, "patience"), *item = save ? save : patience;
	if (!item) return true;
	bool negated;
	const Expr *what = save ? best_of(e, save->value, &negated) : NULL;
	if (save && (!what || !read_figure(e, train, what, negated))) return false;
	if (train->validate < 0 && !train->validate_fraction) {
		elab_error(e, item->name.span, "`%s` needs `validate`, which tells the better epoch", item->name.text);
		elab_help(e, "`validate = 0.1` holds out a tenth of the data");
		return false;
	}
	if (!save) train->watch = (Watch){.name = "val_loss", .metric = -1};
	train->save_best = save != NULL;
	return true;
}
